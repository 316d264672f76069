package ollamatest

import (
	"net/http"
	"strings"
)

// anthropicAnswer is /v1/messages.
type anthropicAnswer struct {
	model    string
	stream   bool
	id       string
	request  string // request id of an error
	estimate int    // prompt tokens that message_start tells, before the engine has counted
	begun    bool
}

type object = map[string]any

func (a *anthropicAnswer) start(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("Connection", "keep-alive")
}

func (a *anthropicAnswer) opening(tokens int) []byte {
	a.begun = true
	return sse("message_start", object{"type": "message_start", "message": object{
		"id": a.id, "type": "message", "role": "assistant", "model": a.model, "content": []any{},
		"usage": object{"input_tokens": tokens, "output_tokens": 0},
	}})
}

func (a *anthropicAnswer) chunk(piece string) []byte {
	var out []byte
	if !a.begun {
		out = a.opening(a.estimate)
		out = append(out, sse("content_block_start", object{"type": "content_block_start", "index": 0,
			"content_block": object{"type": "text", "text": ""}})...)
	}
	return append(out, sse("content_block_delta", object{"type": "content_block_delta", "index": 0,
		"delta": object{"type": "text_delta", "text": piece}})...)
}

func (a *anthropicAnswer) last(m metrics) []byte {
	var out []byte
	if a.begun {
		out = sse("content_block_stop", object{"type": "content_block_stop", "index": 0})
	} else {
		out = a.opening(m.promptCount)
	}
	out = append(out, sse("message_delta", object{"type": "message_delta",
		"delta": object{"stop_reason": stopReason(m.reason)},
		"usage": object{"input_tokens": m.promptCount, "output_tokens": m.evalCount}})...)
	return append(out, sse("message_stop", object{"type": "message_stop"})...)
}

// broken: the error becomes an answer without content, of which nothing is left to send.
func (a *anthropicAnswer) broken(string) []byte { return nil }

func (a *anthropicAnswer) whole(text string, m metrics) any {
	o := object{
		"id": a.id, "type": "message", "role": "assistant", "model": a.model,
		"content": []object{{"type": "text", "text": text}},
		"usage":   object{"input_tokens": m.promptCount, "output_tokens": m.evalCount},
	}
	if m.reason != "" {
		o["stop_reason"] = stopReason(m.reason)
	}
	return rawJSON{o}
}

func (a *anthropicAnswer) special(reason string) any { return a.whole("", metrics{reason: reason}) }

func (a *anthropicAnswer) fail(w http.ResponseWriter, code int, message string) {
	if a.stream {
		a.start(w.Header())
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, code, rawJSON{a.errorBody(code, message)})
}

func (a *anthropicAnswer) errorBody(code int, message string) any {
	kind := map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
		404: "not_found_error", 429: "rate_limit_error", 503: "overloaded_error", 529: "overloaded_error",
	}[code]
	if kind == "" {
		kind = "api_error"
	}
	var b anthropicErrorBody
	b.Type, b.Error.Type, b.Error.Message, b.RequestID = "error", kind, message, a.request
	return b
}

type anthropicErrorBody struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
	RequestID string `json:"request_id"`
}

func stopReason(done string) string {
	switch done {
	case "stop":
		return "end_turn"
	case "length":
		return "max_tokens"
	}
	return "stop_sequence"
}

func (s *Server) messages(w http.ResponseWriter, r *http.Request) {
	type MessagesRequest struct {
		Model     string          `json:"model"`
		MaxTokens int             `json:"max_tokens"`
		Messages  []openAIMessage `json:"messages"`
		System    content         `json:"system"`
		Stream    bool            `json:"stream"`
	}
	var q MessagesRequest
	err := bind(r, &q)
	a := &anthropicAnswer{model: q.Model, stream: q.Stream, id: s.nextID("msg_"), request: s.nextID("req_")}
	refuse := func(message string) {
		writeJSON(w, http.StatusBadRequest, a.errorBody(http.StatusBadRequest, message))
	}
	switch {
	case err != nil:
		refuse(err.Error())
		return
	case q.Model == "":
		refuse("model is required")
		return
	case q.MaxTokens <= 0:
		refuse("max_tokens is required and must be positive")
		return
	case len(q.Messages) == 0:
		refuse("messages is required")
		return
	}
	prompt := joinOpenAI(q.Messages)
	if q.System != "" {
		prompt = strings.Join([]string{string(q.System), prompt}, "\n")
	}
	a.estimate = max(len(prompt)/4, 1)
	s.generating(w, r, task{model: q.Model, verb: "chat", prompt: prompt, stream: q.Stream, limit: q.MaxTokens}, a)
}
