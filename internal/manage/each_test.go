package manage_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"corral/ollamatest"
)

func (g *rig) delete(model string, header ...string) answer {
	return g.do(g.Context(), http.MethodDelete, "/api/delete", strings.NewReader(`{"model":"`+model+`"}`), header...)
}

// having is nodes that have models.
func having(names []string, models ...string) []node {
	nodes := named(names...)
	for i := range nodes {
		for _, name := range models {
			nodes[i].models = append(nodes[i].models, ollamatest.Model{Name: name})
		}
	}
	return nodes
}

func TestDelete(t *testing.T) {
	nodes := having([]string{"a", "b", "c"}, "m", "n")
	nodes[1].models = nodes[1].models[1:]
	nodes[2].Models = []string{"n"}
	bubble(t, nodes, func(g *rig) {
		if a := g.delete("m"); a.status != http.StatusOK || a.body != "" || a.header.Get("X-Corral-Instance") != "a" {
			g.Errorf("%d %s %s", a.status, a.body, a.header)
		}
		// What c may not serve nobody sees through Corral, so it is not touched through it.
		if got := g.holders("m:latest"); got != "c" {
			g.Errorf("on %s", got)
		}
		if a := g.delete("m"); a.status != http.StatusNotFound || a.body != `{"error":"model 'm' not found"}` {
			g.Errorf("%d %s", a.status, a.body)
		}
		if a := g.delete("m", "X-Corral-Instance", "c"); a.status != http.StatusOK || g.holders("m:latest") != "" {
			g.Errorf("%d %s", a.status, a.body)
		}
		if a := g.delete("N:LATEST"); a.status != http.StatusOK || g.holders("n:latest") != "" {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestDeleteWithOneDown: who deletes a model must know that it comes back with an instance.
func TestDeleteWithOneDown(t *testing.T) {
	bubble(t, having([]string{"a", "b"}, "m"), func(g *rig) {
		g.down("b")
		a := g.delete("m")
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "failed on b (it has the model but can not be reached now); it succeeded on a") {
			g.Errorf("%d %s", a.status, a.body)
		}
		g.up("b")
		time.Sleep(30 * time.Second)
		if a := g.delete("m"); a.status != http.StatusOK || g.holders("m:latest") != "" {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestDeleteFailsOnOne(t *testing.T) {
	nodes := having([]string{"a", "b"}, "m")
	nodes[1].front = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				http.Error(w, `{"error":"permission denied"}`, http.StatusInternalServerError)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	bubble(t, nodes, func(g *rig) {
		a := g.delete("m")
		if a.status != http.StatusInternalServerError || !strings.Contains(a.body, "delete m failed on b (permission denied); it succeeded on a") {
			g.Errorf("%d %s", a.status, a.body)
		}
		if a := g.delete("m"); a.body != `{"error":"permission denied"}` { // the only one left says it itself
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestCopy(t *testing.T) {
	nodes := having([]string{"a", "b", "c"}, "m")
	nodes[1].Models = []string{"m"}
	nodes[2].models = nil
	bubble(t, nodes, func(g *rig) {
		if a := g.post("/api/copy", `{"source":"m","destination":"twin"}`); a.status != http.StatusOK || a.body != "" {
			g.Errorf("%d %s", a.status, a.body)
		}
		if got := g.holders("twin:latest"); got != "a" { // b would not serve it
			g.Errorf("on %s", got)
		}
		if a := g.post("/api/copy", `{"source":"nope","destination":"x"}`); a.status != http.StatusNotFound || a.body != `{"error":"model \"nope\" not found"}` {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestPush(t *testing.T) {
	nodes := having([]string{"a", "b", "c"}, "m")
	nodes[0].models = nil
	bubble(t, nodes, func(g *rig) {
		if last := g.end(g.post("/api/push", `{"model":"m"}`)); last.Status != "success" {
			g.Errorf("%+v", last)
		}
		if a, b, c := g.count("a", "/api/push"), g.count("b", "/api/push"), g.count("c", "/api/push"); a != 0 || b != 1 || c != 0 {
			g.Errorf("%d %d %d", a, b, c)
		}
		if last := g.end(g.post("/api/push", `{"model":"nope"}`)); !strings.Contains(last.Error, "no such file") {
			g.Errorf("%+v", last)
		}
		if a := g.post("/api/push", `{}`); a.status != http.StatusBadRequest || a.body != `{"error":"model is required"}` {
			g.Errorf("%d %s", a.status, a.body)
		}
		g.down("b")
		g.down("c")
		if a := g.post("/api/push", `{"model":"m"}`); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "only b, c") {
			g.Errorf("%d %s", a.status, a.body)
		}
		g.down("a")
		if a := g.post("/api/pull", `{"model":"m"}`); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "a, b, c") || a.header.Get("Retry-After") == "" {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestTooLarge: a request that manages models holds no model.
func TestTooLarge(t *testing.T) {
	bubble(t, named("a"), func(g *rig) {
		if a := g.post("/api/create", strings.Repeat(" ", 17<<20)); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, "blobs") {
			g.Errorf("%d %s %v", a.status, a.body, a.err)
		}
	})
}
