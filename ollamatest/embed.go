package ollamatest

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// embedAnswer says how a route tells vectors and errors.
type embedAnswer struct {
	model  string
	openAI bool
	base64 bool
}

func (a embedAnswer) fail(w http.ResponseWriter, code int, message string) {
	if a.openAI {
		(&openAIAnswer{}).fail(w, code, message)
		return
	}
	nativeError(w, code, message)
}

// embedding runs the texts of one request: each is a request to the engine of its own, and the runner of an
// embedding model has one slot.
func (s *Server) embedding(w http.ResponseWriter, r *http.Request, q embedRequest, a embedAnswer) {
	start := time.Now()
	texts, ok := inputTexts(q.Input)
	if !ok {
		a.fail(w, http.StatusBadRequest, "invalid input type")
		return
	}
	m := s.find(q.Model)
	if m == nil {
		a.fail(w, http.StatusNotFound, fmt.Sprintf("model %q not found, try pulling it first", q.Model))
		return
	}
	run, err := s.schedule(r.Context(), m, q.Options, nil, q.KeepAlive.duration())
	if err != nil {
		code, message := scheduleError(err)
		a.fail(w, code, message)
		return
	}
	defer s.sched.release(run)
	load := time.Since(start)
	if len(texts) > 0 {
		if code, message := s.embedAll(r.Context(), run, texts); code != 0 {
			a.fail(w, code, message)
			return
		}
	}
	a.write(w, m, &q, texts, time.Since(start), load)
}

// write answers with the vectors of all texts.
func (a embedAnswer) write(w http.ResponseWriter, m *Model, q *embedRequest, texts []string, total, load time.Duration) {
	vectors, tokens := [][]float32{}, 0
	for _, text := range texts {
		v := normalize(Vector(m.Weights, text, m.EmbeddingLength))
		if q.Dimensions > 0 && q.Dimensions < len(v) {
			v = normalize(v[:q.Dimensions])
		}
		vectors = append(vectors, v)
		tokens += CountTokens(text)
	}
	if a.openAI {
		writeJSON(w, http.StatusOK, rawJSON{a.list(vectors, tokens)})
		return
	}
	if len(texts) == 0 {
		total, load = 0, 0
	}
	writeJSON(w, http.StatusOK, struct {
		Model      string        `json:"model"`
		Embeddings [][]float32   `json:"embeddings"`
		Total      time.Duration `json:"total_duration,omitempty"`
		Load       time.Duration `json:"load_duration,omitempty"`
		Count      int           `json:"prompt_eval_count,omitempty"`
	}{a.model, vectors, total, load, tokens})
}

// embedAll runs every text and answers with the first error after all have ended. code 0: all went well.
func (s *Server) embedAll(ctx context.Context, run *runner, texts []string) (code int, message string) {
	if !run.model.can("embedding") {
		return http.StatusNotImplemented, "This server does not support embeddings. Start it with `--embeddings`"
	}
	streams := make([]*Stream, len(texts))
	for i, text := range texts {
		d := ParseDirectives(text)
		streams[i] = s.submit(run, &Job{Prompt: text, Embed: true, Prefill: d.Embed, Fault: d.Fault})
	}
	for _, st := range streams {
		c, m := s.embedOne(ctx, st)
		if code == 0 {
			code, message = c, m
		}
	}
	return code, message
}

// embedOne waits for one text.
func (s *Server) embedOne(ctx context.Context, st *Stream) (code int, message string) {
	g := generation{server: s, stream: st}
	_, err := g.next(ctx)
	switch {
	case err == nil:
		return 0, ""
	case ctx.Err() != nil:
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, ErrFailed):
		return http.StatusInternalServerError, ErrFailed.Error()
	}
	return http.StatusBadRequest, `do embedding request: Post "http://127.0.0.1:40000/v1/embeddings": EOF`
}

func normalize(v []float32) []float32 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	norm := float32(1 / max(math.Sqrt(sum), 1e-12))
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = x * norm
	}
	return out
}

type embedRequest struct {
	Model      string
	Input      any
	Dimensions int
	KeepAlive  *keepAlive
	Options    map[string]any
}

// inputTexts is an input's texts: a string, "" for none, or a list of strings.
func inputTexts(input any) (texts []string, ok bool) {
	switch t := input.(type) {
	case nil:
		return nil, true
	case string:
		if t == "" {
			return nil, true
		}
		return []string{t}, true
	case []any:
		for _, v := range t {
			text, isText := v.(string)
			if !isText {
				return nil, false
			}
			texts = append(texts, text)
		}
		return texts, true
	}
	return nil, false
}

func (s *Server) embed(w http.ResponseWriter, r *http.Request) {
	type EmbedRequest struct {
		Model      string         `json:"model"`
		Input      any            `json:"input"`
		Dimensions int            `json:"dimensions"`
		KeepAlive  *keepAlive     `json:"keep_alive"`
		Options    map[string]any `json:"options"`
		Truncate   *bool          `json:"truncate"`
	}
	var q EmbedRequest
	if bindNative(w, r, &q) {
		s.embedding(w, r, embedRequest{q.Model, q.Input, q.Dimensions, q.KeepAlive, q.Options}, embedAnswer{model: q.Model})
	}
}

// embeddings is the old route: one prompt, a vector that is not normalised, other texts and codes for errors.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	type EmbeddingRequest struct {
		Model     string         `json:"model"`
		Prompt    string         `json:"prompt"`
		KeepAlive *keepAlive     `json:"keep_alive"`
		Options   map[string]any `json:"options"`
	}
	var q EmbeddingRequest
	if !bindNative(w, r, &q) {
		return
	}
	if q.Model == "" {
		nativeError(w, http.StatusBadRequest, "model is required")
		return
	}
	m := s.find(q.Model)
	if m == nil {
		nativeError(w, http.StatusNotFound, fmt.Sprintf("model %q not found, try pulling it first", q.Model))
		return
	}
	run, err := s.schedule(r.Context(), m, q.Options, nil, q.KeepAlive.duration())
	if err != nil {
		code, message := scheduleError(err)
		nativeError(w, code, message)
		return
	}
	defer s.sched.release(run)
	vector := []float32{}
	if q.Prompt != "" {
		if code, message := s.embedAll(r.Context(), run, []string{q.Prompt}); code != 0 {
			nativeError(w, http.StatusInternalServerError, message)
			return
		}
		vector = Vector(m.Weights, q.Prompt, m.EmbeddingLength)
	}
	writeJSON(w, http.StatusOK, map[string]any{"embedding": vector})
}

func (s *Server) openAIEmbeddings(w http.ResponseWriter, r *http.Request) {
	type EmbedRequest struct {
		Input          any    `json:"input"`
		Model          string `json:"model"`
		Dimensions     int    `json:"dimensions"`
		EncodingFormat string `json:"encoding_format"`
	}
	var q EmbedRequest
	refuse := func(message string) {
		writeJSON(w, http.StatusBadRequest, openAIErrorOf(http.StatusBadRequest, message))
	}
	if err := bind(r, &q); err != nil {
		refuse(err.Error())
		return
	}
	format := strings.ToLower(q.EncodingFormat)
	if format != "" && format != "float" && format != "base64" {
		refuse(fmt.Sprintf("Invalid value for 'encoding_format' = %s. Supported values: ['float', 'base64'].", q.EncodingFormat))
		return
	}
	if q.Input == "" {
		q.Input = []any{""}
	}
	if list, isList := q.Input.([]any); q.Input == nil || isList && len(list) == 0 {
		refuse("invalid input")
		return
	}
	s.embedding(w, r, embedRequest{Model: q.Model, Input: q.Input, Dimensions: q.Dimensions},
		embedAnswer{model: q.Model, openAI: true, base64: format == "base64"})
}

func (a embedAnswer) list(vectors [][]float32, tokens int) any {
	type row struct {
		Object    string `json:"object"`
		Embedding any    `json:"embedding"`
		Index     int    `json:"index"`
	}
	rows := make([]row, len(vectors))
	for i, v := range vectors {
		rows[i] = row{"embedding", v, i}
		if a.base64 {
			b, _ := binary.Append(nil, binary.LittleEndian, v)
			rows[i].Embedding = base64.StdEncoding.EncodeToString(b)
		}
	}
	return struct {
		Object string         `json:"object"`
		Data   []row          `json:"data"`
		Model  string         `json:"model"`
		Usage  map[string]int `json:"usage"`
	}{"list", rows, a.model, map[string]int{"prompt_tokens": tokens, "total_tokens": tokens}}
}
