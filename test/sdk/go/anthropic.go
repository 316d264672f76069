package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// anthropicClient is a client of Anthropic's.
type anthropicClient struct{ anthropic.Client }

func anthropicFeatures(base *url.URL) []feature {
	c := anthropicClient{anthropic.NewClient(option.WithBaseURL(base.String()), option.WithAPIKey("none"), option.WithMaxRetries(0))}
	return append(c.messages(), c.others()...)
}

func turn(model, text string, more ...anthropic.ContentBlockParamUnion) anthropic.MessageNewParams {
	blocks := append(more, anthropic.NewTextBlock(text))
	return anthropic.MessageNewParams{Model: anthropic.Model(model), MaxTokens: 50, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(blocks...)}}
}

func (c anthropicClient) message(ctx context.Context, p anthropic.MessageNewParams) (string, error) {
	r, err := c.Messages.New(ctx, p)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(r.Content[0].Text, " ", r.StopReason), nil
}

func (c anthropicClient) messages() []feature {
	return []feature{
		{"chat", func(ctx context.Context) (string, error) { return c.message(ctx, turn("m", hello)) }},
		{"stream", func(ctx context.Context) (string, error) {
			s := c.Messages.NewStreaming(ctx, turn("m", hello))
			defer s.Close()
			whole, pieces := anthropic.Message{}, 0
			for s.Next() {
				if err := whole.Accumulate(s.Current()); err != nil {
					return "", err
				}
				pieces++
			}
			if s.Err() != nil {
				return "", s.Err()
			}
			return fmt.Sprint(whole.Content[0].Text, " in ", pieces), nil
		}},
		{"tools", func(ctx context.Context) (string, error) {
			p := turn("tooled", call)
			p.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{
				Name: "weather", Description: anthropic.String("of a city"),
				InputSchema: anthropic.ToolInputSchemaParam{Properties: schema["properties"]},
			}}}
			r, err := c.Messages.New(ctx, p)
			if err != nil {
				return "", err
			}
			for _, block := range r.Content {
				if use, ok := block.AsAny().(anthropic.ToolUseBlock); ok {
					return use.Name + string(use.Input), nil
				}
			}
			return "", errors.New("no tool call")
		}},
	}
}

func (c anthropicClient) others() []feature {
	return []feature{
		{"vision", func(ctx context.Context) (string, error) {
			return c.message(ctx, turn("m", hello, anthropic.NewImageBlockBase64("image/png", pixel)))
		}},
		{"error", func(ctx context.Context) (string, error) {
			_, err := c.message(ctx, turn("nope", hello))
			var e *anthropic.Error
			if !errors.As(err, &e) {
				return "", fmt.Errorf("not the client's error: %w", err)
			}
			return fmt.Sprint("raises ", e.StatusCode), nil // the text has an id in it
		}},
		{"cancel", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s := c.Messages.NewStreaming(ctx, turn("m", stalls))
			defer s.Close()
			if !s.Next() {
				return "", fmt.Errorf("nothing came: %w", s.Err())
			}
			cancel()
			for s.Next() {
			}
			return "cancelled", nil
		}},
	}
}
