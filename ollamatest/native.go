package ollamatest

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

func nativeError(w http.ResponseWriter, code int, message string) {
	writeJSON(w, code, map[string]string{"error": message})
}

// keepAlive is a number of seconds or a Go duration; negative is for ever.
type keepAlive struct{ time.Duration }

func (k *keepAlive) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch t := v.(type) {
	case float64:
		k.Duration = forever(time.Duration(t * float64(time.Second)))
		if t*float64(time.Second) > math.MaxInt64 {
			k.Duration = math.MaxInt64
		}
	case string:
		d, err := time.ParseDuration(t)
		if err != nil {
			return err
		}
		k.Duration = forever(d)
	default:
		return fmt.Errorf("Unsupported type: '%T'", v) //nolint:staticcheck // Ollama's text
	}
	return nil
}

func (k *keepAlive) duration() *time.Duration {
	if k == nil {
		return nil
	}
	return &k.Duration
}

// nativeAnswer is a line of NDJSON, or one JSON object, of /api/generate and /api/chat.
type nativeAnswer struct {
	model string
	chat  bool
}

type nativeLine struct {
	Model         string         `json:"model"`
	CreatedAt     time.Time      `json:"created_at"`
	Response      *string        `json:"response,omitempty"`
	Message       *nativeMessage `json:"message,omitempty"`
	Done          bool           `json:"done"`
	DoneReason    string         `json:"done_reason,omitempty"`
	Context       []int          `json:"context,omitempty"`
	Total         time.Duration  `json:"total_duration,omitempty"`
	Load          time.Duration  `json:"load_duration,omitempty"`
	PromptCount   int            `json:"prompt_eval_count,omitempty"`
	PromptElapsed time.Duration  `json:"prompt_eval_duration,omitempty"`
	EvalCount     int            `json:"eval_count,omitempty"`
	EvalElapsed   time.Duration  `json:"eval_duration,omitempty"`
}

type nativeMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`

	Thinking string `json:"thinking,omitempty"`
}

func (a nativeAnswer) object(text string, m metrics) nativeLine {
	l := nativeLine{
		Model: a.model, CreatedAt: time.Now().UTC(), Done: m.done, DoneReason: m.reason,
		Total: m.total, Load: m.load, PromptCount: m.promptCount, PromptElapsed: m.prompt,
		EvalCount: m.evalCount, EvalElapsed: m.eval,
	}
	if a.chat {
		l.Message = &nativeMessage{Role: "assistant", Content: text}
	} else {
		l.Response, l.Context = &text, m.context
	}
	return l
}

func (a nativeAnswer) line(text string, m metrics) []byte {
	b, err := json.Marshal(a.object(text, m))
	if err != nil {
		panic(fmt.Errorf("encode line: %w", err))
	}
	return append(b, '\n')
}

func (a nativeAnswer) start(h http.Header)       { h.Set("Content-Type", "application/x-ndjson") }
func (a nativeAnswer) chunk(piece string) []byte { return a.line(piece, metrics{}) }
func (a nativeAnswer) thought(piece string) []byte {
	l := a.object("", metrics{})
	l.Message.Thinking = piece
	b, _ := json.Marshal(l)
	return append(b, '\n')
}
func (a nativeAnswer) last(m metrics) []byte { return a.line("", m) }
func (a nativeAnswer) broken(message string) []byte {
	b, _ := json.Marshal(map[string]string{"error": message})
	return append(b, '\n')
}
func (a nativeAnswer) whole(text string, m metrics) any { return a.object(text, m) }
func (a nativeAnswer) special(reason string) any {
	return a.object("", metrics{done: true, reason: reason})
}

// fail: an error before the first line of a stream is a JSON answer of its own, without a charset.
func (a nativeAnswer) fail(w http.ResponseWriter, code int, message string) {
	if w.Header().Get("Content-Type") != "" {
		w.Header().Set("Content-Type", "application/json")
	}
	nativeError(w, code, message)
}

func (s *Server) generate(w http.ResponseWriter, r *http.Request) {
	type GenerateRequest struct {
		Model     string          `json:"model"`
		Prompt    string          `json:"prompt"`
		System    string          `json:"system"`
		Stream    *bool           `json:"stream"`
		Format    json.RawMessage `json:"format"`
		KeepAlive *keepAlive      `json:"keep_alive"`
		Options   map[string]any  `json:"options"`
		Shift     *bool           `json:"shift"`
		Think     any             `json:"think"`
		Context   []int           `json:"context"`
	}
	var q GenerateRequest
	if !bindNative(w, r, &q) {
		return
	}
	prompt := q.Prompt
	if m := s.find(q.Model); m != nil {
		prompt = m.detokenize(q.Context) + prompt
	}
	if q.System != "" {
		prompt = q.System + "\n" + prompt
	}
	s.generating(w, r, task{
		model: q.Model, verb: "generate", prompt: prompt, empty: q.Prompt == "",
		stream: q.Stream == nil || *q.Stream, json: wantsJSON(q.Format),
		options: q.Options, keep: q.KeepAlive.duration(), shift: q.Shift, thinks: thinks(q.Think),
		limit: numPredict(q.Options), completes: true,
	}, nativeAnswer{model: q.Model})
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	type ChatRequest struct {
		Model     string          `json:"model"`
		Messages  []nativeMessage `json:"messages"`
		Stream    *bool           `json:"stream"`
		Format    json.RawMessage `json:"format"`
		KeepAlive *keepAlive      `json:"keep_alive"`
		Options   map[string]any  `json:"options"`
		Shift     *bool           `json:"shift"`
		Think     any             `json:"think"`
	}
	var q ChatRequest
	if !bindNative(w, r, &q) {
		return
	}
	if q.Model == "" {
		nativeError(w, http.StatusBadRequest, "model is required")
		return
	}
	s.generating(w, r, task{
		model: q.Model, verb: "chat", prompt: joinMessages(q.Messages), empty: len(q.Messages) == 0,
		stream: q.Stream == nil || *q.Stream, json: wantsJSON(q.Format),
		options: q.Options, keep: q.KeepAlive.duration(), shift: q.Shift, thinks: thinks(q.Think),
		limit: numPredict(q.Options), ponders: q.Think != false,
	}, nativeAnswer{model: q.Model, chat: true})
}

func joinMessages(messages []nativeMessage) string {
	contents := make([]string, len(messages))
	for i, m := range messages {
		contents[i] = m.Content
	}
	return strings.Join(contents, "\n")
}

// thinks says whether a think value (a bool or a level) asks for thinking.
func thinks(v any) bool {
	switch t := v.(type) {
	case bool:
		return t
	case string:
		return t != ""
	}
	return false
}

func wantsJSON(format json.RawMessage) bool {
	f := string(format)
	return f != "" && f != "null" && f != `""`
}

func numPredict(options map[string]any) int {
	n, _ := toInt(options["num_predict"])
	return n
}
