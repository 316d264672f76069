// Package gateway is Corral's http.Handler: it judges who may ask, understands what is asked, and hands
// inference to a call, lists to the fleet, models to their desk, and everything else to the first healthy instance.
package gateway

import (
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"corral/internal/call"
	"corral/internal/config"
	"corral/internal/dialect"
	"corral/internal/fleet"
	"corral/internal/lane"
	"corral/internal/manage"
	"corral/internal/relay"
	"corral/internal/tenant"
)

// Gateway serves every request that reaches Corral.
type Gateway struct {
	Fleet   *fleet.Fleet
	Desk    *call.Desk
	Models  *manage.Desk
	Metrics http.Handler // GET /metrics
	Log     *slog.Logger
	Version string                         // Corral's own
	Config  *atomic.Pointer[config.Config] // the snapshot in force

	bodies atomic.Int64 // bytes of all bodies in memory
}

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	r.Header.Set("X-Request-Id", id) // the instance's log can name it too
	w.Header().Set("X-Request-Id", id)
	w.Header().Set(fleet.ServerHeader, g.Version)
	if !g.admit(w, r) {
		return
	}
	path := r.URL.Path
	if route, ok := dialect.Lookup(path); ok && r.Method == http.MethodPost {
		g.infer(w, r, route)
		return
	}
	switch {
	case path == "/healthz" || path == "/readyz" || path == "/metrics" || strings.HasPrefix(path, "/corral/"):
		g.own(w, r)
	case manage.Manages(r.Method, path):
		g.manage(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead && !(path == "/api/show" && r.Method == http.MethodPost):
		g.pass(w, r)
	default:
		g.list(w, r)
	}
}

// infer answers an inference route: envelope, class, call.
func (g *Gateway) infer(w http.ResponseWriter, r *http.Request, route dialect.Route) {
	arrival := time.Now()
	queue := g.Config.Load().Queue
	body, err := g.readBody(w, r, queue)
	defer g.bodies.Add(-int64(cap(body)))
	if err != nil {
		g.refuseBody(w, r, queue, err)
		return
	}
	body = unpack(r, body)
	envelope, err := parse(route, r, body)
	if err != nil || envelope.Model == "" || dialect.IsCloud(envelope.Model) {
		// What Parse rejects, Ollama rejects before it does any work: it has the better words. Cloud models
		// run elsewhere and need no slot.
		setBody(r, body)
		g.passOr(w, r, err)
		return
	}
	if first := g.candidates(route, envelope)[0].Envelope; first.Unload {
		g.unload(w, r, route, first)
		return
	}
	role := lane.Generate
	if route.Embeds {
		role = lane.Embed
	}
	chosen, err := g.choose(r.Context(), route, envelope, role)
	switch {
	case errors.Is(err, fleet.ErrNoInstance):
		g.noInstance(w, r)
		return
	case err != nil:
		g.notFound(w, r, route, envelope, role)
		return
	}
	g.Desk.Serve(w, r, call.Request{
		ID: r.Header.Get("X-Request-Id"), Route: route, Envelope: chosen.envelope, Class: chosen.class, Spares: chosen.spares,
		Tenant: tenant.OfAddr(r.RemoteAddr), Arrival: arrival,
	})
}

// notFound answers for a model that nobody has: in an instance's own words, which finds first what else may be wrong
// with the request, unless the model is there and may not be served so, or was never asked for by its name.
func (g *Gateway) notFound(w http.ResponseWriter, r *http.Request, route dialect.Route, e dialect.Envelope, role lane.Role) {
	alias, aliased := g.Config.Load().Alias(e.Model)
	switch {
	case aliased:
		g.Log.Warn("no instance has what an alias stands for: pull it, or change the alias", "alias", e.Model, "model", alias.Model)
	case !g.Fleet.Knows(dialect.CanonicalModel(e.Model)):
		setBody(r, e.Body)
		g.pass(w, r)
		return
	default:
		g.Log.Info("model not found: instances that have it may not serve it so, see their roles", "model", e.Model, "role", role)
	}
	err := route.NotFound(e.Model)
	g.reject(w, r, err.Status, err.Message)
}

// unload asks every holder of a model to unload it: it has no slot to wait for.
func (g *Gateway) unload(w http.ResponseWriter, r *http.Request, route dialect.Route, envelope dialect.Envelope) {
	canonical := dialect.CanonicalModel(envelope.Target)
	if len(g.Fleet.Holders(canonical)) == 0 {
		setBody(r, envelope.Body)
		g.pass(w, r)
		return
	}
	resp, err := g.Fleet.Unload(r.Context(), canonical, route.Path, r.Header, envelope.Body)
	if err != nil {
		g.Log.Warn("unload failed", "model", canonical, "error", err)
		g.reject(w, r, http.StatusBadGateway, "no instance answered the unload of "+canonical)
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxShow))
	if err != nil {
		g.reject(w, r, http.StatusBadGateway, "an instance broke off its answer to the unload of "+canonical)
		return
	}
	if envelope.Target != envelope.Model {
		rename := dialect.NewRenamer(envelope.Target, envelope.Model)
		answer = rename.Flush(rename.Append(nil, answer))
	}
	relay.CopyHeader(w.Header(), resp.Header)
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer)
	g.observe(r, "", resp.StatusCode, "")
}

// noInstance tells a client that nothing can be asked now.
func (g *Gateway) noInstance(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "5")
	var down []string
	for _, v := range g.Fleet.Views() {
		down = append(down, v.Name)
	}
	g.reject(w, r, http.StatusServiceUnavailable,
		"no Ollama instance can be reached ("+strings.Join(down, ", ")+"): start one, or see `corral check`")
}

// reject answers a request that never became a call.
func (g *Gateway) reject(w http.ResponseWriter, r *http.Request, status int, message string) {
	call.WriteError(w, dialect.Of(r.URL.Path), status, message)
	g.observe(r, "", status, message)
}

// observe has a request that never became a call counted and logged like one.
func (g *Gateway) observe(r *http.Request, instance string, status int, message string) {
	g.Desk.Observer.Observe(call.Record{
		ID: r.Header.Get("X-Request-Id"), Path: r.URL.Path, Tenant: tenant.OfAddr(r.RemoteAddr), Instance: instance,
		Status: status, Outcome: call.OutcomeOf(status), Error: message,
	})
}

// requestID is the client's own id of the request, if it sent a sane one, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return rand.Text()[:16]
	}
	return id
}
