package gateway

import (
	"fmt"
	"net/http"
	"slices"

	"corral/internal/call"
	"corral/internal/dialect"
	"corral/internal/dispatch"
	"corral/internal/fleet"
)

// Status is what GET /corral/api/status answers.
type Status struct {
	Version   string            `json:"version"`
	Instances []fleet.View      `json:"instances"`
	Queue     dispatch.Snapshot `json:"queue"`
	// DigestsDiffer is the models that instances have under one name with different digests: model, instance, digest.
	DigestsDiffer map[string]map[string]string `json:"digests_differ,omitempty"`
}

// own answers Corral's own paths, which never shadow Ollama's.
func (g *Gateway) own(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		call.WriteError(w, dialect.Ollama, http.StatusMethodNotAllowed, r.URL.Path+" takes GET only")
		return
	}
	switch r.URL.Path {
	case "/healthz": // the process lives
		writeText(w, http.StatusOK, "ok")
	case "/readyz":
		g.ready(w)
	case "/metrics":
		g.Metrics.ServeHTTP(w, r)
	case "/corral/api/status":
		writeJSON(w, "application/json", Status{
			Version: g.Version, Instances: g.Fleet.Views(), Queue: g.Fleet.Dispatcher().Snapshot(),
			DigestsDiffer: g.Fleet.Differing(),
		})
	default:
		call.WriteError(w, dialect.Ollama, http.StatusNotFound, "no such page: try /corral/api/status, /metrics, /healthz or /readyz")
	}
}

// ready says whether requests can be answered: one instance is enough, the others are waited for.
func (g *Gateway) ready(w http.ResponseWriter) {
	views := g.Fleet.Views()
	if slices.ContainsFunc(views, func(v fleet.View) bool { return v.Up }) {
		writeText(w, http.StatusOK, "ready")
		return
	}
	writeText(w, http.StatusServiceUnavailable, fmt.Sprintf("not ready: none of %d instances can be reached", len(views)))
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text)
}
