package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

func anthropicFeatures(base *url.URL) []feature {
	c := anthropic.NewClient(option.WithBaseURL(base.String()), option.WithAPIKey("none"), option.WithMaxRetries(0))
	params := func(model, text string, more ...anthropic.ContentBlockParamUnion) anthropic.MessageNewParams {
		blocks := append(more, anthropic.NewTextBlock(text))
		return anthropic.MessageNewParams{Model: anthropic.Model(model), MaxTokens: 50, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(blocks...)}}
	}
	message := func(ctx context.Context, p anthropic.MessageNewParams) (string, error) {
		r, err := c.Messages.New(ctx, p)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(r.Content[0].Text, " ", r.StopReason), nil
	}
	return []feature{
		{"chat", func(ctx context.Context) (string, error) { return message(ctx, params("m", said)) }},
		{"stream", func(ctx context.Context) (string, error) {
			s := c.Messages.NewStreaming(ctx, params("m", said))
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
			p := params("tooled", call)
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
		{"vision", func(ctx context.Context) (string, error) {
			return message(ctx, params("m", said, anthropic.NewImageBlockBase64("image/png", pixel)))
		}},
		{"error", func(ctx context.Context) (string, error) {
			_, err := message(ctx, params("nope", said))
			var e *anthropic.Error
			if !errors.As(err, &e) {
				return "", fmt.Errorf("not the client's error: %w", err)
			}
			return fmt.Sprint("raises ", e.StatusCode), nil // the text has an id in it
		}},
		{"cancel", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s := c.Messages.NewStreaming(ctx, params("m", stalls))
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
