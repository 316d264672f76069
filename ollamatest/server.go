package ollamatest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is an Ollama v0.33 as an http.Handler: its scheduler, its hidden line before the slots, its texts, status
// codes and stream shapes, over engines that are only timed. Facts in the order of Ollama's own source:
// server/routes.go, server/sched.go, llm/llama_server.go, middleware/.
type Server struct {
	opt    Options
	record *record
	sched  *scheduler
	ready  time.Time
	routes map[string]map[string]http.HandlerFunc // path -> method -> handler

	ids atomic.Uint64

	mu       sync.Mutex
	models   []*Model // newest first, as /api/tags lists them
	blobs    map[string]bool
	partials map[string]int64    // what has come of a layer that is being pulled
	layers   map[string][]string // of pulled and created models, by key
	offers   map[string]Offer    // what the registry has, by key; nil: any name
	down     bool
	cut      chan struct{} // closed when every open request is to be cut
}

// New is a server with the given models, none of them loaded. Close it.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{opt: o, record: newRecord(o.Keep), blobs: map[string]bool{},
		partials: map[string]int64{}, layers: map[string][]string{}, cut: make(chan struct{})}
	s.ready = time.Now().Add(o.Ready)
	for _, m := range o.Models {
		m = m.withDefaults()
		s.models = append(s.models, &m)
	}
	s.sched = newScheduler(&s.opt, s.record)
	s.routes = s.table()
	return s
}

// Close cuts every open request and unloads everything. The server answers nothing afterwards.
func (s *Server) Close() {
	s.SetDown(true)
	s.sched.close()
}

// SetDown makes the server unreachable: open requests are cut, as when its process is killed, and new ones too,
// until SetDown(false). Its engines go with it.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if down == s.down {
		return
	}
	s.down = down
	if down {
		close(s.cut)
		s.sched.unloadAll()
		return
	}
	s.cut = make(chan struct{})
}

func (s *Server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// CrashEngines kills the engine of every loaded model. The next request loads it again.
func (s *Server) CrashEngines() { s.sched.crashAll() }

// FailLoads makes the next n loads of a model end out of memory.
func (s *Server) FailLoads(model string, n int) {
	if m := s.find(model); m != nil {
		s.sched.mu.Lock()
		defer s.sched.mu.Unlock()
		s.sched.failures[m.Weights] = n
	}
}

// Loaded are the names of the models that are in memory.
func (s *Server) Loaded() []string {
	var names []string
	for _, row := range s.processes() {
		names = append(names, row.Name)
	}
	return names
}

// find looks a model up by any spelling of its name, nil: unknown.
func (s *Server) find(text string) *Model {
	n, ok := parseName(text)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findLocked(n)
}

func (s *Server) findLocked(n name) *Model {
	for _, m := range s.models {
		if known, _ := parseName(m.Name); known.key() == n.key() {
			return m
		}
	}
	return nil
}

// ServeHTTP answers as Ollama does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	down, cut := s.down, s.cut
	s.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	s.record.request(r, body)
	r.Body = io.NopCloser(&received{bytes.NewReader(body), err})

	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	go func() {
		select {
		case <-cut:
			cancel(errCut)
		case <-ctx.Done():
		}
	}()
	cw := &codeWriter{ResponseWriter: w}
	defer func() { s.record.status(cw.code) }()
	if wait := time.Until(s.ready); wait > 0 && s.sched.sleep(ctx, wait) != nil {
		panic(http.ErrAbortHandler)
	}
	s.dispatch(cw, r.WithContext(ctx))
	if errors.Is(context.Cause(ctx), errCut) {
		cw.code = 0
		panic(http.ErrAbortHandler)
	}
	if cw.code == 0 {
		cw.code = http.StatusOK
	}
}

// received is a body that was read before, which may have ended with an error.
type received struct {
	*bytes.Reader
	err error
}

func (b *received) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF && b.err != nil {
		err = b.err
	}
	return n, err
}

var errCut = errors.New("connection cut")

// codeWriter remembers the status, 0: none was written.
type codeWriter struct {
	http.ResponseWriter
	code int
}

func (w *codeWriter) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *codeWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (s *Server) table() map[string]map[string]http.HandlerFunc {
	get := func(h http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{http.MethodGet: h, http.MethodHead: h}
	}
	only := func(method string, h http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{method: h}
	}
	post := func(h http.HandlerFunc) map[string]http.HandlerFunc { return only(http.MethodPost, h) }
	return map[string]map[string]http.HandlerFunc{
		"/":                        get(s.root),
		"/api/version":             get(s.version),
		"/api/status":              only(http.MethodGet, s.status),
		"/api/tags":                get(s.tags),
		"/api/ps":                  only(http.MethodGet, s.ps),
		"/api/show":                post(s.show),
		"/api/generate":            post(s.generate),
		"/api/chat":                post(s.chat),
		"/api/embed":               post(s.embed),
		"/api/embeddings":          post(s.embeddings),
		"/api/pull":                post(s.pull),
		"/api/push":                post(s.push),
		"/api/create":              post(s.create),
		"/api/copy":                post(s.copyModel),
		"/api/delete":              only(http.MethodDelete, s.deleteModel),
		"/v1/chat/completions":     post(s.openAIChat),
		"/v1/completions":          post(s.openAICompletion),
		"/v1/embeddings":           post(s.openAIEmbeddings),
		"/v1/models":               only(http.MethodGet, s.openAIModels),
		"/v1/models/:model":        only(http.MethodGet, s.openAIModel),
		"/v1/responses":            post(s.responses),
		"/v1/messages":             post(s.messages),
		"/v1/audio/transcriptions": post(s.transcriptions),
		"/api/blobs/:digest":       {http.MethodPost: s.putBlob, http.MethodHead: s.headBlob},
	}
}

// pattern is the path as the table spells it; a parameter is one segment.
func pattern(path string) string {
	for prefix, p := range map[string]string{"/v1/models/": "/v1/models/:model", "/api/blobs/": "/api/blobs/:digest"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok && rest != "" && !strings.Contains(rest, "/") {
			return p
		}
	}
	return path
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	methods := s.routes[pattern(r.URL.Path)]
	if handler := methods[r.Method]; methods == nil || handler == nil {
		s.noRoute(w, r, methods)
		return
	}
	if s.allowed(w, r) {
		methods[r.Method](w, r)
	}
}

// noRoute is gin's answer to a path or a method that it does not know.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, methods map[string]http.HandlerFunc) {
	path := r.URL.Path
	if trimmed := strings.TrimSuffix(path, "/"); methods == nil && trimmed != path && s.routes[pattern(trimmed)][r.Method] != nil {
		code := http.StatusTemporaryRedirect
		if r.Method == http.MethodGet {
			code = http.StatusMovedPermanently
		}
		http.Redirect(w, r, trimmed, code)
		return
	}
	if !s.allowed(w, r) {
		return
	}
	if methods == nil {
		plain(w, http.StatusNotFound, "404 page not found")
		return
	}
	var allow []string
	for _, m := range []string{"HEAD", "GET", "POST", "DELETE"} {
		if methods[m] != nil {
			allow = append(allow, m)
		}
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	plain(w, http.StatusMethodNotAllowed, "405 method not allowed")
}

// allowed applies the Origin list and the Host list; both answer 403 with an empty body.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && !localOrigin(origin, r.Host) {
		w.WriteHeader(http.StatusForbidden)
		return false
	}
	if !s.opt.Exposed && !localHost(r.Host) {
		w.WriteHeader(http.StatusForbidden)
		return false
	}
	return true
}

func localOrigin(origin, host string) bool {
	scheme, rest, _ := strings.Cut(origin, "://")
	switch scheme {
	case "app", "file", "tauri", "vscode-webview", "vscode-file":
		return true
	case "http", "https":
		h := stripPort(rest)
		return rest == host || h == "localhost" || h == "127.0.0.1" || h == "0.0.0.0"
	}
	return false
}

func localHost(hostport string) bool {
	host := stripPort(hostport)
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || addr.IsPrivate() || addr.IsUnspecified()
	}
	host = strings.ToLower(host)
	if host == "" || host == "localhost" {
		return true
	}
	for _, domain := range []string{".localhost", ".local", ".internal"} {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

func stripPort(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(code)
	io.WriteString(w, text)
}
