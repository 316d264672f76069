package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"corral/ollamatest"
)

// messages is the body of an Anthropic request.
func messages(model, prompt string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":900,"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, stream, prompt)
}

// TestTrap08V1StreamsSwallowErrors: a stream under /v1 that breaks ends as if nothing had happened, but for the end
// marker that is missing. Corral ends it with the error event of its dialect.
func TestTrap08V1StreamsSwallowErrors(t *testing.T) {
	const prompt = "[[tokens=9 crash=3]]"
	routes := []struct{ path, body, end, failure string }{
		{"/v1/chat/completions", streamed("m1", prompt), "data: [DONE]", "data: {\"error\":{"},
		{"/v1/completions", `{"model":"m1","stream":true,"prompt":"` + prompt + `"}`, "data: [DONE]", "data: {\"error\":{"},
		{"/v1/messages", messages("m1", prompt, true), "event: message_stop", "event: error\ndata: {\"type\":\"error\""},
		{"/v1/responses", `{"model":"m1","stream":true,"input":"` + prompt + `"}`, "event: response.completed", "event: response.failed\n"},
	}
	alone(t, ollamatest.Options{}, func(g *rig, _ *ollamatest.Server) {
		for _, r := range routes {
			a := g.post(r.path, r.body)
			if a.status != 200 || a.err != nil || strings.Contains(a.body, r.end) || strings.Contains(a.body, `"error":{`) {
				g.Errorf("%s: %d %v, want neither an end nor an error: %s", r.path, a.status, a.err, a.body)
			}
		}
	})
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		for _, r := range routes {
			a := g.post(r.path, r.body)
			if a.status != 200 || strings.Contains(a.body, r.end) || !strings.Contains(a.body, "\n\n"+r.failure) || !strings.HasSuffix(a.body, "\n\n") {
				g.Errorf("%s: %d, want %q at the end: %s", r.path, a.status, r.failure, a.body)
			}
			if got := g.last().Outcome; got != "broken" {
				g.Errorf("%s is recorded as %s", r.path, got)
			}
		}
	})
}

// TestTrap09EmbeddingsBlameTheClient: when its engine dies, /api/embed answers 400, which no client tries again. Corral
// has another instance, or the same one once more, do the work; what is the client's own fault stays his.
func TestTrap09EmbeddingsBlameTheClient(t *testing.T) {
	const long = `{"model":"emb","input":"[[embed=10s]]"}`
	routes := map[string]string{
		"/api/embed": long, "/v1/embeddings": long, "/api/embeddings": strings.Replace(long, "input", "prompt", 1),
	}
	// The engine dies while it works.
	crash := func(g *rig, s *ollamatest.Server, path, body string) (a answer) {
		g.during(func() { a = g.post(path, body) }, 5*time.Second, s.CrashEngines)
		return a
	}
	alone(t, ollamatest.Options{}, func(g *rig, o *ollamatest.Server) {
		for _, path := range []string{"/api/embed", "/v1/embeddings"} {
			if a := crash(g, o, path, long); a.status != 400 || !strings.Contains(a.body, "do embedding request") {
				g.Errorf("%s: %d %s, want the engine's end as 400", path, a.status, a.body)
			}
		}
	})
	for path, body := range routes {
		for _, in := range [][]instance{twoInstances(1), twoInstances(1)[:1]} {
			bubble(t, in, func(g *rig) {
				a := crash(g, g.servers["a"], path, body)
				want := in[len(in)-1].name
				if a.status != 200 || g.last().Attempts != 2 || g.last().Instance != want {
					g.Errorf("%s: %d after %d attempts by %s, want 200 after 2 by %s: %s", path, a.status, g.last().Attempts, g.last().Instance, want, a.body)
				}
			})
		}
	}
	bubble(t, twoInstances(1), func(g *rig) {
		// A text that kills every engine does not go through all instances, and is not told as the client's fault.
		a := g.post("/v1/embeddings", `{"model":"emb","input":"[[crash]]"}`)
		if a.status != 502 || g.last().Attempts != 2 || !strings.Contains(a.body, `"type":"api_error"`) || !strings.Contains(a.body, "engine of instance b died") {
			g.Errorf("%d after %d attempts: %s", a.status, g.last().Attempts, a.body)
		}
		if a := g.post("/api/embed", `{"model":"emb","input":5}`); a.status != 400 || !strings.Contains(a.body, "invalid input type") || g.last().Attempts != 1 {
			g.Errorf("%d after %d attempts: %s", a.status, g.last().Attempts, a.body)
		}
	})
}

// TestTrap10ForeignHostAndOriginAreRefused: Ollama answers 403 without a word to a Host or an Origin that it does not
// know. Behind Corral those that its configuration allows get through, and all others still do not.
func TestTrap10ForeignHostAndOriginAreRefused(t *testing.T) {
	host := []string{"Host", "llm.example.com"}
	origin := []string{"Origin", "https://chat.example.com"}
	refused := func(g *rig, header []string) {
		g.Helper()
		if a := g.post("/api/chat", chat("m1", "x"), header...); a.status != http.StatusForbidden || a.body != "" {
			g.Errorf("%v: %d %q, want 403 without a body", header, a.status, a.body)
		}
	}
	alone(t, ollamatest.Options{}, func(g *rig, _ *ollamatest.Server) {
		refused(g, host)
		refused(g, origin)
	})
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		refused(g, host)
		refused(g, origin)
		c := *g.config.Load()
		c.Hosts, c.Origins = []string{"llm.example.com"}, []string{"https://*.example.com"}
		g.config.Store(&c)
		for _, header := range [][]string{host, origin, slices.Concat(host, origin)} {
			for _, path := range []string{"/api/chat", "/v1/chat/completions"} {
				g.allOK([]answer{g.post(path, chat("m1", "x"), header...)})
			}
		}
		refused(g, []string{"Host", "evil.example"})
		refused(g, []string{"Origin", "https://evil.example"})
		r, _ := g.servers["a"].Last("/api/chat")
		if r.Host != "127.0.0.1:21434" || r.Header.Get("Origin") != "" {
			g.Errorf("the instance sees Host %s, Origin %q", r.Host, r.Header.Get("Origin"))
		}
	})
}

// TestTrap11SilenceBeforeTheFirstToken: Ollama sends nothing at all, not even headers, before the first token, for as
// long as that takes. Corral waits for it, and then passes every piece on when it comes, without compression and
// without the headers of another connection.
func TestTrap11SilenceBeforeTheFirstToken(t *testing.T) {
	const prefill = 20 * time.Minute
	body := messages("m1", "[[prefill=20m each=1s tokens=3]]", true)
	alone(t, ollamatest.Options{}, func(g *rig, _ *ollamatest.Server) {
		if a := g.post("/v1/messages", body); a.pieces[0].at != prefill+time.Second || a.header.Get("Connection") == "" {
			g.Errorf("first byte after %s, headers %v; want silence, and a Connection header", a.pieces[0].at, a.header)
		}
	})
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		a := g.post("/v1/messages", body, "Accept-Encoding", "gzip")
		if a.status != 200 || a.err != nil || !strings.Contains(a.body, "message_stop") {
			g.Fatalf("%d %v %s", a.status, a.err, a.body)
		}
		if a.pieces[0].at > 15*time.Second+time.Millisecond {
			g.Errorf("first sign of life after %s", a.pieces[0].at)
		}
		var tokens []time.Duration
		for _, p := range a.pieces {
			if strings.Contains(p.text, "text_delta") {
				tokens = append(tokens, p.at.Round(time.Second)-prefill)
			}
		}
		if want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}; !slices.Equal(tokens, want) {
			g.Errorf("tokens came at %v after the prefill, want %v", tokens, want)
		}
		quick := g.post("/v1/messages", messages("m1", "[[tokens=3]]", true)) // its headers are the instance's
		for _, h := range []http.Header{a.header, quick.header} {
			if h.Get("Connection") != "" || h.Get("Content-Encoding") != "" {
				g.Errorf("headers %v", h)
			}
		}
		r, _ := g.servers["a"].Last("/v1/messages")
		if r.Header.Get("Accept-Encoding") != "" {
			g.Errorf("the instance is asked to compress: %v", r.Header)
		}
	})
}

// TestTrap12NoHeartbeatSuitsAllClients: a client that waits a minute hears nothing from Ollama and gives up. What would
// keep one alive breaks another: an empty line ollama-python, 102 requests, 100 Node (measured: docs/heartbeats.md).
func TestTrap12NoHeartbeatSuitsAllClients(t *testing.T) {
	const body = `{"model":"m1","prompt":"[[prefill=1m tokens=2]]","stream":%v}`
	clients := []struct {
		agent  string
		stream bool
		breaks int // the 1xx answer that it takes for the real one
	}{
		{"ollama-python/0.6.2 (x86_64 linux) Python/3.11", true, 100},
		{"python-requests/2.32", false, 102},
		{"python-requests/2.32", true, 102},
		{"ollama-js/0.6.4 (x64 linux Node.js/v20)", false, 100},
		{"node", false, 100},
	}
	for _, c := range clients {
		ask := func(g *rig) (a answer, interim []int) {
			ctx := httptrace.WithClientTrace(g.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { interim = append(interim, code); return nil },
			})
			a = g.do(ctx, http.MethodPost, "/api/generate", fmt.Sprintf(body, c.stream), "User-Agent", c.agent)
			return a, interim
		}
		alone(t, ollamatest.Options{}, func(g *rig, _ *ollamatest.Server) {
			if a, interim := ask(g); len(interim) > 0 || a.pieces[0].at < time.Minute {
				g.Errorf("%s: %v and %s", c.agent, interim, a.pieces[0].at)
			}
		})
		bubble(t, []instance{{name: "a"}}, func(g *rig) {
			a, interim := ask(g)
			if a.processed == 0 && len(interim) == 0 && a.pieces[0].at > 20*time.Second {
				g.Errorf("%s: no sign of life before %s", c.agent, a.pieces[0].at)
			}
			if slices.Contains(interim, c.breaks) {
				g.Errorf("%s: %v", c.agent, interim)
			}
			// As ollama-python reads: every line is JSON.
			lines := bufio.NewScanner(strings.NewReader(a.body))
			for lines.Scan() {
				if !json.Valid(lines.Bytes()) {
					g.Errorf("%s: line %q", c.agent, lines.Text())
				}
			}
			if a.status != 200 || !strings.Contains(a.body, `"done":true`) {
				g.Errorf("%s: %d %s", c.agent, a.status, a.body)
			}
		})
	}
}

// TestTrap13GraphRAGDiesOf503: one 503 or one broken connection ends a run of MS GraphRAG, which has 25 calls under way.
// Through Corral it survives a cold start, an instance that refuses and one that dies before it answers.
func TestTrap13GraphRAGDiesOf503(t *testing.T) {
	o := ollamatest.Options{MaxQueue: 4, NumParallel: 2, Engine: ollamatest.Settings{Load: 10 * time.Second}}
	run := func(g *rig) (fatal string) {
		ctx, cancel := context.WithCancel(g.Context())
		defer cancel()
		var all sync.WaitGroup
		var mu sync.Mutex
		for range 25 {
			all.Go(func() {
				for range 4 {
					a := g.do(ctx, http.MethodPost, "/v1/chat/completions", chat("m1", "[[tokens=1 prefill=2s]]"), "User-Agent", "AsyncOpenAI/Python 1.52.1")
					mu.Lock()
					retries := a.status == 200 || a.status == 429 || a.status == 500
					if ctx.Err() == nil && (a.err != nil || !retries) {
						fatal = fmt.Sprintf("%d %v after %s", a.status, a.err, a.at)
						cancel()
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		return fatal
	}
	alone(t, o, func(g *rig, _ *ollamatest.Server) {
		if fatal := run(g); !strings.HasPrefix(fatal, "503") {
			g.Errorf("ended by %q, want a 503 of the cold start", fatal)
		}
	})
	o.MaxQueue = 0
	alone(t, o, func(g *rig, o *ollamatest.Server) {
		var fatal string
		g.during(func() { fatal = run(g) }, 25*time.Second, func() { o.SetDown(true) })
		if !strings.HasPrefix(fatal, "0 ") {
			g.Errorf("ended by %q, want a broken connection", fatal)
		}
	})
	o.MaxQueue = 4
	var asked atomic.Int64
	refuse := reading("prefill", func(w http.ResponseWriter, _ *http.Request) bool {
		if asked.Add(1) > 3 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	in := []instance{{name: "a", options: o, slots: 2}, {name: "b", options: o, slots: 2, front: refuse}}
	bubble(t, in, func(g *rig) {
		var fatal string
		g.during(func() { fatal = run(g) }, 25*time.Second, func() { g.kill("a") })
		if fatal != "" {
			g.Errorf("ended by %s", fatal)
		}
	})
}

// TestTrap14ManySpellingsOfOneModel: names in any case, with and without their defaults, keys in any case, the last of
// duplicates: all are one model for Ollama, and one lane for Corral. A cloud name takes no slot, a name with a slash is no
// segment of a path.
func TestTrap14ManySpellingsOfOneModel(t *testing.T) {
	rest := `,"messages":[{"role":"user","content":"[[tokens=1 each=1s]]"}],"stream":false}`
	bodies := []string{`{"MODEL":"m1"` + rest, `{"model":"m2","Model":"m1"` + rest}
	for _, name := range []string{"m1", "M1", "m1:latest", "m1:LATEST", "library/m1", "registry.ollama.ai/library/m1:latest"} {
		bodies = append(bodies, `{"model":"`+name+`"`+rest)
	}
	alone(t, ollamatest.Options{}, func(g *rig, o *ollamatest.Server) {
		g.allOK(g.burst("/api/chat", bodies...))
		if s := o.Stats(); s.Loads != 1 || s.LoadsOf["m1"] != 1 {
			g.Errorf("%d loads, %v; want one runner for all", s.Loads, s.LoadsOf)
		}
		if a := g.get("/v1/models/library/m1"); a.status != 404 {
			g.Errorf("a name with a slash: %d", a.status)
		}
	})
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		answers := g.burst("/api/chat", bodies...)
		g.allOK(answers)
		if !strings.Contains(answers[3].body, `"model":"M1"`) {
			g.Errorf("the answer spells the model as it was asked for: %s", answers[3].body)
		}
		if got := g.servers["a"].Stats().Loads; got != 1 {
			g.Errorf("%d loads", got)
		}
		for _, l := range g.fleet.Dispatcher().Snapshot().Lanes {
			if l.InFlight != 0 || l.Slots != 1 {
				g.Errorf("%+v", l)
			}
		}
		busy := g.busy(time.Hour)
		if a := g.post("/api/chat", chat("m1:cloud", "x")); a.at > time.Minute {
			g.Errorf("a cloud model waited for a slot of this machine: %s", a.at)
		}
		if a := g.post("/api/show", `{"name":"M1"}`); a.status != 200 {
			g.Errorf("show by `name`: %d %s", a.status, a.body)
		}
		if a := g.get("/v1/models/M1"); a.status != 200 || !strings.Contains(a.body, `"id":"M1"`) {
			g.Errorf("%d %s", a.status, a.body)
		}
		if a := g.get("/v1/models/library/m1"); a.status != 404 {
			g.Errorf("a name with a slash: %d %s", a.status, a.body)
		}
		if a := g.do(g.Context(), http.MethodDelete, "/api/delete", `{"model":"M2"}`); a.status != 200 {
			g.Errorf("delete: %d %s", a.status, a.body)
		}
		if a := g.get("/api/tags"); strings.Contains(a.body, "m2") {
			g.Errorf("m2 is still there: %s", a.body)
		}
		busy.Wait()
	})
}
