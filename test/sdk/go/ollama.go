package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/ollama/ollama/api"
)

func ollamaFeatures(base *url.URL) []feature {
	c := api.NewClient(base, httpClient)
	plain := false
	chat := func(ctx context.Context, req *api.ChatRequest) (last api.ChatResponse, text string, pieces int, err error) {
		err = c.Chat(ctx, req, func(r api.ChatResponse) error {
			last, text, pieces = r, text+r.Message.Content, pieces+1
			return nil
		})
		return last, text, pieces, err
	}
	user := func(text string) []api.Message { return []api.Message{{Role: "user", Content: text}} }
	raw, _ := json.Marshal(schema)
	return []feature{
		{"chat", func(ctx context.Context) (string, error) {
			last, text, _, err := chat(ctx, &api.ChatRequest{Model: "m", Messages: user(said), Stream: &plain})
			return fmt.Sprint(text, " ", last.DoneReason, " ", last.EvalCount), err
		}},
		{"stream", func(ctx context.Context) (string, error) {
			_, text, pieces, err := chat(ctx, &api.ChatRequest{Model: "m", Messages: user(said)})
			return fmt.Sprint(text, " in ", pieces), err
		}},
		{"tools", func(ctx context.Context) (string, error) {
			tool := api.Tool{Type: "function", Function: api.ToolFunction{Name: "weather", Description: "of a city"}}
			tool.Function.Parameters.Type = "object"
			last, _, _, err := chat(ctx, &api.ChatRequest{Model: "tooled", Messages: user(call), Tools: api.Tools{tool}, Stream: &plain})
			if err == nil && len(last.Message.ToolCalls) == 0 {
				err = errors.New("no tool call")
			}
			if err != nil {
				return "", err
			}
			f := last.Message.ToolCalls[0].Function
			return fmt.Sprint(f.Name, f.Arguments.String()), nil
		}},
		{"json", func(ctx context.Context) (string, error) {
			_, text, _, err := chat(ctx, &api.ChatRequest{Model: "m", Messages: user(object), Format: json.RawMessage(`"json"`), Stream: &plain})
			return text, err
		}},
		{"schema", func(ctx context.Context) (string, error) {
			_, text, _, err := chat(ctx, &api.ChatRequest{Model: "m", Messages: user(object), Format: raw, Stream: &plain})
			return text, err
		}},
		{"vision", func(ctx context.Context) (string, error) {
			m := api.Message{Role: "user", Content: said, Images: []api.ImageData{picture()}}
			_, text, _, err := chat(ctx, &api.ChatRequest{Model: "m", Messages: []api.Message{m}, Stream: &plain})
			return text, err
		}},
		{"embeddings", func(ctx context.Context) (string, error) {
			r, err := c.Embed(ctx, &api.EmbedRequest{Model: "emb", Input: []string{"a", "b"}})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(len(r.Embeddings), " ", r.Embeddings[0][:2]), nil
		}},
		{"error", func(ctx context.Context) (string, error) {
			_, _, _, err := chat(ctx, &api.ChatRequest{Model: "nope", Messages: user(said)})
			return raised(err)
		}},
		{"cancel", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			err := c.Chat(ctx, &api.ChatRequest{Model: "m", Messages: user(stalls)}, func(api.ChatResponse) error {
				cancel()
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				return "", fmt.Errorf("not cancelled: %w", err)
			}
			return "cancelled", nil
		}},
		{"list", func(ctx context.Context) (string, error) {
			r, err := c.List(ctx)
			if err != nil {
				return "", err
			}
			var names []string
			for _, m := range r.Models {
				names = append(names, m.Name)
			}
			slices.Sort(names)
			return strings.Join(names, " "), nil
		}},
		{"show", func(ctx context.Context) (string, error) {
			r, err := c.Show(ctx, &api.ShowRequest{Model: "m"})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(r.Details.Family, r.Capabilities), nil
		}},
	}
}
