package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"corral/internal/call"
	"corral/internal/dialect"
	"corral/internal/fleet"
)

// list answers what is asked of the fleet as a whole, as one instance would.
func (g *Gateway) list(w http.ResponseWriter, r *http.Request) {
	get := r.Method == http.MethodGet
	switch path := r.URL.Path; {
	case path == "/api/show":
		g.show(w, r)
	case len(g.Fleet.Healthy()) == 0:
		g.noInstance(w, r)
	case path == "/api/tags":
		g.warnOfDigests(w, "")
		writeJSON(w, "application/json; charset=utf-8", map[string]any{"models": raws(g.withAliases(g.Fleet.Tags(r.Context())))})
	case path == "/api/ps" && get:
		writeJSON(w, "application/json; charset=utf-8", map[string]any{"models": raws(g.Fleet.Loaded(r.Context()))})
	case path == "/v1/models" && get:
		writeJSON(w, "application/json", struct {
			Object string            `json:"object"`
			Data   []json.RawMessage `json:"data"`
		}{"list", raws(g.withAliases(g.Fleet.OpenAIModels(r.Context())))})
	case path == "/api/version":
		writeJSON(w, "application/json; charset=utf-8", map[string]string{"version": g.Fleet.Version()})
	case strings.HasPrefix(path, "/v1/models/") && get:
		g.showOpenAI(w, r, strings.TrimPrefix(path, "/v1/models/"))
	default:
		g.pass(w, r)
	}
}

// maxShow bounds the body of a question about one model, in bytes.
const maxShow = 1 << 20

// show passes a question about a model to an instance that has it.
func (g *Gateway) show(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		g.pass(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxShow))
	if err != nil {
		call.WriteError(w, dialect.Ollama, http.StatusRequestEntityTooLarge, "a question about a model is at most 1 MiB")
		return
	}
	setBody(r, body)
	var q struct{ Model, Name string }
	if json.NewDecoder(bytes.NewReader(body)).Decode(&q) != nil {
		g.pass(w, r) // Ollama says what is wrong with it
		return
	}
	if q.Model == "" {
		q.Model = q.Name
	}
	if model, ok := g.standsFor(q.Model); ok {
		setBody(r, dialect.Named(body, model))
		q.Model = model
	}
	g.warnOfDigests(w, dialect.CanonicalModel(q.Model))
	g.passToHolder(w, r, q.Model)
}

// showOpenAI answers what /v1/models says of one model.
func (g *Gateway) showOpenAI(w http.ResponseWriter, r *http.Request, name string) {
	if model, ok := g.standsFor(name); ok {
		canonical := dialect.CanonicalModel(model)
		for _, row := range g.Fleet.OpenAIModels(r.Context()) {
			if row.Canonical() == canonical {
				writeJSON(w, "application/json", row.As(name).Raw)
				return
			}
		}
		name = model
	}
	g.passToHolder(w, r, name)
}

// warnOfDigests says which models, or whether the one in question, instances have with different digests.
func (g *Gateway) warnOfDigests(w http.ResponseWriter, canonical string) {
	names := slices.Sorted(maps.Keys(g.Fleet.Differing()))
	if canonical != "" {
		names = slices.DeleteFunc(names, func(name string) bool { return name != canonical })
	}
	if len(names) > 0 {
		w.Header().Set("X-Corral-Digests-Differ", strings.Join(names, ","))
	}
}

// passToHolder passes a request to an instance that has the model, else to the first, which says that it has
// not.
func (g *Gateway) passToHolder(w http.ResponseWriter, r *http.Request, model string) {
	canonical := dialect.CanonicalModel(model)
	holders := g.Fleet.Holders(canonical)
	switch {
	case len(holders) > 0:
		g.passTo(w, r, holders[0])
	case g.Fleet.Knows(canonical): // it may not be served, or is out of reach
		g.reject(w, r, http.StatusNotFound, "model '"+model+"' not found")
	default:
		g.pass(w, r)
	}
}

func raws(rows []fleet.Row) []json.RawMessage {
	raw := make([]json.RawMessage, len(rows))
	for i, row := range rows {
		raw[i] = row.Raw
	}
	return raw
}

func writeJSON(w http.ResponseWriter, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		call.WriteError(w, dialect.Ollama, http.StatusInternalServerError, err.Error())
		return
	}
	if contentType == "application/json" {
		body = append(body, '\n') // as Ollama's OpenAI routes write it
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
}
