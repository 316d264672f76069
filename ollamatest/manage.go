package ollamatest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	m := s.find(q.Source)
	if m == nil {
		nativeError(w, http.StatusNotFound, fmt.Sprintf("model %q not found", q.Source))
		return
	}
	twin := *m
	twin.Name = q.Destination
	s.Add(twin)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) deleteModel(w http.ResponseWriter, r *http.Request) {
	var q namedRequest
	if !bindNative(w, r, &q) {
		return
	}
	asked := cmp.Or(q.Model, q.Name)
	m := s.find(asked)
	if m == nil {
		nativeError(w, http.StatusNotFound, fmt.Sprintf("model '%s' not found", asked))
		return
	}
	n, _ := parseName(asked)
	s.mu.Lock()
	s.removeLocked(n)
	s.mu.Unlock()
	s.sched.unloadModel(m)
	w.WriteHeader(http.StatusOK)
}

// progress answers as pull and create do: lines, or the last line alone.
func progress(w http.ResponseWriter, stream *bool, lines ...object) {
	if stream != nil && !*stream {
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, http.StatusOK, lines[len(lines)-1])
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for _, line := range lines {
		_ = enc.Encode(line) // the client may have left
	}
}

// pull knows no registry: it succeeds for any name and makes a model with the capabilities that the name suggests.
func (s *Server) pull(w http.ResponseWriter, r *http.Request) {
	var q struct {
		namedRequest
		Stream *bool
	}
	if !bindNative(w, r, &q) {
		return
	}
	asked := cmp.Or(q.Model, q.Name)
	if s.find(asked) == nil {
		m := Model{Name: asked}
		if strings.Contains(asked, "embed") {
			m.Capabilities = []string{"embedding"}
		}
		s.Add(m)
	}
	progress(w, q.Stream, object{"status": "pulling manifest"}, object{"status": "success"})
}

// create makes a model from a blob or from another model.
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
	m := Model{Name: cmp.Or(q.Model, q.Name), Parameters: q.Parameters}
	if base := s.find(q.From); q.From != "" && base != nil {
		m = *base
		m.Name, m.Parameters, m.Digest = cmp.Or(q.Model, q.Name), q.Parameters, ""
	}
	for _, digest := range q.Files {
		s.mu.Lock()
		known := s.blobs[digest]
		s.mu.Unlock()
		if !known {
			nativeError(w, http.StatusBadRequest, fmt.Sprintf("blob %q not found", digest))
			return
		}
		m.Weights = strings.TrimPrefix(digest, "sha256:")
	}
	s.Add(m)
	progress(w, q.Stream, object{"status": "writing manifest"}, object{"status": "success"})
}

func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) {
	digest := strings.TrimPrefix(r.URL.Path, "/api/blobs/")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		nativeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	sum := sha256.Sum256(body)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		nativeError(w, http.StatusBadRequest, fmt.Sprintf("digest mismatch, expected %q, got %q", digest, got))
		return
	}
	s.mu.Lock()
	known := s.blobs[digest]
	s.blobs[digest] = true
	s.mu.Unlock()
	if known {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) headBlob(w http.ResponseWriter, r *http.Request) {
	digest := strings.TrimPrefix(r.URL.Path, "/api/blobs/")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.blobs[digest] {
		nativeError(w, http.StatusNotFound, fmt.Sprintf("blob %q not found", digest))
	}
}
