package ollamatest

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// responsesAnswer is /v1/responses.
type responsesAnswer struct {
	model        string
	stream       bool
	instructions string
	id, item     string
	seq          int
	begun        bool
	text         strings.Builder
}

func (a *responsesAnswer) start(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("Connection", "keep-alive")
}

func (a *responsesAnswer) event(kind string, data object) []byte {
	data["type"], data["sequence_number"] = kind, a.seq
	a.seq++
	return sse(kind, data)
}

// response is the object in all states; the fields that Ollama always sends are there.
func (a *responsesAnswer) response(status string, output []any, usage any) object {
	return object{
		"id": a.id, "object": "response", "created_at": time.Now().Unix(), "completed_at": nil, "status": status,
		"incomplete_details": nil, "model": a.model, "previous_response_id": nil, "instructions": optional(a.instructions),
		"output": output, "error": nil, "tools": []any{}, "tool_choice": "auto", "truncation": "disabled",
		"parallel_tool_calls": true, "text": object{"format": object{"type": "text"}}, "top_p": 1, "presence_penalty": 0,
		"frequency_penalty": 0, "top_logprobs": 0, "temperature": 1, "reasoning": nil, "usage": usage,
		"max_output_tokens": nil, "max_tool_calls": nil, "store": false, "background": false, "service_tier": "default",
		"metadata": object{}, "safety_identifier": nil, "prompt_cache_key": nil,
	}
}

func (a *responsesAnswer) message(status string, content []any) object {
	return object{"id": a.item, "type": "message", "status": status, "role": "assistant", "content": content}
}

func outputText(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
}

func (a *responsesAnswer) opening() []byte {
	a.begun = true
	out := a.event("response.created", object{"response": a.response("in_progress", []any{}, nil)})
	return append(out, a.event("response.in_progress", object{"response": a.response("in_progress", []any{}, nil)})...)
}

func (a *responsesAnswer) chunk(piece string) []byte {
	var out []byte
	if !a.begun {
		out = a.opening()
		out = append(out, a.event("response.output_item.added", object{"output_index": 0, "item": a.message("in_progress", []any{})})...)
		out = append(out, a.event("response.content_part.added", object{
			"item_id": a.item, "output_index": 0, "content_index": 0, "part": outputText("")})...)
	}
	a.text.WriteString(piece)
	return append(out, a.event("response.output_text.delta", object{
		"item_id": a.item, "output_index": 0, "content_index": 0, "delta": piece, "logprobs": []any{}})...)
}

func (a *responsesAnswer) last(m metrics) []byte {
	if !a.begun {
		out := a.opening()
		return append(out, a.completed([]any{}, m)...)
	}
	text := a.text.String()
	item := a.message("completed", []any{outputText(text)})
	out := a.event("response.output_text.done", object{
		"item_id": a.item, "output_index": 0, "content_index": 0, "text": text, "logprobs": []any{}})
	out = append(out, a.event("response.content_part.done", object{
		"item_id": a.item, "output_index": 0, "content_index": 0, "part": outputText(text)})...)
	out = append(out, a.event("response.output_item.done", object{"output_index": 0, "item": item})...)
	return append(out, a.completed([]any{item}, m)...)
}

func (a *responsesAnswer) completed(output []any, m metrics) []byte {
	r := a.response("completed", output, responsesUsage(m))
	r["completed_at"] = time.Now().Unix()
	return a.event("response.completed", object{"response": r})
}

func responsesUsage(m metrics) object {
	return object{
		"input_tokens": m.promptCount, "output_tokens": m.evalCount, "total_tokens": m.promptCount + m.evalCount,
		"input_tokens_details": object{"cached_tokens": 0}, "output_tokens_details": object{"reasoning_tokens": 0},
	}
}

// broken: as with /v1/messages nothing is sent.
func (a *responsesAnswer) broken(string) []byte { return nil }

func (a *responsesAnswer) whole(text string, m metrics) any {
	r := a.response("completed", []any{a.message("completed", []any{outputText(text)})}, responsesUsage(m))
	r["completed_at"] = time.Now().Unix()
	return rawJSON{r}
}

func (a *responsesAnswer) special(reason string) any { return a.whole("", metrics{reason: reason}) }

func (a *responsesAnswer) fail(w http.ResponseWriter, code int, message string) {
	if a.stream {
		a.start(w.Header())
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, code, rawJSON{openAIErrorOf(code, message)})
}

func (s *Server) responses(w http.ResponseWriter, r *http.Request) {
	type ResponsesRequest struct {
		Model           string          `json:"model"`
		Input           json.RawMessage `json:"input"`
		Instructions    string          `json:"instructions"`
		Stream          *bool           `json:"stream"`
		MaxOutputTokens *int            `json:"max_output_tokens"`
	}
	var q ResponsesRequest
	if err := bind(r, &q); err != nil {
		writeJSON(w, http.StatusBadRequest, openAIErrorOf(http.StatusBadRequest, err.Error()))
		return
	}
	prompt := responsesInput(q.Input)
	if q.Instructions != "" {
		prompt = q.Instructions + "\n" + prompt
	}
	a := &responsesAnswer{
		model: q.Model, instructions: q.Instructions, stream: q.Stream != nil && *q.Stream,
		id: s.nextID("resp_"), item: s.nextID("msg_"),
	}
	if q.Model == "" {
		a.fail(w, http.StatusBadRequest, "model is required")
		return
	}
	s.generating(w, r, task{
		model: q.Model, verb: "chat", prompt: prompt, stream: a.stream, limit: value(q.MaxOutputTokens),
	}, a)
}

// responsesInput is the text of an input: a string, or a list of messages.
func responsesInput(input json.RawMessage) string {
	var text string
	if json.Unmarshal(input, &text) == nil {
		return text
	}
	var messages []openAIMessage
	_ = json.Unmarshal(input, &messages) // what is neither is an empty prompt
	return joinOpenAI(messages)
}
