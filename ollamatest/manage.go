package ollamatest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// nextID is an id that is unique in this server: a prefix and a number.
func (s *Server) nextID(prefix string) string { return fmt.Sprintf("%s%d", prefix, s.ids.Add(1)) }

// Add makes a model known, replacing one of the same name.
func (s *Server) Add(m Model) {
	m = m.withDefaults()
	n, _ := parseName(m.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(n)
	s.models = slices.Insert(s.models, 0, &m)
}

func (s *Server) removeLocked(n name) {
	s.models = slices.DeleteFunc(s.models, func(m *Model) bool {
		known, _ := parseName(m.Name)
		return known.key() == n.key()
	})
}

func (s *Server) copyModel(w http.ResponseWriter, r *http.Request) {
	var q struct{ Source, Destination string }
	if !bindNative(w, r, &q) {
		return
	}
	if _, ok := parseName(q.Source); !ok {
		nativeError(w, http.StatusBadRequest, fmt.Sprintf("source %q is invalid", q.Source))
		return
	}
	to, ok := parseName(q.Destination)
	if !ok {
		nativeError(w, http.StatusBadRequest, fmt.Sprintf("destination %q is invalid", q.Destination))
		return
	}
	m := s.find(q.Source)
	if m == nil {
		nativeError(w, http.StatusNotFound, fmt.Sprintf("model %q not found", q.Source))
		return
	}
	twin := *m
	twin.Name = q.Destination
	from, _ := parseName(q.Source)
	s.mu.Lock()
	layers := s.layers[from.key()]
	s.mu.Unlock()
	s.Add(twin)
	s.mu.Lock()
	s.layers[to.key()] = layers
	s.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

func (s *Server) deleteModel(w http.ResponseWriter, r *http.Request) {
	var q namedRequest
	if !bindNative(w, r, &q) {
		return
	}
	asked := cmp.Or(q.Model, q.Name)
	n, ok := parseName(asked)
	if !ok {
		nativeError(w, http.StatusBadRequest, fmt.Sprintf("name %q is invalid", asked))
		return
	}
	m := s.find(asked)
	if m == nil {
		nativeError(w, http.StatusNotFound, fmt.Sprintf("model '%s' not found", asked))
		return
	}
	s.mu.Lock()
	s.removeLocked(n)
	s.dropLayers(n)
	s.mu.Unlock()
	s.sched.unloadModel(m)
	w.WriteHeader(http.StatusOK)
}

// progress answers as streamResponse and waitForStream do: lines as they come, or the last one alone.
type progress struct {
	w      http.ResponseWriter
	stream bool
	wrote  bool
	last   progressLine
}

func newProgress(w http.ResponseWriter, stream *bool) *progress {
	p := &progress{w: w, stream: stream == nil || *stream}
	w.Header().Set("Content-Type", "application/json")
	if p.stream {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	return p
}

func (p *progress) say(line progressLine) {
	p.last = line
	if p.stream {
		p.line(line)
	}
}

func (p *progress) line(v any) {
	p.wrote = true
	_ = json.NewEncoder(p.w).Encode(v) // the client may have left
	_ = http.NewResponseController(p.w).Flush()
}

// fail ends the answer. An error before the first line has a status.
func (p *progress) fail(status int, message string) {
	if p.wrote {
		p.line(object{"error": message})
		return
	}
	p.w.Header().Set("Content-Type", "application/json")
	nativeError(p.w, status, message)
}

func (p *progress) end() {
	if !p.stream {
		writeJSON(p.w, http.StatusOK, p.last)
	}
}

// create is CreateHandler for a model of one GGUF blob, or of another model, which is pulled if it is not there.
func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var q struct {
		namedRequest
		From       string
		Files      map[string]string
		Parameters map[string]any
		Stream     *bool
	}
	if !bindNative(w, r, &q) {
		return
	}
	n, ok := parseName(cmp.Or(q.Model, q.Name))
	if !ok {
		nativeError(w, http.StatusBadRequest, "invalid model name")
		return
	}
	m := Model{Name: n.short(), Parameters: q.Parameters}
	p := newProgress(w, q.Stream)
	var layers []string
	switch {
	case q.From != "":
		base, err := s.base(r.Context(), q.From, p)
		if err != nil {
			p.fail(http.StatusInternalServerError, err.Error())
			return
		}
		m = *base
		m.Name, m.Parameters, m.Digest = n.short(), q.Parameters, ""
		layers = []string{"sha256:" + m.Weights}
		p.say(progressLine{Status: "using existing layer sha256:" + m.Weights})
	case len(q.Files) > 0:
		for _, digest := range q.Files {
			if !s.hasBlob(digest) {
				p.fail(http.StatusInternalServerError, "open /models/blobs/"+strings.Replace(digest, ":", "-", 1)+": no such file or directory")
				return
			}
			m.Weights = strings.TrimPrefix(digest, "sha256:")
			layers = append(layers, digest)
		}
		p.say(progressLine{Status: "parsing GGUF"})
		m.Digest = hexHash(m.Name + m.Weights)
		if embedderName(n.model) {
			m.Capabilities = []string{"embedding"}
		}
	default:
		p.fail(http.StatusBadRequest, "neither 'from' or 'files' was specified")
		return
	}
	p.say(progressLine{Status: "writing manifest"})
	s.keep(m, layers)
	p.say(progressLine{Status: "success"})
	p.end()
}

// embedderName: a model that no file describes is an embedder if its name says so.
func embedderName(model string) bool { return strings.Contains(model, "embed") }

// base is parseFromModel.
func (s *Server) base(ctx context.Context, from string, p *progress) (*Model, error) {
	if m := s.find(from); m != nil {
		return m, nil
	}
	n, ok := parseName(from)
	if !ok {
		return nil, errors.New("invalid model name")
	}
	p.say(progressLine{Status: "pulling manifest"})
	o, ok := s.offered(n)
	if !ok {
		return nil, errors.New("pull model manifest: file does not exist")
	}
	if err := s.download(ctx, o, p); err != nil {
		return nil, err
	}
	s.keep(o.Model, o.Layers)
	return &o.Model, nil
}

// blobDigest is what BlobsPath takes for a digest; it comes back with a colon.
var blobDigest = regexp.MustCompile(`^sha256[:-][0-9a-fA-F]{64}$`)

func (s *Server) hasBlob(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[strings.Replace(digest, "sha256-", "sha256:", 1)]
}

func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) {
	digest := strings.TrimPrefix(r.URL.Path, "/api/blobs/")
	switch {
	case !blobDigest.MatchString(digest):
		nativeError(w, http.StatusBadRequest, "invalid digest format")
		return
	case s.hasBlob(digest):
		w.WriteHeader(http.StatusOK)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		nativeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	sum := sha256.Sum256(body)
	got := "sha256:" + hex.EncodeToString(sum[:])
	s.mu.Lock()
	s.blobs[got] = true // NewLayer keeps it before anybody compares
	s.mu.Unlock()
	if got != digest {
		nativeError(w, http.StatusBadRequest, fmt.Sprintf("digest mismatch, expected %q, got %q", digest, got))
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) headBlob(w http.ResponseWriter, r *http.Request) {
	digest := strings.TrimPrefix(r.URL.Path, "/api/blobs/")
	switch {
	case !blobDigest.MatchString(digest):
		nativeError(w, http.StatusBadRequest, "invalid digest format")
	case !s.hasBlob(digest):
		nativeError(w, http.StatusNotFound, fmt.Sprintf("blob %q not found", digest))
	}
}
