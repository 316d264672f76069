package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"corral/internal/call"
	"corral/ollamatest"
)

// TestChatRightAfterPull: the answer of a pull comes when the model can be asked, on every instance; and it is gone
// from the lists right after its delete.
func TestChatRightAfterPull(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		if a := g.post("/api/pull", `{"model":"fresh"}`); a.status != 200 || !strings.HasSuffix(a.body, `{"status":"success"}`+"\n") {
			g.Fatalf("%d %s", a.status, a.body)
		}
		if r := g.last(); r.Path != "/api/pull" || r.Status != 200 || r.Instance != "a,b" || r.Outcome != call.OutcomeAnswered {
			g.Errorf("%+v", r)
		}
		if s := g.fleet.Dispatcher().Snapshot(); s.Running != 0 {
			g.Errorf("a pull holds a slot: %+v", s)
		}
		lanes := 0
		for _, l := range g.fleet.Dispatcher().Snapshot().Lanes {
			if strings.Contains(strings.Join(l.Models, " "), "fresh") {
				lanes++
			}
		}
		if lanes != 2 {
			g.Errorf("%d lanes", lanes)
		}
		if a := g.post("/api/chat", chat("fresh", "x")); a.status != 200 {
			g.Errorf("%d %s", a.status, a.body)
		}
		if a := g.do(g.Context(), http.MethodDelete, "/api/delete", `{"model":"fresh"}`); a.status != 200 {
			g.Errorf("%d %s", a.status, a.body)
		}
		if a := g.get("/api/tags"); strings.Contains(a.body, "fresh") {
			g.Errorf("still there: %s", a.body)
		}
	})
}

// TestManagementAsOneOllama: methods and paths that are not quite right are answered as Ollama does.
func TestManagementAsOneOllama(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		if a := g.get("/api/pull"); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
			g.Errorf("%d %s %s", a.status, a.header, a.body)
		}
		if a := g.post("/api/delete", `{"model":"m1"}`); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "DELETE" {
			g.Errorf("%d %s %s", a.status, a.header, a.body)
		}
		g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		if a := g.post("/api/pull/", `{"model":"m1"}`); a.status != http.StatusTemporaryRedirect || a.header.Get("Location") != "/api/pull" {
			g.Errorf("%d %s %s", a.status, a.header, a.body)
		}
		if a := g.post("/api/blobs/x/y", ""); a.status != http.StatusNotFound || a.body != "404 page not found" {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestDigestsDiffer: instances that have another model under one name are told of, until they agree.
func TestDigestsDiffer(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		differ := func(path, body, want string) {
			t.Helper()
			a := g.get(path)
			if body != "" {
				a = g.post(path, body)
			}
			if got := a.header.Get("X-Corral-Digests-Differ"); a.status != 200 || got != want {
				t.Errorf("%s %s: %d, header %q, want %q", path, body, a.status, got, want)
			}
		}
		differ("/api/tags", "", "")
		g.servers["b"].Add(ollamatest.Model{Name: "m1", Digest: strings.Repeat("d", 64)})
		g.pass(10 * time.Second)
		differ("/api/tags", "", "m1:latest")
		differ("/api/show", `{"model":"m1"}`, "m1:latest")
		differ("/api/show", `{"model":"m2"}`, "")
		if a := g.get("/corral/api/status"); !strings.Contains(a.body, `"digests_differ":{"m1:latest":{"a":"`) || !strings.Contains(a.body, `"b":"dddddddddddd"`) {
			g.Errorf("%s", a.body)
		}
		if a := g.do(g.Context(), http.MethodDelete, "/api/delete", `{"model":"m1"}`, "X-Corral-Instance", "b"); a.status != 200 {
			g.Errorf("%d %s", a.status, a.body)
		}
		differ("/api/tags", "", "")
	})
}

// TestListsOfHungInstance: an instance that takes requests and never answers costs less than a second, and its
// models stay in the lists until it counts as down.
func TestListsOfHungInstance(t *testing.T) {
	hang := make(chan struct{})
	nodes := twoInstances(1)
	nodes[1].options.Models = []ollamatest.Model{{Name: "only-b"}}
	nodes[1].front = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
				<-r.Context().Done()
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
	bubble(t, nodes, func(g *rig) {
		g.get("/v1/models")
		close(hang)
		for _, path := range []string{"/api/tags", "/v1/models", "/api/ps", "/api/version"} {
			start := time.Now()
			a := g.get(path)
			if took := time.Since(start); a.status != 200 || took >= time.Second {
				g.Errorf("%s: %d after %s", path, a.status, took)
			}
			if lists := path == "/api/tags" || path == "/v1/models"; lists && !strings.Contains(a.body, "only-b") {
				g.Errorf("%s dropped what b has: %s", path, a.body)
			}
		}
		g.pass(time.Minute)
		start := time.Now()
		if a := g.get("/api/tags"); strings.Contains(a.body, "only-b") || time.Since(start) > 10*time.Millisecond {
			g.Errorf("b is down: %s after %s", a.body, time.Since(start))
		}
	})
}
