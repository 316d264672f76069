package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"corral/internal/config"
	"corral/ollamatest"
)

// aliases puts aliases in force.
func (g *rig) aliases(all ...config.Alias) {
	c := *g.config.Load()
	c.Aliases = all
	g.config.Store(&c)
}

// asked are requests on every route for a model, streamed where a route can.
func asked(model string) map[string]string {
	const messages = `"messages":[{"role":"user","content":"say the model's name"}]`
	return map[string]string{
		"/api/chat":            `{"model":"` + model + `",` + messages + `}`,
		"/api/generate":        `{"model":"` + model + `","prompt":"x"}`,
		"/v1/chat/completions": `{"model":"` + model + `","stream":true,` + messages + `}`,
		"/v1/completions":      `{"model":"` + model + `","stream":true,"prompt":"x"}`,
		"/v1/responses":        `{"model":"` + model + `","stream":true,"input":"x"}`,
		"/v1/messages":         `{"model":"` + model + `","stream":true,"max_tokens":9,` + messages + `}`,
	}
}

// TestAliasEchoesAskedName: who asks for an alias is answered by that name, on every route, streamed and plain, before
// and after heartbeats, and sees nothing else of it.
func TestAliasEchoesAskedName(t *testing.T) {
	bubble(t, []instance{{name: "a", options: ollamatest.Options{Reply: echo}}}, func(g *rig) {
		g.aliases(config.Alias{Name: "gpt-4o", Model: "m1"}, config.Alias{Name: "text-embedding-*", Model: "emb"})
		check := func(path, body string) {
			g.Helper()
			a := g.post(path, body)
			if a.status != http.StatusOK || a.err != nil || !strings.Contains(a.body, `"model":"gpt-4o"`) || strings.Contains(a.body, `"model":"m1"`) {
				g.Errorf("%s %s\n%d %v %s", path, body, a.status, a.err, a.body)
			}
		}
		for path, body := range asked("gpt-4o") {
			plain := strings.Replace(body, `"stream":true`, `"stream":false`, 1)
			if plain == body {
				plain = strings.Replace(body, `{`, `{"stream":false,`, 1)
			}
			check(path, body)
			check(path, plain)
			busy := g.busy(40 * time.Second)
			check(path, plain)
			busy.Wait()
		}
		for _, path := range []string{"/api/embed", "/v1/embeddings"} {
			a := g.post(path, `{"model":"text-embedding-3-small","input":"x"}`)
			if a.status != http.StatusOK || !strings.Contains(a.body, `"model":"text-embedding-3-small"`) {
				g.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		if a := g.post("/api/generate", `{"model":"gpt-4o","keep_alive":0}`); !strings.Contains(a.body, `"model":"gpt-4o"`) || !strings.Contains(a.body, `"unload"`) {
			g.Errorf("unload: %d %s", a.status, a.body)
		}
	})
}

// TestAliasDefaults: what an alias says holds where the request does not, and lanes are loaded for it by Corral.
func TestAliasDefaults(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		g.aliases(config.Alias{Name: "long", Model: "m1", NumCtx: 16384, NumPredict: 7, KeepAlive: "1h"})
		f := func(body, want string) {
			g.Helper()
			if a := g.post("/api/chat", body); a.status != http.StatusOK {
				g.Errorf("%d %s", a.status, a.body)
			}
			requests := g.servers["a"].Requests()
			if got := string(requests[len(requests)-1].Body); !strings.Contains(got, want) {
				g.Errorf("sends %s, want %s", got, want)
			}
		}
		f(chat("long", "x"), `"options":{"num_ctx":16384,"num_predict":7},"keep_alive":"1h"`)
		f(strings.Replace(chat("long", "x"), `{`, `{"options":{"num_predict":3},`, 1), `"options":{"num_ctx":16384}`)
		if s := g.servers["a"].Stats(); s.Loads != 1 {
			g.Errorf("%d loads: the lane was not loaded for the alias", s.Loads)
		}
	})
}

func TestAliasFallback(t *testing.T) {
	only := func(names ...string) ollamatest.Options {
		var o ollamatest.Options
		for _, n := range names {
			o.Models = append(o.Models, ollamatest.Model{Name: n})
		}
		return o
	}
	fleet := []instance{{name: "a", options: only("big", "mid")}, {name: "b", options: only("small")}}
	answeredBy := func(g *rig, model string) string {
		g.Helper()
		a := g.post("/api/chat", chat(model, "x"))
		if a.status != http.StatusOK || !strings.Contains(a.body, `"model":"`+model+`"`) {
			g.Errorf("%s: %d %s", model, a.status, a.body)
		}
		return a.header.Get("X-Corral-Instance")
	}
	t.Run("absent", func(t *testing.T) {
		bubble(t, fleet, func(g *rig) {
			g.aliases(
				config.Alias{Name: "x", Model: "nowhere", Fallbacks: []config.Fallback{{To: "nor-here"}, {To: "small"}}},
				config.Alias{Name: "y", Model: "big", Fallbacks: []config.Fallback{{To: "small"}}},
				config.Alias{Name: "z", Model: "nowhere"},
				config.Alias{Name: "v", Model: "nowhere", Fallbacks: []config.Fallback{{To: "small"}}},
			)
			if got := answeredBy(g, "x"); got != "b" {
				g.Errorf("absent model: answered by %s", got)
			}
			if got := answeredBy(g, "y"); got != "a" {
				g.Errorf("present model: answered by %s", got)
			}
			a := g.post("/v1/chat/completions", chat("z", "x"))
			if a.status != http.StatusNotFound || !strings.Contains(a.body, `model 'z' not found`) {
				g.Errorf("%d %s", a.status, a.body)
			}
			if a := g.post("/v1/embeddings", `{"model":"v","input":"x"}`); a.status != http.StatusNotFound {
				g.Errorf("embeddings fell back to another model: %d %s", a.status, a.body)
			}
			g.kill("a")
			g.pass(time.Minute)
			if got := answeredBy(g, "y"); got != "b" {
				g.Errorf("model out of reach: answered by %s", got)
			}
		})
	})
	t.Run("after a while", func(t *testing.T) {
		bubble(t, fleet, func(g *rig) {
			g.aliases(config.Alias{Name: "x", Model: "big", Fallbacks: []config.Fallback{{To: "small", After: 10 * time.Second}}})
			var busy sync.WaitGroup
			busy.Go(func() { g.post("/api/chat", chat("big", "[[tokens=1 prefill=60s]]")) })
			g.pass(time.Millisecond)
			start := time.Now()
			if got := answeredBy(g, "x"); got != "b" {
				g.Errorf("answered by %s", got)
			}
			if took := time.Since(start); took < 10*time.Second || took > 12*time.Second {
				g.Errorf("after %s", took)
			}
			if r := g.last(); r.Attempts != 1 {
				g.Errorf("%d attempts", r.Attempts)
			}
			busy.Wait()
			if got := answeredBy(g, "x"); got != "a" {
				g.Errorf("free again: answered by %s", got)
			}
		})
	})
}

// says is an instance that answers chats with a body of its own.
func says(contentType, body string) func(http.Handler) http.Handler {
	return func(ollama http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/chat" {
				ollama.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", contentType)
			if contentType == "application/x-ndjson" {
				w.(http.Flusher).Flush() // a stream has no length
			}
			_, _ = fmt.Fprint(w, body)
		})
	}
}

// TestHonestAnswers: an answer that looks whole and is not says so, in a header, or in a trailer once the headers
// are out, and in the record that metrics and log are made from.
func TestHonestAnswers(t *testing.T) {
	const empty = `{"model":"m1","message":{"role":"assistant","content":"","thinking":"hmm"},"done":true,"done_reason":"length","prompt_eval_count":9}` + "\n"
	warned := func(g *rig, what, got string) {
		g.Helper()
		if r := g.last(); got != "thinking-ate-output" || len(r.Verdicts) != 1 || r.Outcome != "answered" {
			g.Errorf("%s: %q, recorded %v, %s", what, got, r.Verdicts, r.Outcome)
		}
	}
	bubble(t, []instance{{name: "a", front: says("application/json; charset=utf-8", empty)}}, func(g *rig) {
		a := g.post("/api/chat", chat("m1", "x"))
		warned(g, "plain", a.header.Get("X-Corral-Warning"))
		busy := g.busyWith("/api/generate", 40*time.Second)
		a = g.post("/api/chat", chat("m1", "x"))
		busy.Wait()
		warned(g, "plain after heartbeats", a.trailer.Get("X-Corral-Warning"))
	})
	long := strings.Replace(empty, "hmm", strings.Repeat("hmm ", 5000), 1) // Ollama does not tell its length
	bubble(t, []instance{{name: "a", front: says("application/json; charset=utf-8", long)}}, func(g *rig) {
		a := g.post("/api/chat", chat("m1", "x"))
		warned(g, "long", a.header.Get("X-Corral-Warning"))
		if a.body != long || a.header.Get("Content-Length") != "" {
			g.Errorf("%d of %d bytes, Content-Length %q", len(a.body), len(long), a.header.Get("Content-Length"))
		}
	})
	bubble(t, []instance{{name: "a", front: says("application/x-ndjson", empty)}}, func(g *rig) {
		a := g.post("/api/chat", streamed("m1", "x"))
		warned(g, "stream", a.trailer.Get("X-Corral-Warning"))
	})
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		a := g.post("/api/chat", streamed("m1", "x"))
		if a.header.Get("X-Corral-Warning")+a.trailer.Get("X-Corral-Warning") != "" || len(g.last().Verdicts) != 0 {
			g.Errorf("an honest answer is warned of: %v %v", a.header, a.trailer)
		}
	})
}

// TestTrap07KeepAliveZeroUnloadsUnderOthers: Ollama unloads a model when one client says keep_alive 0. Corral unloads
// it itself, once nobody uses it or waits for it.
func TestTrap07KeepAliveZeroUnloadsUnderOthers(t *testing.T) {
	o := ollamatest.Options{Engine: ollamatest.Settings{Load: 5 * time.Second}}
	zero := strings.Replace(chat("m1", "x"), `{`, `{"keep_alive":0,`, 1)
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { g.post("/api/chat", zero) })
			all.Go(func() { g.post("/api/chat", chat("m1", "y")) })
		}
		all.Wait()
		if s := g.servers["a"].Stats(); s.Loads != 1 {
			g.Errorf("%d loads while others waited", s.Loads)
		}
		g.post("/api/chat", zero)
		g.pass(time.Second)
		if ps := g.get("/api/ps"); strings.Contains(ps.body, "m1") {
			g.Errorf("nobody uses it any more, and it is still there: %s", ps.body)
		}
		if a := g.post("/api/chat", chat("m1", "z")); a.status != http.StatusOK {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}
