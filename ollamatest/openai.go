package ollamatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

type openAIErrorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   any     `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
}

func openAIErrorOf(code int, message string) openAIErrorBody {
	var b openAIErrorBody
	b.Error.Message, b.Error.Type = message, "api_error"
	switch code {
	case http.StatusBadRequest:
		b.Error.Type = "invalid_request_error"
	case http.StatusNotFound:
		b.Error.Type = "not_found_error"
	}
	return b
}

type openAIUsage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

func usageOf(m metrics) openAIUsage {
	return openAIUsage{m.promptCount, m.evalCount, m.promptCount + m.evalCount}
}

type openAIChoice struct {
	Index   int            `json:"index"`
	Message *nativeMessage `json:"message,omitempty"`
	Delta   *openAIDelta   `json:"delta,omitempty"`
	Text    *string        `json:"text,omitempty"`
	Finish  *string        `json:"finish_reason"`
}

type openAIDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type openAIObject struct {
	ID          string         `json:"id"`
	Object      string         `json:"object"`
	Created     int64          `json:"created"`
	Model       string         `json:"model"`
	Fingerprint string         `json:"system_fingerprint"`
	Choices     []openAIChoice `json:"choices"`
	Usage       *openAIUsage   `json:"usage,omitempty"`
}

// openAIAnswer is /v1/chat/completions, or with text set /v1/completions.
type openAIAnswer struct {
	model   string
	text    bool
	usage   bool // stream_options.include_usage
	id      string
	created int64 // of the first chunk, repeated in all
}

func (a *openAIAnswer) object(kind, model string, choice openAIChoice) openAIObject {
	if a.created == 0 {
		a.created = time.Now().Unix()
	}
	return openAIObject{a.id, kind, a.created, model, "fp_ollama", []openAIChoice{choice}, nil}
}

func (a *openAIAnswer) piece(model, piece, role, finish string) openAIObject {
	if a.text {
		o := a.object("text_completion", model, openAIChoice{Text: &piece, Finish: optional(finish)})
		if a.usage {
			o.Usage = &openAIUsage{}
		}
		return o
	}
	return a.object("chat.completion.chunk", model, openAIChoice{Delta: &openAIDelta{role, &piece}, Finish: optional(finish)})
}

func (a *openAIAnswer) start(http.Header) {}

func (a *openAIAnswer) chunk(piece string) []byte {
	role := ""
	if a.created == 0 {
		role = "assistant"
	}
	return sse("", a.piece(a.model, piece, role, ""))
}

func (a *openAIAnswer) last(m metrics) []byte {
	var end openAIObject
	if a.text {
		end = a.piece(a.model, "", "", m.reason)
	} else {
		end = a.object("chat.completion.chunk", a.model, openAIChoice{Delta: &openAIDelta{}, Finish: optional(m.reason)})
	}
	out := sse("", end)
	if a.usage {
		u := usageOf(m)
		end.Usage, end.Choices = &u, []openAIChoice{}
		out = append(out, sse("", end)...)
	}
	return append(out, "data: [DONE]\n\n"...)
}

// broken: Ollama's middleware reads the error as an answer without content and passes that on.
func (a *openAIAnswer) broken(string) []byte { return sse("", a.piece("", "", "", "")) }

func (a *openAIAnswer) whole(text string, m metrics) any {
	o := a.object("chat.completion", a.model, openAIChoice{Message: &nativeMessage{Role: "assistant", Content: text}, Finish: optional(m.reason)})
	if a.text {
		o = a.object("text_completion", a.model, openAIChoice{Text: &text, Finish: optional(m.reason)})
	}
	u := usageOf(m)
	o.Usage = &u
	return rawJSON{o}
}

func (a *openAIAnswer) special(reason string) any { return a.whole("", metrics{reason: reason}) }

func (a *openAIAnswer) fail(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, code, rawJSON{openAIErrorOf(code, message)})
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// sse is one server-sent event, with a name unless it is empty.
func sse(event string, data any) []byte {
	b, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Errorf("encode event %s: %w", event, err))
	}
	if event != "" {
		return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, b)
	}
	return fmt.Appendf(nil, "data: %s\n\n", b)
}

// sseWriter adds the Content-Type that Ollama sets with the first event.
type sseWriter struct{ answer }

func (a sseWriter) start(h http.Header) {
	a.answer.start(h)
	h.Set("Content-Type", "text/event-stream")
}

func (s *Server) openAIChat(w http.ResponseWriter, r *http.Request) {
	type ChatCompletionRequest struct {
		Model         string          `json:"model"`
		Messages      []openAIMessage `json:"messages"`
		Stream        bool            `json:"stream"`
		StreamOptions *streamOptions  `json:"stream_options"`
		MaxTokens     *int            `json:"max_tokens"`
		Format        *struct {
			Type string `json:"type"`
		} `json:"response_format"`
	}
	var q ChatCompletionRequest
	if err := bind(r, &q); err != nil {
		writeJSON(w, http.StatusBadRequest, openAIErrorOf(http.StatusBadRequest, err.Error()))
		return
	}
	if len(q.Messages) == 0 {
		writeJSON(w, http.StatusBadRequest, openAIErrorOf(http.StatusBadRequest, "[] is too short - 'messages'"))
		return
	}
	a := &openAIAnswer{model: q.Model, usage: q.StreamOptions.usage(), id: s.nextID("chatcmpl-")}
	if q.Model == "" {
		a.fail(w, http.StatusBadRequest, "model is required")
		return
	}
	s.generating(w, r, task{
		model: q.Model, verb: "chat", prompt: joinOpenAI(q.Messages), stream: q.Stream,
		json: q.Format != nil && q.Format.Type != "text" && q.Format.Type != "", limit: value(q.MaxTokens),
		ponders: true,
	}, sseWriter{a})
}

func (s *Server) openAICompletion(w http.ResponseWriter, r *http.Request) {
	type CompletionRequest struct {
		Model         string         `json:"model"`
		Prompt        string         `json:"prompt"`
		Stream        bool           `json:"stream"`
		StreamOptions *streamOptions `json:"stream_options"`
		MaxTokens     *int           `json:"max_tokens"`
	}
	var q CompletionRequest
	if err := bind(r, &q); err != nil {
		writeJSON(w, http.StatusBadRequest, openAIErrorOf(http.StatusBadRequest, err.Error()))
		return
	}
	a := &openAIAnswer{model: q.Model, text: true, usage: q.StreamOptions.usage(), id: s.nextID("cmpl-")}
	s.generating(w, r, task{
		model: q.Model, verb: "generate", prompt: q.Prompt, empty: q.Prompt == "", stream: q.Stream,
		limit: value(q.MaxTokens), completes: true,
	}, sseWriter{a})
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

func (o *streamOptions) usage() bool { return o != nil && o.IncludeUsage }

func value(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// openAIMessage has a text, or a list of parts of which the texts count.
type openAIMessage struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is a text or a list of parts with texts.
type content string

// UnmarshalJSON keeps the texts.
func (c *content) UnmarshalJSON(b []byte) error {
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return json.Unmarshal(b, (*string)(c))
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.Text
	}
	*c = content(strings.Join(texts, ""))
	return nil
}

func joinOpenAI(messages []openAIMessage) string {
	contents := make([]string, len(messages))
	for i, m := range messages {
		contents[i] = string(m.Content)
	}
	return strings.Join(contents, "\n")
}
