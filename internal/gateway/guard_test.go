package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"corral/internal/config"
	"corral/ollamatest"
)

// TestGuards are traps 10 and the guards of "who may do what": Ollama's own lists are applied, then both headers
// are rewritten.
func TestGuards(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		f := func(want int, header ...string) {
			g.Helper()
			a := g.post("/api/chat", chat("m1", "x"), header...)
			if a.status != want {
				g.Errorf("%v: %d, want %d", header, a.status, want)
			}
			if want == http.StatusForbidden && a.body != "" {
				g.Errorf("%v: 403 with a body: %q", header, a.body)
			}
		}
		f(200, "Host", "localhost:11435")
		f(200, "Host", "corral.internal")
		f(200, "Host", "10.1.2.3")
		f(403, "Host", "evil.example")
		f(403, "Host", "8.8.8.8")
		f(200, "Origin", "http://localhost:3000")
		f(200, "Origin", "vscode-webview://abc")
		f(200, "Origin", "http://127.0.0.1:11435") // its own page
		f(403, "Origin", "https://evil.example")
		f(403, "Origin", "null")
		// A page of a rebound name is same-origin to itself, but its Host is foreign.
		f(403, "Host", "evil.example", "Origin", "http://evil.example")
		// A browser must not get at the models of this machine by a plain form either.
		if a := g.do(g.Context(), http.MethodDelete, "/api/delete", `{"model":"m1"}`, "Origin", "https://evil.example"); a.status != http.StatusForbidden {
			g.Errorf("cross-site delete: %d", a.status)
		}
		c := *g.config.Load()
		c.Hosts, c.Origins = []string{"llm.example.com"}, []string{"https://*.example.com"}
		g.config.Store(&c)
		f(200, "Host", "llm.example.com", "Origin", "https://chat.example.com")
	})
}

// TestCORS: an allowed page hears it once, from Corral, and preflights are answered without an instance.
func TestCORS(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		a := g.post("/api/chat", chat("m1", "x"), "Origin", "http://localhost:3000")
		if got := a.header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "http://localhost:3000" {
			g.Errorf("Access-Control-Allow-Origin %q", got)
		}
		a = g.do(g.Context(), http.MethodOptions, "/api/chat", "", "Origin", "http://localhost:3000", "Access-Control-Request-Method", "POST")
		if a.status != http.StatusNoContent || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "X-Stainless-Timeout") ||
			!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "DELETE") {
			g.Errorf("preflight: %d %v", a.status, a.header)
		}
		if vary := strings.Join(a.header.Values("Vary"), "|"); vary != "Origin|Access-Control-Request-Method|Access-Control-Request-Headers" {
			g.Errorf("preflight: Vary %s, which a cache between needs", vary)
		}
		if a := g.get("/api/tags", "Origin", "http://localhost:3000"); len(a.header.Values("Access-Control-Allow-Origin")) != 1 {
			g.Errorf("%v", a.header)
		}
	})
}

// TestCredentials: what a client sends to Corral stays there; what the instance wants is added.
func TestCredentials(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		c := *g.config.Load()
		c.Instances = append([]config.Instance(nil), c.Instances...)
		c.Instances[0].Headers = map[string]config.Secret{"Authorization": "Bearer upstream"}
		if err := g.fleet.Apply(c.Instances); err != nil {
			t.Fatal(err)
		}
		g.fleet.Meet(g.Context(), time.Minute)
		for _, path := range []string{"/api/chat", "/api/unknown"} {
			g.post(path, chat("m1", "x"), "Authorization", "Bearer client-key", "X-Api-Key", "client-key", "Cookie", "session=1",
				"Idempotency-Key", "k", "Accept-Encoding", "gzip", "Connection", "X-Hop", "X-Hop", "1", "X-Custom", "kept")
			r, ok := g.servers["a"].Last(path)
			if !ok {
				t.Fatalf("%s did not arrive", path)
			}
			if got := r.Header.Get("Authorization"); got != "Bearer upstream" {
				g.Errorf("%s: Authorization %q", path, got)
			}
			for _, name := range []string{"X-Api-Key", "Cookie", "Idempotency-Key", "X-Hop", "Accept-Encoding", "Origin"} {
				if got := r.Header.Get(name); got != "" {
					g.Errorf("%s: %s: %q reached the instance", path, name, got)
				}
			}
			if r.Header.Get("X-Custom") != "kept" || r.Host != "127.0.0.1:21434" {
				g.Errorf("%s: host %s, headers %v", path, r.Host, r.Header)
			}
		}
	})
}

// TestLoop: a Corral among the instances is recognised, and a request that came round is refused with the remedy.
func TestLoop(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		c := *g.config.Load()
		self := c.Instances[0]
		u := *self.URL
		u.Host = corralAddr
		self.Name, self.URL = "self", &u
		if err := g.fleet.Apply([]config.Instance{c.Instances[0], self}); err != nil {
			t.Fatal(err)
		}
		g.fleet.Meet(g.Context(), time.Minute)
		v := g.fleet.Views()[1]
		if !v.Looping || v.Up {
			g.Errorf("%+v", v)
		}
		a := g.post("/v1/chat/completions", chat("m1", "x"), "X-Corral-Via", "1")
		if a.status != http.StatusLoopDetected || !strings.Contains(a.body, "name Ollama's own address") {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestBadInput: what a client sends wrongly gets Ollama's own status and words, in its dialect.
func TestBadInput(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		for _, c := range []struct {
			path, body string
			status     int
			says       string
		}{
			{"/api/chat", `{"model":`, 400, `{"error":"unexpected EOF"}`},
			{"/api/chat", ``, 400, `{"error":"missing request body"}`},
			{"/api/chat", `{"model":5}`, 400, `cannot unmarshal number`},
			{"/api/chat", `{"model":"m1","stream":"false"}`, 400, `cannot unmarshal string`},
			{"/api/chat", chat("nope", "x"), 404, `{"error":"model 'nope' not found"}`},
			{"/api/embed", `{"model":"nope","input":"x"}`, 404, `{"error":"model \"nope\" not found, try pulling it first"}`},
			{"/v1/chat/completions", chat("nope", "x"), 404, `{"error":{"message":"model 'nope' not found","type":"not_found_error","param":null,"code":null}}`},
			{"/v1/messages", `{"model":"nope","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`, 404, `{"type":"error","error":{"type":"not_found_error"`},
			{"/api/chat", chat("emb", "x"), 400, `does not support chat`},
			{"/api/embed", `{"model":"emb","input":5}`, 400, `invalid input type`},
			{"/v1/embeddings", `{"model":"emb","input":[]}`, 400, `invalid input`},
			{"/api/chat", `{"model":"m1","messages":[{"role":"user","content":"x"}],"stream":false,"options":{"num_ctx":"many"}}`, 500, `must be of type integer`},
		} {
			a := g.post(c.path, c.body)
			if a.status != c.status || !strings.Contains(a.body, c.says) {
				g.Errorf("%s %s: %d %s, want %d %s", c.path, c.body, a.status, a.body, c.status, c.says)
			}
		}
	})
}

// TestTooLarge: a body over the limit is refused in the client's dialect, announced or not.
func TestTooLarge(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		c := *g.config.Load()
		c.Queue.MaxBody = 1000
		g.config.Store(&c)
		a := g.post("/v1/chat/completions", chat("m1", strings.Repeat("x", 2000)))
		if a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, "queue.max_body") || !strings.Contains(a.body, `"type":`) {
			g.Errorf("%d %s", a.status, a.body)
		}
		c.Queue.MaxBody, c.Queue.MaxBytes = 1000, 100
		g.config.Store(&c)
		if a := g.post("/api/chat", chat("m1", strings.Repeat("x", 500))); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "server busy, please try again.  maximum pending") {
			g.Errorf("%d %s", a.status, a.body)
		}
		if a := g.post("/v1/chat/completions", chat("m1", strings.Repeat("x", 500))); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			g.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	})
}

// TestTrap16ListsAreThoseOfOneOllama: the fleet answers as one Ollama, in under a second with dead nodes in it.
func TestTrap16ListsAreThoseOfOneOllama(t *testing.T) {
	one := ollamatest.Options{Models: []ollamatest.Model{{Name: "m1"}, {Name: "only-a"}}, Version: "0.33.0"}
	two := ollamatest.Options{Models: []ollamatest.Model{{Name: "m1"}, {Name: "only-b"}}, Version: "0.9.6"}
	zero := ollamatest.Options{Models: []ollamatest.Model{{Name: "m1"}}, Version: "0.0.0"}
	bubble(t, []instance{{name: "a", options: one}, {name: "dead", down: true}, {name: "b", options: two}, {name: "z", options: zero}}, func(g *rig) {
		f := func(path, want string, not ...string) {
			g.Helper()
			before := time.Since(g.start)
			a := g.get(path)
			if a.status != http.StatusOK || !strings.Contains(a.body, want) {
				g.Errorf("%s: %d %s, want %s", path, a.status, a.body, want)
			}
			if took := a.at - before; took > time.Second {
				g.Errorf("%s took %s", path, took)
			}
			for _, n := range not {
				if strings.Contains(a.body, n) {
					g.Errorf("%s: %s has %s", path, a.body, n)
				}
			}
		}
		f("/api/version", `{"version":"0.9.6"}`)
		f("/api/tags", `"only-a:latest"`)
		f("/api/tags", `"only-b:latest"`)
		f("/v1/models", `{"object":"list","data":[`)
		f("/v1/models", `"only-b`)
		f("/v1/models/only-b", `"id"`)
		f("/", "Ollama is running")
		if n := strings.Count(g.get("/api/tags").body, `"name":"m1:latest"`); n != 1 {
			g.Errorf("m1 is listed %d times", n)
		}
		f("/api/ps", `"models":[]`)
		g.post("/api/chat", chat("m1", "x"))
		f("/api/ps", `"m1:latest"`)
		if a := g.post("/api/show", `{"model":"only-b"}`); a.status != 200 || a.header.Get("X-Corral-Instance") != "b" {
			g.Errorf("show: %d %v", a.status, a.header)
		}
		if a := g.post("/api/show", `{"model":"nope"}`); a.status != 404 || !strings.Contains(a.body, "not found") {
			g.Errorf("show: %d %s", a.status, a.body)
		}
		if a := g.get("/nowhere"); a.status != 404 || a.body != "404 page not found" {
			g.Errorf("unknown path: %d %q", a.status, a.body)
		}
		if a := g.get("/api/chat"); a.status != 405 || a.header.Get("Allow") == "" {
			g.Errorf("wrong method: %d %v", a.status, a.header)
		}
	})
}

// TestLoadAndUnload: an empty prompt loads a model, with keep_alive 0 it unloads it wherever it is.
func TestLoadAndUnload(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		if a := g.post("/api/generate", `{"model":"m1"}`); a.status != 200 || !strings.Contains(a.body, `"done_reason":"load"`) {
			g.Errorf("load: %d %s", a.status, a.body)
		}
		if got := fmt.Sprint(g.servers["a"].Loaded()); got != "[m1:latest]" {
			g.Errorf("loaded: %s", got)
		}
		busy := g.busy(5 * time.Second) // on a; the next call has b loaded too
		g.post("/api/chat", chat("m1", "x"))
		busy.Wait()
		if a := g.post("/api/generate", `{"model":"m1","keep_alive":0}`); a.status != 200 || !strings.Contains(a.body, `"done_reason":"unload"`) {
			g.Errorf("unload: %d %s", a.status, a.body)
		}
		g.pass(time.Second)
		for name, s := range g.servers {
			if loaded := s.Loaded(); len(loaded) != 0 {
				g.Errorf("%s still has %v", name, loaded)
			}
		}
		if a := g.post("/api/chat", chat("m1", "x")); a.status != 200 {
			g.Errorf("after the unload: %d %s", a.status, a.body)
		}
	})
}

// TestNewModel: a model that was pulled behind Corral's back is found when somebody asks for it.
func TestNewModel(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		g.pass(2 * time.Second)
		g.servers["b"].Add(ollamatest.Model{Name: "fresh"})
		if a := g.post("/api/chat", chat("fresh", "x")); a.status != 200 || a.header.Get("X-Corral-Instance") != "b" {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestRoles: an instance is used for its roles only.
func TestRoles(t *testing.T) {
	bubble(t, []instance{{name: "a", roles: []string{"generate"}}, {name: "e", roles: []string{"embed"}}}, func(g *rig) {
		if a := g.post("/v1/embeddings", `{"model":"emb","input":"x"}`); a.status != 200 || a.header.Get("X-Corral-Instance") != "e" {
			g.Errorf("embed: %d %v", a.status, a.header)
		}
		if a := g.post("/api/chat", chat("m1", "x")); a.status != 200 || a.header.Get("X-Corral-Instance") != "a" {
			g.Errorf("chat: %d %v", a.status, a.header)
		}
	})
}
