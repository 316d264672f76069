package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ollama/ollama/api"
)

// ollamaClient is a client of Ollama's own.
type ollamaClient struct{ *api.Client }

func ollamaFeatures(base *url.URL) []feature {
	c := ollamaClient{api.NewClient(base, http.DefaultClient)}
	return append(c.chats(), c.others()...)
}

// said is what came of a chat.
type said struct {
	last   api.ChatResponse
	text   string
	pieces int
}

func (c ollamaClient) chat(ctx context.Context, model string, m api.Message, change func(*api.ChatRequest)) (s said, err error) {
	req := &api.ChatRequest{Model: model, Messages: []api.Message{m}, Stream: new(bool)}
	change(req)
	err = c.Chat(ctx, req, func(r api.ChatResponse) error {
		s.last, s.text, s.pieces = r, s.text+r.Message.Content, s.pieces+1
		return nil
	})
	return s, err
}

func user(text string) api.Message { return api.Message{Role: "user", Content: text} }

func asItIs(*api.ChatRequest) {}

func (c ollamaClient) chats() []feature {
	formatted := func(format any) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			raw, err := json.Marshal(format)
			if err != nil {
				return "", err
			}
			s, err := c.chat(ctx, "m", user(object), func(r *api.ChatRequest) { r.Format = raw })
			return s.text, err
		}
	}
	return []feature{
		{"chat", func(ctx context.Context) (string, error) {
			s, err := c.chat(ctx, "m", user(hello), asItIs)
			return fmt.Sprint(s.text, " ", s.last.DoneReason, " ", s.last.EvalCount), err
		}},
		{"stream", func(ctx context.Context) (string, error) {
			s, err := c.chat(ctx, "m", user(hello), func(r *api.ChatRequest) { r.Stream = nil })
			return fmt.Sprint(s.text, " in ", s.pieces), err
		}},
		{"json", formatted("json")},
		{"schema", formatted(schema)},
		{"vision", func(ctx context.Context) (string, error) {
			m := user(hello)
			m.Images = []api.ImageData{picture()}
			s, err := c.chat(ctx, "m", m, asItIs)
			return s.text, err
		}},
		{"tools", func(ctx context.Context) (string, error) {
			tool := api.Tool{Type: "function", Function: api.ToolFunction{Name: "weather", Description: "of a city"}}
			tool.Function.Parameters.Type = "object"
			s, err := c.chat(ctx, "tooled", user(call), func(r *api.ChatRequest) { r.Tools = api.Tools{tool} })
			if err == nil && len(s.last.Message.ToolCalls) == 0 {
				err = errors.New("no tool call")
			}
			if err != nil {
				return "", err
			}
			f := s.last.Message.ToolCalls[0].Function
			return fmt.Sprint(f.Name, f.Arguments.String()), nil
		}},
		{"error", func(ctx context.Context) (string, error) {
			_, err := c.chat(ctx, "nope", user(hello), asItIs)
			return raised(err)
		}},
	}
}

func (c ollamaClient) others() []feature {
	return []feature{
		{"embeddings", func(ctx context.Context) (string, error) {
			r, err := c.Embed(ctx, &api.EmbedRequest{Model: "emb", Input: []string{"a", "b"}})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(len(r.Embeddings), " ", r.Embeddings[0][:2]), nil
		}},
		{"cancel", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			err := c.Chat(ctx, &api.ChatRequest{Model: "m", Messages: []api.Message{user(stalls)}}, func(api.ChatResponse) error {
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
