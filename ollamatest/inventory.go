package ollamatest

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

type modelDetails struct {
	ParentModel     string   `json:"parent_model"`
	Format          string   `json:"format"`
	Family          string   `json:"family"`
	Families        []string `json:"families"`
	ParameterSize   string   `json:"parameter_size"`
	Quantization    string   `json:"quantization_level"`
	ContextLength   int      `json:"context_length,omitempty"`
	EmbeddingLength int      `json:"embedding_length,omitempty"`
}

func (m *Model) details() modelDetails {
	return modelDetails{
		Format: m.Format, Family: m.Family, Families: []string{m.Family}, ParameterSize: "122.62K", Quantization: "F32",
	}
}

// modified is the date of every model: a constant, so that answers can be compared.
var modified = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (s *Server) root(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "Ollama is running")
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": s.opt.Version})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"cloud": object{"disabled": true, "source": "env"}})
}

// list is the models as they are now.
func (s *Server) list() []Model {
	s.mu.Lock()
	defer s.mu.Unlock()
	models := make([]Model, len(s.models))
	for i, m := range s.models {
		models[i] = *m
	}
	return models
}

func (s *Server) tags(w http.ResponseWriter, _ *http.Request) {
	type row struct {
		Name         string       `json:"name"`
		Model        string       `json:"model"`
		Modified     time.Time    `json:"modified_at"`
		Size         int64        `json:"size"`
		Digest       string       `json:"digest"`
		Details      modelDetails `json:"details"`
		Capabilities []string     `json:"capabilities,omitempty"`
	}
	rows := []row{}
	for _, m := range s.list() {
		n, _ := parseName(m.Name)
		d := m.details()
		d.ContextLength, d.EmbeddingLength = m.ContextLength, m.EmbeddingLength
		rows = append(rows, row{n.short(), n.short(), modified, m.Size, m.Digest, d, m.Capabilities})
	}
	writeJSON(w, http.StatusOK, map[string]any{"models": rows})
}

type processRow struct {
	Name          string       `json:"name"`
	Model         string       `json:"model"`
	Size          int64        `json:"size"`
	Digest        string       `json:"digest"`
	Details       modelDetails `json:"details"`
	ExpiresAt     time.Time    `json:"expires_at"`
	SizeVRAM      int64        `json:"size_vram"`
	ContextLength int          `json:"context_length"`
}

// processes are the loaded models, longest remaining first. Models being loaded are not among them.
func (s *Server) processes() []processRow {
	s.sched.mu.Lock()
	defer s.sched.mu.Unlock()
	rows := []processRow{}
	for _, r := range s.sched.loaded {
		n, _ := parseName(r.model.Name)
		expires := r.expires
		if expires.IsZero() {
			expires = time.Now().Add(min(r.keep, math.MaxInt64/4))
		}
		rows = append(rows, processRow{
			n.short(), n.short(), r.model.Size, r.model.Digest, r.model.details(), expires, r.model.Size, r.sig.numCtx,
		})
	}
	slices.SortFunc(rows, func(a, b processRow) int {
		return cmp.Or(b.ExpiresAt.Compare(a.ExpiresAt), cmp.Compare(a.Name, b.Name))
	})
	return rows
}

func (s *Server) ps(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"models": s.processes()})
}

type namedRequest struct {
	Model string `json:"model"`
	Name  string `json:"name"`
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	var q namedRequest
	if !bindNative(w, r, &q) {
		return
	}
	asked := cmp.Or(q.Model, q.Name)
	if asked == "" {
		nativeError(w, http.StatusBadRequest, "model is required")
		return
	}
	m := s.find(asked)
	if m == nil {
		n, _ := parseName(asked)
		nativeError(w, http.StatusNotFound, fmt.Sprintf("model '%s' not found", n.short()))
		return
	}
	var parameters []string
	for _, key := range slices.Sorted(maps.Keys(m.Parameters)) {
		parameters = append(parameters, fmt.Sprintf("%-30s %#v", key, m.Parameters[key]))
	}
	info := object{"general.architecture": m.Family, m.Family + ".context_length": m.ContextLength,
		m.Family + ".embedding_length": m.EmbeddingLength, "general.parameter_count": 122624}
	if m.can("embedding") {
		info[m.Family+".pooling_type"] = 1
	}
	o := struct {
		Modelfile    string       `json:"modelfile"`
		Parameters   string       `json:"parameters,omitempty"`
		Template     string       `json:"template"`
		Details      modelDetails `json:"details"`
		ModelInfo    object       `json:"model_info"`
		Capabilities []string     `json:"capabilities"`
		Modified     time.Time    `json:"modified_at"`
	}{m.modelfile(), strings.Join(parameters, "\n"), "{{ .Prompt }}", m.details(), info, m.Capabilities, modified}
	writeJSON(w, http.StatusOK, o)
}

func (m *Model) modelfile() string {
	var b strings.Builder
	n, _ := parseName(m.Name)
	if m.mlx() { // many blobs, none of them named
		fmt.Fprintf(&b, "# Modelfile generated by \"ollama show\"\nFROM %s\n", n.short())
		return b.String()
	}
	fmt.Fprintf(&b, "# Modelfile generated by \"ollama show\"\n# To build a new Modelfile based on this, replace FROM with:\n# FROM %s\n\n", n.short())
	fmt.Fprintf(&b, "FROM /models/blobs/sha256-%s\nTEMPLATE {{ .Prompt }}\n", m.Weights)
	for _, key := range slices.Sorted(maps.Keys(m.Parameters)) {
		fmt.Fprintf(&b, "PARAMETER %s %v\n", key, m.Parameters[key])
	}
	return b.String()
}

type openAIModelRow struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (s *Server) openAIModels(w http.ResponseWriter, _ *http.Request) {
	var rows []openAIModelRow // null when there are none, as in Ollama
	for _, m := range s.list() {
		n, _ := parseName(m.Name)
		rows = append(rows, openAIModelRow{n.short(), "model", modified.Unix(), n.namespace})
	}
	writeJSON(w, http.StatusOK, rawJSON{struct {
		Object string           `json:"object"`
		Data   []openAIModelRow `json:"data"`
	}{"list", rows}})
}

func (s *Server) openAIModel(w http.ResponseWriter, r *http.Request) {
	asked := strings.TrimPrefix(r.URL.Path, "/v1/models/")
	n, _ := parseName(asked)
	if s.find(asked) == nil {
		(&openAIAnswer{}).fail(w, http.StatusNotFound, fmt.Sprintf("model '%s' not found", n.short()))
		return
	}
	writeJSON(w, http.StatusOK, rawJSON{openAIModelRow{asked, "model", modified.Unix(), n.namespace}})
}
