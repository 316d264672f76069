package ollamatest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// task is what a generating route asks of the server, whatever its wire format.
type task struct {
	model     string // as the client spelled it
	verb      string // generate or chat, for an error text
	prompt    string
	empty     bool // nothing to generate: load the model, or unload it
	stream    bool
	json      bool
	options   map[string]any
	keep      *time.Duration
	shift     *bool
	thinks    bool // asks for thinking and would be refused without
	ponders   bool // a chat that does not forbid thinking: a model that can, does
	limit     int  // most tokens, <= 0: no limit
	completes bool // runs on the engine's completion route, whose errors inside a stream are lost
}

// metrics are the numbers at the end of an answer. total - load - prompt - eval is the hidden wait.
type metrics struct {
	done        bool
	reason      string
	total, load time.Duration
	prompt      time.Duration
	eval        time.Duration
	promptCount int
	evalCount   int
	context     []int
}

// answer is one wire format of a generated answer.
type answer interface {
	// start sets the headers of a stream; it is called before the first byte, also of an error.
	start(h http.Header)
	// chunk is one token of a stream.
	chunk(piece string) []byte
	// last ends a stream.
	last(m metrics) []byte
	// broken is what a stream shows of an error in its middle.
	broken(message string) []byte
	// whole is the body of an answer that does not stream.
	whole(text string, m metrics) any
	// special answers a load ("load") or an unload ("unload").
	special(reason string) any
	fail(w http.ResponseWriter, code int, message string)
}

// generating runs a task and writes its answer.
func (s *Server) generating(w http.ResponseWriter, r *http.Request, t task, a answer) {
	start := time.Now()
	m := s.find(t.model)
	if m == nil {
		a.fail(w, http.StatusNotFound, fmt.Sprintf("model '%s' not found", t.model))
		return
	}
	if t.empty && t.keep != nil && *t.keep == 0 {
		s.sched.unloadModel(m)
		writeJSON(w, http.StatusOK, a.special("unload"))
		return
	}
	if t.thinks && !m.can("thinking") {
		a.fail(w, http.StatusBadRequest, fmt.Sprintf("%q does not support thinking", t.model))
		return
	}
	if !m.can("completion") {
		a.fail(w, http.StatusBadRequest, fmt.Sprintf("%q does not support %s", t.model, t.verb))
		return
	}
	run, err := s.schedule(r.Context(), m, t.options, t.shift, t.keep)
	if err != nil {
		code, message := scheduleError(err)
		a.fail(w, code, message)
		return
	}
	defer s.sched.release(run)
	if t.empty {
		writeJSON(w, http.StatusOK, a.special("load"))
		return
	}
	load := time.Since(start)
	if t.ponders && t.json && m.can("thinking") && !s.ponder(w, r.Context(), run, &t, a) {
		return
	}
	g := s.begin(run, &t)
	g.start, g.load = start, load
	if t.stream {
		g.streamed(w, r.Context(), a)
	} else {
		g.inOne(w, r.Context(), a)
	}
}

func (s *Server) schedule(ctx context.Context, m *Model, options map[string]any, shift *bool, keep *time.Duration) (*runner, error) {
	sig, err := s.signatureOf(m, options, shift)
	if err != nil {
		return nil, err
	}
	return s.sched.acquire(ctx, m, sig, keep)
}

// scheduleError is handleScheduleError of Ollama's routes.
func scheduleError(err error) (int, string) {
	switch {
	case errors.Is(err, context.Canceled):
		return 499, "request canceled"
	case errors.Is(err, errMaxQueue):
		return http.StatusServiceUnavailable, err.Error()
	}
	return http.StatusInternalServerError, err.Error()
}

// generation is one running task.
type generation struct {
	server  *Server
	model   *Model
	task    *task
	stream  *Stream
	reply   Reply
	limited bool
	start   time.Time
	load    time.Duration
}

func (s *Server) begin(run *runner, t *task) *generation {
	d := ParseDirectives(t.prompt)
	text := ""
	if s.opt.Reply != nil {
		text = s.opt.Reply(t.model, t.prompt)
	}
	reply := NewReply(t.prompt, text, d, run.driver.Settings().Tokens, t.json)
	g := &generation{server: s, model: run.model, task: t, reply: reply}
	n := reply.Len
	if t.limit > 0 && t.limit < n {
		n, g.limited = t.limit, true
	}
	g.stream = s.submit(run, &Job{Prompt: t.prompt, Tokens: n, Prefill: d.Prefill, Each: d.Each, Fault: d.Fault})
	return g
}

// thoughts is how many tokens a model thinks.
const thoughts = 4

// ponder is the first of the two completions of a chat that thinks and must answer in JSON (the loop of ChatHandler):
// without the format, up to the end of the thoughts. It gives its slot back, and the second one gets in line for one
// anew. It says whether to go on. Only /api/chat shows the thoughts.
func (s *Server) ponder(w http.ResponseWriter, ctx context.Context, run *runner, t *task, a answer) bool {
	d := ParseDirectives(t.prompt)
	g := &generation{server: s, task: t, reply: NewReply(t.prompt, "", Directives{}, thoughts, false)}
	g.stream = s.submit(run, &Job{Prompt: t.prompt, Tokens: thoughts, Prefill: d.Prefill, Each: d.Each})
	native, shown := a.(nativeAnswer)
	for made := 0; ; made++ {
		ev, err := g.next(ctx)
		switch {
		case err != nil:
			if made == 0 || !t.stream {
				a.fail(w, http.StatusInternalServerError, errorOf(err, false).first)
			}
			return false
		case ev.Kind == Done:
			return true
		case t.stream && shown:
			native.start(w.Header())
			w.Write(native.thought(g.reply.Piece(made)))
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// submit puts a job on a runner and keeps count.
func (s *Server) submit(run *runner, j *Job) *Stream {
	st := run.driver.Run(j)
	running, waiting := run.driver.Load()
	s.record.submitted(run.model, running, waiting)
	return st
}

// engineError is an error of the engine with what each surface makes of it.
type engineError struct {
	code          int
	first, middle string // before the first token, after it
}

func errorOf(err error, completes bool) engineError {
	const stopped = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama server logs for details"
	if errors.Is(err, ErrFailed) {
		e := engineError{500, engineFailure, "llama-server chat error: map[code:500 message:" + ErrFailed.Error() + " type:server_error]"}
		if completes {
			e.middle = ""
		}
		return e
	}
	return engineError{500, stopped, "an error was encountered while running the model: unexpected EOF"}
}

// engineFailure is the error body of llama-server, which Ollama passes on as a text.
var engineFailure = `{"error":{"code":500,"message":"` + ErrFailed.Error() + `","type":"server_error"}}`

// next waits for the next token or end. ok is false after the end; err is why.
func (g *generation) next(ctx context.Context) (ev Event, err error) {
	for {
		ev, err = g.stream.Next(ctx)
		if err != nil {
			g.server.record.ended(cancelled, g.stream.Cancel())
			if errors.Is(context.Cause(ctx), errCut) {
				panic(http.ErrAbortHandler)
			}
			return ev, err
		}
		switch ev.Kind {
		case Started:
			continue
		case Done:
			g.server.record.ended(finished, ev.Job.Made)
		case Failed:
			g.server.record.ended(failed, ev.Job.Made)
			if errors.Is(ev.Err, ErrReset) || g.server.isDown() {
				panic(http.ErrAbortHandler)
			}
			return ev, ev.Err
		}
		return ev, nil
	}
}

func (g *generation) streamed(w http.ResponseWriter, ctx context.Context, a answer) {
	a.start(w.Header())
	out := http.NewResponseController(w)
	for made := 0; ; {
		ev, err := g.next(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			if made == 0 {
				a.fail(w, http.StatusInternalServerError, err.Error())
			}
			return
		case err != nil:
			e := errorOf(err, g.task.completes)
			if made == 0 {
				a.fail(w, e.code, e.first)
			} else if e.middle != "" {
				w.Write(a.broken(e.middle))
			}
			return
		case ev.Kind == Done:
			if !ev.Cut {
				w.Write(a.last(g.metrics(ev.Job)))
			}
			return
		}
		w.Write(a.chunk(g.reply.Piece(made)))
		out.Flush()
		made++
	}
}

func (g *generation) inOne(w http.ResponseWriter, ctx context.Context, a answer) {
	for {
		ev, err := g.next(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			a.fail(w, http.StatusInternalServerError, err.Error())
			return
		case err != nil:
			e := errorOf(err, g.task.completes)
			if ev.Job.Made == 0 {
				a.fail(w, e.code, e.first)
				return
			}
			if e.middle != "" {
				a.fail(w, e.code, e.middle)
				return
			}
			writeJSON(w, http.StatusOK, a.whole(g.reply.Text(ev.Job.Made), metrics{}))
			return
		case ev.Kind == Done && ev.Cut:
			writeJSON(w, http.StatusOK, a.whole(g.reply.Text(ev.Job.Made), metrics{}))
			return
		case ev.Kind == Done:
			writeJSON(w, http.StatusOK, a.whole(g.reply.Text(ev.Job.Made), g.metrics(ev.Job)))
			return
		}
	}
}

func (g *generation) metrics(j *Job) metrics {
	m := metrics{
		done: true, reason: "stop",
		total: time.Since(g.start), load: g.load,
		prompt: j.PromptTime, eval: j.DecodeTime(),
		promptCount: j.PromptTokens, evalCount: j.Made,
	}
	if g.limited {
		m.reason = "length"
	}
	if g.task.completes {
		m.context = g.model.tokenize(g.task.prompt + g.reply.Text(j.Made))
	}
	return m
}

// bind decodes a body as gin does: the first JSON value counts, keys in any case, later duplicates win.
func bind(r *http.Request, into any) error { return json.NewDecoder(r.Body).Decode(into) }

// bindNative is bind for /api routes; it answers an error itself.
func bindNative(w http.ResponseWriter, r *http.Request, into any) bool {
	err := bind(r, into)
	if errors.Is(err, io.EOF) {
		err = errors.New("missing request body")
	}
	if err != nil {
		nativeError(w, http.StatusBadRequest, err.Error())
	}
	return err == nil
}

// writeJSON writes a body as gin does. A Content-Type that is set already stays.
func writeJSON(w http.ResponseWriter, code int, body any) {
	h := w.Header()
	switch body.(type) {
	case plainText:
		h.Set("Content-Type", "text/plain")
	case rawJSON:
		h.Set("Content-Type", "application/json")
	default:
		if h.Get("Content-Type") == "" {
			h.Set("Content-Type", "application/json; charset=utf-8")
		}
	}
	b, err := encode(body)
	if err != nil {
		panic(fmt.Errorf("encode %T: %w", body, err))
	}
	w.WriteHeader(code)
	w.Write(b)
}

// rawJSON marks bodies that Ollama's /v1 middleware rewrote: another Content-Type, a newline at the end.
type rawJSON struct{ body any }

func encode(body any) ([]byte, error) {
	if text, ok := body.(plainText); ok {
		return []byte(text), nil
	}
	if raw, ok := body.(rawJSON); ok {
		b, err := json.Marshal(raw.body)
		return append(b, '\n'), err
	}
	return json.Marshal(body)
}
