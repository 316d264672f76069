package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

// openAIClient is a client of OpenAI's.
type openAIClient struct{ openai.Client }

func openAIFeatures(base *url.URL) []feature {
	c := openAIClient{openai.NewClient(option.WithBaseURL(base.String()+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0))}
	return append(c.chats(), append(c.formats(), c.others()...)...)
}

func (c openAIClient) chat(ctx context.Context, p openai.ChatCompletionNewParams) (string, error) {
	r, err := c.Chat.Completions.New(ctx, p)
	if err != nil {
		return "", err
	}
	return r.Choices[0].Message.Content + " " + r.Choices[0].FinishReason, nil
}

func params(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

func (c openAIClient) chats() []feature {
	return []feature{
		{"chat", func(ctx context.Context) (string, error) { return c.chat(ctx, params("m", hello)) }},
		{"stream", func(ctx context.Context) (string, error) {
			s := c.Chat.Completions.NewStreaming(ctx, params("m", hello))
			defer s.Close()
			text, pieces := "", 0
			for s.Next() {
				for _, choice := range s.Current().Choices {
					text += choice.Delta.Content
				}
				pieces++
			}
			return fmt.Sprint(text, " in ", pieces), s.Err()
		}},
		{"tools", func(ctx context.Context) (string, error) {
			p := params("tooled", call)
			p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
				Name: "weather", Description: openai.String("of a city"), Parameters: schema,
			})}
			r, err := c.Chat.Completions.New(ctx, p)
			if err == nil && len(r.Choices[0].Message.ToolCalls) == 0 {
				err = errors.New("no tool call")
			}
			if err != nil {
				return "", err
			}
			f := r.Choices[0].Message.ToolCalls[0].Function
			return f.Name + f.Arguments, nil
		}},
	}
}

func (c openAIClient) formats() []feature {
	return []feature{
		{"json", func(ctx context.Context) (string, error) {
			p := params("m", object)
			p.ResponseFormat.OfJSONObject = &shared.ResponseFormatJSONObjectParam{}
			return c.chat(ctx, p)
		}},
		{"schema", func(ctx context.Context) (string, error) {
			p := params("m", object)
			p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
				JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "x", Schema: schema},
			}
			return c.chat(ctx, p)
		}},
		{"vision", func(ctx context.Context) (string, error) {
			return c.chat(ctx, openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{
				openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
					openai.TextContentPart(hello),
					openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "data:image/png;base64," + pixel}),
				}),
			}})
		}},
	}
}

func (c openAIClient) others() []feature {
	return []feature{
		{"responses", func(ctx context.Context) (string, error) {
			r, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(hello)}})
			if err != nil {
				return "", err
			}
			return r.OutputText(), nil
		}},
		{"embeddings", func(ctx context.Context) (string, error) {
			r, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{
				Model: "emb", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b"}},
			})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(len(r.Data), " ", r.Data[0].Embedding[:2]), nil
		}},
		{"error", func(ctx context.Context) (string, error) {
			_, err := c.chat(ctx, params("nope", hello))
			return raised(err)
		}},
		{"cancel", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s := c.Chat.Completions.NewStreaming(ctx, params("m", stalls))
			defer s.Close()
			if !s.Next() {
				return "", fmt.Errorf("nothing came: %w", s.Err())
			}
			cancel()
			for s.Next() {
			}
			return "cancelled", nil
		}},
		{"list", func(ctx context.Context) (string, error) {
			page, err := c.Models.List(ctx)
			if err != nil {
				return "", err
			}
			var names []string
			for _, m := range page.Data {
				names = append(names, m.ID)
			}
			slices.Sort(names)
			return strings.Join(names, " "), nil
		}},
		{"show", func(ctx context.Context) (string, error) {
			m, err := c.Models.Get(ctx, "m")
			if err != nil {
				return "", err
			}
			return m.ID + " of " + m.OwnedBy, nil
		}},
	}
}
