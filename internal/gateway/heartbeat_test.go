package gateway_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"corral/ollamatest"
)

// busy makes the only slot of the only instance busy for a while.
func (g *rig) busy(d time.Duration) *sync.WaitGroup { return g.busyWith("/api/chat", d) }

// busyWith is busy with a request on a path of Ollama's own.
func (g *rig) busyWith(path string, d time.Duration) *sync.WaitGroup {
	var all sync.WaitGroup
	directive := "[[tokens=1 prefill=" + d.String() + "]]"
	body := strings.Replace(chat("m1", directive), "{", `{"prompt":"`+directive+`",`, 1)
	all.Go(func() { g.post(path, body) })
	g.pass(time.Millisecond)
	return &all
}

// TestHeartbeats: what each family of clients hears while it waits a minute. The rules were measured with the
// real clients; docs/heartbeats.md has the table.
func TestHeartbeats(t *testing.T) {
	cases := []struct {
		name, path, body string
		header           []string
		processed        int    // 102 answers
		lead             string // what comes before the answer
	}{
		{name: "openai-python", path: "/v1/chat/completions", body: chat("m1", "x"),
			header: []string{"User-Agent", "AsyncOpenAI/Python 1.52.1"}, processed: 3},
		{name: "openai-python that announces 18 s", path: "/v1/chat/completions", body: chat("m1", "x"),
			header: []string{"User-Agent", "OpenAI/Python 2.0", "X-Stainless-Read-Timeout", "18"}, processed: 9},
		{name: "openai-python behind a proxy", path: "/v1/chat/completions", body: chat("m1", "x"),
			header: []string{"User-Agent", "OpenAI/Python 2.0", "X-Forwarded-For", "10.0.0.1"}, lead: "   "},
		{name: "ollama-python", path: "/api/chat", body: chat("m1", "x"),
			header: []string{"User-Agent", "ollama-python/0.6.2 (x86_64 linux) Python/3.11"}, processed: 3},
		{name: "ollama-js", path: "/api/chat", body: chat("m1", "x"),
			header: []string{"User-Agent", "ollama-js/0.6.4 (x64 linux Node.js/v20)"}, processed: 3},
		{name: "requests", path: "/api/generate", body: `{"model":"m1","prompt":"x","stream":false}`,
			header: []string{"User-Agent", "python-requests/2.32"}, lead: "   "},
		{name: "openai-node", path: "/v1/chat/completions", body: chat("m1", "x"),
			header: []string{"User-Agent", "OpenAI/JS 6.49.0", "X-Stainless-Timeout", "600"}, lead: "   "},
		{name: "axios", path: "/v1/embeddings", body: `{"model":"emb","input":"x"}`,
			header: []string{"User-Agent", "axios/1.7"}, lead: ""},
		{name: "Go", path: "/v1/messages", body: `{"model":"m1","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`,
			header: []string{"User-Agent", "Go-http-client/1.1"}, lead: "   "},
		{name: "SSE", path: "/v1/chat/completions", body: streamed("m1", "x"),
			header: []string{"User-Agent", "AsyncOpenAI/Python 1.52.1"}, lead: strings.Repeat(": keep-alive\n\n", 3)},
		{name: "SSE of Anthropic", path: "/v1/messages",
			body: `{"model":"m1","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}`,
			lead: strings.Repeat("event: ping\ndata: {\"type\": \"ping\"}\n\n", 3)},
		{name: "NDJSON", path: "/api/chat", body: streamed("m1", "x"),
			header: []string{"User-Agent", "ollama-python/0.6.2"}, lead: "   "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, []instance{{name: "a", options: ollamatest.Options{Reply: echo}}}, func(g *rig) {
				direct := g.post(c.path, c.body, c.header...)
				busy := g.busy(55 * time.Second)
				a := g.post(c.path, c.body, c.header...)
				busy.Wait()
				if a.err != nil || a.status != http.StatusOK || a.processed != c.processed {
					g.Errorf("%d %v, %d times 102, want %d", a.status, a.err, a.processed, c.processed)
				}
				rest, ok := strings.CutPrefix(a.body, c.lead)
				if !ok || (c.lead != "" && strings.HasPrefix(rest, c.lead[:1]) && c.lead[:1] != "e") {
					g.Errorf("begins with %.200q, want %q", a.body, c.lead)
				}
				if got, want := a.header.Get("Content-Type"), direct.header.Get("Content-Type"); got != want {
					g.Errorf("Content-Type %q after heartbeats, %q without", got, want)
				}
				if c.processed > 0 && a.header.Get("X-Corral-Queue-Ms") == "0" {
					g.Errorf("102 must leave the headers free: %v", a.header)
				}
			})
		})
	}
}

// TestLateErrors: what a client hears of an error after a heartbeat has committed status 200.
func TestLateErrors(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		f := func(path, body, want string) {
			g.Helper()
			busy := g.busy(20 * time.Second)
			a := g.post(path, body)
			busy.Wait()
			if a.status != http.StatusOK || a.err != nil || !strings.Contains(a.body, want) {
				g.Errorf("%s: %d %v %q, want %s", path, a.status, a.err, a.body, want)
			}
		}
		const fail = "[[fail=0]]"
		f("/api/chat", streamed("m1", fail), ` {"error":`)
		f("/v1/chat/completions", streamed("m1", fail), "\n\ndata: {\"error\":")
		f("/v1/messages", `{"model":"m1","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"[[fail=0]]"}]}`, "event: error\n")
		// A plain answer has no place for an error: the connection is cut, which every client raises.
		busy := g.busy(20 * time.Second)
		a := g.post("/api/chat", chat("m1", fail))
		busy.Wait()
		if a.err == nil {
			g.Errorf("a late failure reads as a success: %d %q", a.status, a.body)
		}
		// 102 leaves the status free.
		busy = g.busy(20 * time.Second)
		a = g.post("/api/chat", chat("m1", fail), "User-Agent", "python-httpx/0.27")
		busy.Wait()
		if a.status != http.StatusInternalServerError || !strings.HasPrefix(a.body, `{"error":`) {
			g.Errorf("%d %q", a.status, a.body)
		}
	})
}

// TestBrokenStreams is trap 8: a stream that breaks ends in the dialect's own error event.
func TestBrokenStreams(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		f := func(path, body, want string) {
			g.Helper()
			a := g.post(path, body)
			if a.status != http.StatusOK || a.err != nil || !strings.Contains(a.body, want) {
				g.Errorf("%s: %d %v %q, want %s at its end", path, a.status, a.err, a.body, want)
			}
			if r := g.last(); r.Outcome == "answered" {
				g.Errorf("%s: recorded as %s", path, r.Outcome)
			}
		}
		for _, fault := range []string{"crash=3", "cut=3", "reset=3"} {
			prompt := "[[tokens=9 " + fault + "]]"
			f("/v1/chat/completions", streamed("m1", prompt), "data: {\"error\":")
			f("/api/chat", streamed("m1", prompt), `{"error":`)
			f("/v1/messages", `{"model":"m1","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"`+prompt+`"}]}`, "event: error\n")
			f("/v1/responses", `{"model":"m1","stream":true,"input":"`+prompt+`"}`, "response.failed")
		}
	})
}
