package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"corral/internal/config"
	"corral/ollamatest"
)

// TestApply: a new configuration touches no running request; a removed instance drains, a new one is used, and
// changed slots are there at once.
func TestApply(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		both := g.config.Load().Instances
		if err := g.fleet.Apply(both[:1]); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		ask := func(seconds int, want string) {
			all.Go(func() {
				a := g.post("/api/chat", chat("m1", fmt.Sprintf("[[tokens=1 prefill=%ds]]", seconds)))
				if by := g.last().Instance; a.status != http.StatusOK || by != want {
					g.Errorf("%d by %s, want %s: %s", a.status, by, want, a.body)
				}
			})
			g.pass(time.Second)
		}
		ask(60, "a")
		ask(1, "b") // waits: b is not there yet
		if s := g.fleet.Dispatcher().Snapshot(); s.Running != 1 || s.Waiting != 1 {
			g.Errorf("%+v", s)
		}
		if err := g.fleet.Apply(both[1:]); err != nil { // a goes, while it works; b comes
			t.Fatal(err)
		}
		all.Wait()
		if v := g.fleet.Views(); len(v) != 1 || v[0].Name != "b" {
			g.Errorf("%+v", v)
		}
		wider := append([]config.Instance(nil), both...)
		wider[1].Slots = 2
		if err := g.fleet.Apply(wider[1:]); err != nil {
			t.Fatal(err)
		}
		if l := g.fleet.Dispatcher().Snapshot().Lanes[0]; l.Slots != 2 {
			g.Errorf("%+v", l)
		}
	})
}

// TestRemovedModel: tickets for a model that has gone everywhere are told so.
func TestRemovedInstanceFreesItsQueue(t *testing.T) {
	bubble(t, twoInstances(1)[:1], func(g *rig) {
		busy := g.busy(10 * time.Second)
		var all sync.WaitGroup
		all.Go(func() {
			if a := g.post("/api/chat", chat("m1", "x")); a.status != http.StatusNotFound {
				g.Errorf("%d %s", a.status, a.body)
			}
		})
		g.pass(time.Second)
		if err := g.fleet.Apply(nil); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		busy.Wait()
	})
}

// TestIdleUnload: a model that Ollama unloaded after its keep_alive is loaded by Corral's own request again, so
// that no client's disconnect can abort the load.
func TestIdleUnload(t *testing.T) {
	o := ollamatest.Options{KeepAlive: 7 * time.Second, Engine: ollamatest.Settings{Load: 10 * time.Second}}
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		g.post("/api/chat", chat("m1", "x"))
		g.pass(8 * time.Second)
		ctx, cancel := context.WithTimeout(g.Context(), time.Second)
		defer cancel()
		g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "impatient"))
		if a := g.post("/api/chat", chat("m1", "x")); a.status != http.StatusOK {
			g.Errorf("%d %s", a.status, a.body)
		}
		if s := g.servers["a"].Stats(); s.FailedLoads != 0 || s.Loads != 2 {
			g.Errorf("%d loads, %d aborted", s.Loads, s.FailedLoads)
		}
	})
}

// TestKeepAliveZero: after a request that has the model unloaded, the next one waits for a load of Corral's own.
func TestKeepAliveZero(t *testing.T) {
	o := ollamatest.Options{Engine: ollamatest.Settings{Load: 5 * time.Second}}
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		zero := strings.Replace(chat("m1", "x"), `{`, `{"keep_alive":0,`, 1)
		for range 3 {
			if a := g.post("/api/chat", zero); a.status != http.StatusOK {
				g.Errorf("%d %s", a.status, a.body)
			}
		}
		for _, r := range g.servers["a"].Requests() {
			if r.Path == "/api/generate" && strings.Contains(string(r.Body), `"prompt"`) {
				g.Errorf("a client's request loaded the model: %s", r.Body)
			}
		}
		if s := g.servers["a"].Stats(); s.Loads != 3 {
			g.Errorf("%d loads", s.Loads)
		}
	})
}

// TestEmbeddingsStayOnOneDigest: vectors of two models never mix, even while the first holder is down.
func TestEmbeddingsStayOnOneDigest(t *testing.T) {
	model := func(weights string) ollamatest.Options {
		return ollamatest.Options{Models: []ollamatest.Model{
			{Name: "emb", Capabilities: []string{"embedding"}, Weights: strings.Repeat(weights, 64), Digest: strings.Repeat(weights, 64)},
		}}
	}
	bubble(t, []instance{{name: "a", options: model("a")}, {name: "b", options: model("b")}}, func(g *rig) {
		const ask = `{"model":"emb","input":"x"}`
		busy := func() (stop func()) {
			ctx, cancel := context.WithCancel(g.Context())
			var all sync.WaitGroup
			all.Go(func() { g.do(ctx, http.MethodPost, "/api/embed", `{"model":"emb","input":"[[embed=5s]]"}`) })
			synctest.Wait()
			return func() { cancel(); all.Wait() }
		}
		stop := busy()
		for range 2 {
			if a := g.post("/api/embed", ask); a.status != http.StatusOK || a.header.Get("X-Corral-Instance") != "a" {
				g.Errorf("%d by %s", a.status, a.header.Get("X-Corral-Instance"))
			}
		}
		stop()
		g.kill("a")
		g.pass(10 * time.Second)
		var all sync.WaitGroup
		all.Go(func() {
			if a := g.post("/api/embed", ask); a.status != http.StatusOK || g.last().Instance != "a" {
				g.Errorf("%d by %s", a.status, g.last().Instance)
			}
		})
		g.pass(time.Minute)
		g.up("a", "127.0.0.1:21434")
		all.Wait()
	})
}

// TestModelsOfOneInstance: more models than an instance holds take turns, and nobody starves.
func TestModelsTakeTurns(t *testing.T) {
	o := ollamatest.Options{MaxLoaded: 1, Engine: ollamatest.Settings{Load: 3 * time.Second}}
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		ctx, cancel := context.WithCancel(g.Context())
		var all sync.WaitGroup
		for range 3 { // overlapping work for m1 that never ends, as in direct Ollama it would starve m2
			all.Go(func() {
				for ctx.Err() == nil {
					g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "[[tokens=1 prefill=2s]]"))
				}
			})
		}
		g.pass(10 * time.Second)
		a := g.post("/api/chat", chat("m2", "x"))
		if a.status != http.StatusOK || a.at > 2*time.Minute {
			g.Errorf("%d after %s: %s", a.status, a.at, a.body)
		}
		cancel()
		all.Wait()
	})
}

// TestLoadFails: Ollama's own words reach the client when a load fails everywhere, and only then.
func TestLoadFails(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		g.servers["a"].FailLoads("m1", 1)
		if a := g.post("/api/chat", chat("m1", "x")); a.status != http.StatusOK || a.header.Get("X-Corral-Instance") != "b" {
			g.Errorf("%d %s", a.status, a.body)
		}
		g.servers["a"].FailLoads("m2", 1)
		g.servers["b"].FailLoads("m2", 1)
		a := g.post("/v1/chat/completions", chat("m2", "x"))
		if a.status != http.StatusInternalServerError || !strings.Contains(a.body, `"type":"api_error"`) {
			g.Errorf("%d %s", a.status, a.body)
		}
		g.pass(time.Minute)
		if a := g.post("/v1/chat/completions", chat("m2", "x")); a.status != http.StatusOK {
			g.Errorf("later: %d %s", a.status, a.body)
		}
	})
}

// TestModelsFilter: a model that the configuration keeps from being served is not listed, not shown, and not run.
func TestModelsFilter(t *testing.T) {
	bubble(t, twoInstances(1)[:1], func(g *rig) {
		only := append([]config.Instance(nil), g.config.Load().Instances...)
		only[0].Models = []string{"m1"}
		if err := g.fleet.Apply(only); err != nil {
			t.Fatal(err)
		}
		if a := g.get("/api/tags"); strings.Contains(a.body, "m2") || !strings.Contains(a.body, "m1") {
			g.Errorf("tags: %s", a.body)
		}
		if a := g.post("/api/chat", chat("m2", "x")); a.status != http.StatusNotFound {
			g.Errorf("chat: %d %s", a.status, a.body)
		}
		if a := g.post("/api/show", `{"model":"m2"}`); a.status != http.StatusNotFound {
			g.Errorf("show: %d %s", a.status, a.body)
		}
		if n := g.servers["a"].Stats().Requests["/api/chat"]; n != 0 {
			g.Errorf("%d requests reached the instance", n)
		}
	})
}
