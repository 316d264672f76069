package ollamatest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// EngineOptions of an EngineServer.
type EngineOptions struct {
	Settings  Settings
	Weights   string // id of the weights: the same weights give the same vectors
	Embedding bool   // serves embeddings; otherwise that route answers 501
	Dims      int    // values of one vector, default 64

	Stats io.Writer           // gets a line of JSON, EngineRecord, for each request that ended
	Die   func(reason string) // what a crash does, called once; nil: later requests fail
}

// EngineRecord tells of one request that an EngineServer ended.
type EngineRecord struct {
	Kind    string  `json:"kind"`              // generate or embed
	Outcome string  `json:"outcome"`           // done, cancelled or failed
	Tokens  int     `json:"tokens"`            // made for it
	Wasted  int     `json:"wasted"`            // of those, for nobody
	Prompt  int     `json:"prompt"`            // tokens of its prompt
	Cached  int     `json:"cached"`            // of those, known to its slot
	WaitMS  float64 `json:"wait_ms,omitempty"` // in the line for a slot
	Running int     `json:"running"`           // requests on slots when it started
}

// EngineServer is a llama-server over HTTP, as far as Ollama v0.33 talks to one. Making it starts the load.
type EngineServer struct {
	opt    EngineOptions
	driver *Driver
	mux    *http.ServeMux
	ready  time.Time

	mu   sync.Mutex
	died bool
}

// NewEngineServer is loaded after Settings.Load; until then its health is 503.
func NewEngineServer(o EngineOptions) *EngineServer {
	if o.Dims <= 0 {
		o.Dims = 64
	}
	e := &EngineServer{opt: o, driver: NewDriver(o.Settings), mux: http.NewServeMux()}
	set := e.driver.Settings()
	e.ready = time.Now().Add(set.scale(set.Load))
	e.mux.HandleFunc("GET /health", e.health)
	e.mux.HandleFunc("POST /tokenize", tokenize)
	e.mux.HandleFunc("POST /detokenize", detokenize)
	e.mux.HandleFunc("POST /apply-template", applyTemplate)
	e.mux.HandleFunc("POST /completion", e.completion)
	e.mux.HandleFunc("POST /v1/chat/completions", e.chat)
	e.mux.HandleFunc("POST /v1/embeddings", e.embed)
	return e
}

// ServeHTTP answers as llama-server does.
func (e *EngineServer) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.mux.ServeHTTP(w, r) }

func engineErrorJSON(w http.ResponseWriter, code int, kind, message string) {
	writeJSON(w, code, object{"error": object{"code": code, "message": message, "type": kind}})
}

func (e *EngineServer) health(w http.ResponseWriter, _ *http.Request) {
	if time.Now().Before(e.ready) {
		engineErrorJSON(w, http.StatusServiceUnavailable, "unavailable_error", "Loading model")
		return
	}
	writeJSON(w, http.StatusOK, object{"status": "ok"})
}

// engineBind decodes a request body, or answers 400.
func engineBind(w http.ResponseWriter, r *http.Request, into any) bool {
	err := bind(r, into)
	if err != nil {
		engineErrorJSON(w, http.StatusBadRequest, "invalid_request_error", err.Error())
	}
	return err == nil
}

func tokenize(w http.ResponseWriter, r *http.Request) {
	var q struct{ Content promptText }
	if engineBind(w, r, &q) {
		writeJSON(w, http.StatusOK, object{"tokens": Tokenize(string(q.Content))})
	}
}

func detokenize(w http.ResponseWriter, r *http.Request) {
	var q struct{ Tokens []int }
	if engineBind(w, r, &q) {
		writeJSON(w, http.StatusOK, object{"content": Detokenize(q.Tokens)})
	}
}

func applyTemplate(w http.ResponseWriter, r *http.Request) {
	var q struct{ Messages []openAIMessage }
	if engineBind(w, r, &q) {
		writeJSON(w, http.StatusOK, object{"prompt": joinOpenAI(q.Messages)})
	}
}

// promptText is a prompt in the forms that Ollama sends: a text, a text with media, or a list of tokens and texts.
type promptText string

// UnmarshalJSON keeps the text.
func (p *promptText) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		return json.Unmarshal(b, (*string)(p))
	case '{':
		var media struct {
			Text string `json:"prompt_string"`
		}
		err := json.Unmarshal(b, &media)
		*p = promptText(media.Text)
		return err
	}
	var parts []any
	err := json.Unmarshal(b, &parts)
	var text strings.Builder
	for _, part := range parts {
		switch v := part.(type) {
		case string:
			text.WriteString(v)
		case float64:
			text.WriteString(Detokenize([]int{int(v)}))
		}
	}
	*p = promptText(text.String())
	return err
}

func (e *EngineServer) completion(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Prompt     promptText
		NPredict   int `json:"n_predict"`
		Grammar    string
		JSONSchema json.RawMessage `json:"json_schema"`
	}
	if engineBind(w, r, &q) {
		e.generate(w, r, string(q.Prompt), q.NPredict, q.Grammar != "" || wantsJSON(q.JSONSchema), completionChunks{})
	}
}

func (e *EngineServer) chat(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Messages []openAIMessage
		NPredict int             `json:"n_predict"`
		Format   json.RawMessage `json:"response_format"`
	}
	if engineBind(w, r, &q) {
		e.generate(w, r, joinOpenAI(q.Messages), q.NPredict, wantsJSON(q.Format), chatChunks{})
	}
}

// chunks is how a route spells tokens and the end.
type chunks interface {
	appendToken(b []byte, quoted []byte) []byte
	last(reason string, timings object) []byte
}

type completionChunks struct{}

func (completionChunks) appendToken(b, quoted []byte) []byte {
	b = append(b, `data: {"content":`...)
	b = append(b, quoted...)
	return append(b, ",\"stop\":false}\n\n"...)
}

func (completionChunks) last(reason string, timings object) []byte {
	stop := "eos"
	if reason == "length" {
		stop = "limit"
	}
	return sse("", object{"content": "", "stop": true, "stop_type": stop, "timings": timings})
}

type chatChunks struct{}

func (chatChunks) appendToken(b, quoted []byte) []byte {
	b = append(b, `data: {"object":"chat.completion.chunk","choices":[{"index":0,"finish_reason":null,"delta":{"content":`...)
	b = append(b, quoted...)
	return append(b, "}}]}\n\n"...)
}

func (chatChunks) last(reason string, timings object) []byte {
	end := sse("", object{"object": "chat.completion.chunk", "timings": timings,
		"choices": []object{{"index": 0, "finish_reason": reason, "delta": object{}}}})
	return append(end, "data: [DONE]\n\n"...)
}

// generate streams a reply; both routes are only ever asked to stream.
func (e *EngineServer) generate(w http.ResponseWriter, r *http.Request, prompt string, limit int, asJSON bool, c chunks) {
	d := ParseDirectives(prompt)
	reply := NewReply(prompt, "", d, e.driver.Settings().Tokens, asJSON)
	n, reason := reply.Len, "stop"
	if limit > 0 && limit < n {
		n, reason = limit, "length"
	}
	j := &Job{Prompt: prompt, Tokens: n, Prefill: d.Prefill, Each: d.Each, Fault: d.Fault}
	st := e.driver.Run(j)
	running, _ := e.driver.Load()
	out := http.NewResponseController(w)
	var buf []byte
	for made := 0; ; {
		ev, err := st.Next(r.Context())
		switch {
		case err != nil:
			e.ended("generate", "cancelled", j, st.Cancel(), running)
			return
		case ev.Kind == Token:
			if made == 0 {
				w.Header().Set("Content-Type", "text/event-stream")
			}
			quoted, _ := json.Marshal(reply.Piece(made))
			buf = c.appendToken(buf[:0], quoted)
			w.Write(buf)
			out.Flush()
			made++
		case ev.Kind == Failed:
			e.ended("generate", "failed", j, j.Made, running)
			e.failed(w, ev.Err, made > 0)
			return
		case ev.Kind == Done:
			e.ended("generate", "done", j, j.Made, running)
			if !ev.Cut {
				w.Write(c.last(reason, timings(j)))
			}
			return
		}
	}
}

func timings(j *Job) object {
	return object{
		"cache_n": j.Cached, "prompt_n": j.PromptTokens - j.Cached, "prompt_ms": millis(j.PromptTime),
		"predicted_n": j.Made, "predicted_ms": millis(j.DecodeTime()),
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// failed tells of an engine error, or ends the process or the connection.
func (e *EngineServer) failed(w http.ResponseWriter, err error, begun bool) {
	switch {
	case !errors.Is(err, ErrFailed):
		e.die(err.Error())
		panic(http.ErrAbortHandler)
	case begun:
		w.Write(sse("", object{"error": object{"code": 500, "message": err.Error(), "type": "server_error"}}))
	default:
		engineErrorJSON(w, http.StatusInternalServerError, "server_error", err.Error())
	}
}

func (e *EngineServer) die(reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.died && e.opt.Die != nil {
		e.opt.Die(reason)
	}
	e.died = true
}

func (e *EngineServer) embed(w http.ResponseWriter, r *http.Request) {
	var q struct{ Input any }
	if !engineBind(w, r, &q) {
		return
	}
	texts, ok := inputTexts(q.Input)
	switch {
	case !e.opt.Embedding:
		engineErrorJSON(w, http.StatusNotImplemented, "not_supported_error", "This server does not support embeddings. Start it with `--embeddings`")
		return
	case !ok:
		engineErrorJSON(w, http.StatusBadRequest, "invalid_request_error", "\"input\" must be a string or a list of strings")
		return
	}
	if len(texts) == 0 {
		texts = []string{""}
	}
	data, tokens := []object{}, 0
	for i, text := range texts {
		if err := e.embedText(r.Context(), text); err != nil {
			if r.Context().Err() == nil {
				e.failed(w, err, false)
			}
			return
		}
		tokens += CountTokens(text)
		data = append(data, object{"index": i, "object": "embedding", "embedding": Vector(e.opt.Weights, text, e.opt.Dims)})
	}
	writeJSON(w, http.StatusOK, object{"object": "list", "data": data, "usage": object{"prompt_tokens": tokens, "total_tokens": tokens}})
}

func (e *EngineServer) embedText(ctx context.Context, text string) error {
	d := ParseDirectives(text)
	j := &Job{Prompt: text, Embed: true, Prefill: d.Embed, Fault: d.Fault}
	st := e.driver.Run(j)
	running, _ := e.driver.Load()
	for {
		ev, err := st.Next(ctx)
		switch {
		case err != nil:
			e.ended("embed", "cancelled", j, st.Cancel(), running)
			return err
		case ev.Kind == Failed:
			e.ended("embed", "failed", j, 0, running)
			return ev.Err
		case ev.Kind == Done:
			e.ended("embed", "done", j, 0, running)
			return nil
		}
	}
}

// ended writes a record. The job has ended, so its fields are at rest.
func (e *EngineServer) ended(kind, outcome string, j *Job, tokens, running int) {
	if e.opt.Stats == nil {
		return
	}
	rec := EngineRecord{Kind: kind, Outcome: outcome, Tokens: tokens, Prompt: j.PromptTokens, Cached: j.Cached, Running: running}
	if outcome != "done" {
		rec.Wasted = tokens
	}
	if !j.Started.IsZero() {
		rec.WaitMS = millis(j.Wait())
	}
	line, err := json.Marshal(rec)
	if err != nil {
		panic(fmt.Errorf("encode record: %w", err))
	}
	var b bytes.Buffer // one Write, so that lines of several processes do not mix
	b.Write(line)
	b.WriteByte('\n')
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = e.opt.Stats.Write(b.Bytes()) // a lost line must not fail a generation
}
