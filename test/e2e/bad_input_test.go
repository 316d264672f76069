//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// inferenceRoutes is where bad bodies are sent.
var inferenceRoutes = []string{
	"/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/v1/chat/completions", "/v1/completions",
	"/v1/embeddings", "/v1/responses", "/v1/messages",
}

// badBodies are wrong on some routes and fine on others; on all of them Corral must answer as Ollama does. MODEL is
// replaced by a model that fits the route.
var badBodies = []string{
	``, ` `, `{`, `{"model":"MODEL"`, `{"model":"MODEL","prompt":"x`, `{"model":"MODEL",}`, `nonsense`, `[]`, `"text"`, `7`, `null`, `true`, `{}`, `{}{}`,
	"\xff\xfe", `{"model":"MODEL","prompt":"` + "\x01" + `"}`, `{"model":"\ud800"}`,
	`{"model":7}`, `{"model":null}`, `{"model":["MODEL"]}`, `{"model":{}}`, `{"model":""}`, `{"model":" "}`, `{"model":"MODEL"}`,
	`{"model":"nope"CONTENT}`, `{"model":"nope:7b"CONTENT}`, `{"model":""CONTENT}`, `{CONTENT2}`,
	`{"model":"no such/model"CONTENT}`, `{"model":"a/b/c/d/e"CONTENT}`, `{"model":"../../etc"CONTENT}`, `{"model":"mödel"CONTENT}`,
	`{"model":"m:"CONTENT}`, `{"model":":latest"CONTENT}`, `{"model":"-x"CONTENT}`, `{"model":"quote'\"<&>"CONTENT}`, `{"model":"x@sha256:00"CONTENT}`,
	`{"model":"a:b:c"CONTENT}`, `{"model":"http://m"CONTENT}`, `{"model":" MODEL "CONTENT}`, `{"model":"MODEL:Latest"CONTENT}`,
	`{"model":"MODEL","stream":"yes"CONTENT}`, `{"model":"MODEL","stream":1CONTENT}`, `{"model":"MODEL","stream":nullCONTENT}`,
	`{"model":"MODEL","messages":"x"}`, `{"model":"MODEL","messages":{}}`, `{"model":"MODEL","messages":[]}`, `{"model":"MODEL","messages":["x"]}`,
	`{"model":"MODEL","messages":[{"role":"user","content":7}]}`, `{"model":"MODEL","messages":[{"role":7,"content":"x"}]}`,
	`{"model":"MODEL","messages":[{"role":"nobody","content":"x"}]}`, `{"model":"MODEL","messages":[{}]}`, `{"model":"MODEL","messages":null}`,
	`{"model":"MODEL","prompt":7}`, `{"model":"MODEL","prompt":["x"]}`, `{"model":"MODEL","prompt":{}}`,
	`{"model":"MODEL","input":7}`, `{"model":"MODEL","input":{}}`, `{"model":"MODEL","input":[]}`, `{"model":"MODEL","input":""}`, `{"model":"MODEL","input":null}`,
	`{"model":"MODEL","input":[1,2,3]}`, `{"model":"MODEL","input":[[1,2],[3]]}`, `{"model":"MODEL","input":["x",7]}`, `{"model":"MODEL","input":[""]}`,
	`{"model":"MODEL","options":[]CONTENT}`, `{"model":"MODEL","options":"x"CONTENT}`, `{"model":"MODEL","options":7CONTENT}`, `{"model":"MODEL","options":nullCONTENT}`,
	`{"model":"MODEL","options":{"num_ctx":"many"}CONTENT}`, `{"model":"MODEL","options":{"num_ctx":[1]}CONTENT}`, `{"model":"MODEL","options":{"num_batch":"x"}CONTENT}`,
	`{"model":"MODEL","options":{"use_mmap":"yes"}CONTENT}`, `{"model":"MODEL","options":{"temperature":"hot"}CONTENT}`, `{"model":"MODEL","options":{"stop":7}CONTENT}`,
	`{"model":"MODEL","options":{"unknown":1}CONTENT}`, `{"model":"MODEL","options":{"num_batch":null,"num_ctx":null}CONTENT}`,
	`{"model":"MODEL","keep_alive":{}CONTENT}`, `{"model":"MODEL","keep_alive":"soon"CONTENT}`, `{"model":"MODEL","keep_alive":[]CONTENT}`, `{"model":"MODEL","keep_alive":trueCONTENT}`,
	`{"model":"MODEL","keep_alive":-1CONTENT}`, `{"model":"MODEL","keep_alive":nullCONTENT}`, `{"model":"MODEL","keep_alive":"-1s"CONTENT}`,
	`{"model":"MODEL","format":7CONTENT}`, `{"model":"MODEL","format":"xml"CONTENT}`, `{"model":"MODEL","think":"much"CONTENT}`, `{"model":"MODEL","think":trueCONTENT}`,
	`{"model":"MODEL","max_tokens":"x"CONTENT}`, `{"model":"MODEL","max_tokens":0CONTENT}`, `{"model":"MODEL","max_tokens":-1CONTENT}`, `{"model":"MODEL","max_tokens":1.5CONTENT}`,
	`{"model":"MODEL","tools":7CONTENT}`, `{"model":"MODEL","tools":[{"type":"function","function":{"name":"f","parameters":{}}}]CONTENT}`,
	`{"model":"MODEL","response_format":{"type":"nope"}CONTENT}`, `{"model":"MODEL","encoding_format":"hex"CONTENT}`, `{"model":"MODEL","dimensions":"x"CONTENT}`,
	`{"model":"MODEL","dimensions":-1CONTENT}`, `{"model":"MODEL","dimensions":100000CONTENT}`, `{"model":"MODEL","truncate":"x"CONTENT}`, `{"model":"MODEL","images":["%%"]CONTENT}`,
	`{"model":"MODEL","suffix":"x"CONTENT}`, `{"model":"MODEL","raw":"x"CONTENT}`, `{"model":"MODEL","shift":"x"CONTENT}`, `{"model":"MODEL","context":["x"]CONTENT}`,
	`{"model":"OTHER"CONTENT}`, `{"model":"OTHER","stream":trueCONTENT}`, `{"model":"OTHER"}`, `{"model":"OTHER","input":[],"messages":[],"prompt":""}`,
	`{"model":"nope","stream":trueCONTENT}`, `{"model":"nope","keep_alive":0}`, `{"model":"nope"}`, `{"model":"MODEL:cloud:local"CONTENT}`, `{"model":"MODEL:local"CONTENT}`,
	`{"model":"nope","model":"MODEL"CONTENT}`,
}

// fitted is a bad body for a route.
func fitted(body, path string) string {
	model, other := "m", "emb"
	content := `,"messages":[{"role":"user","content":"[[tokens=2]]"}]`
	switch {
	case strings.Contains(path, "embed"):
		model, other = "emb", "m"
		content = `,"input":"x","prompt":"x"`
	case path == "/api/generate" || path == "/v1/completions":
		content = `,"prompt":"[[tokens=2]]"`
	case path == "/v1/responses":
		content = `,"input":"[[tokens=2]]"`
	}
	if path == "/v1/messages" && !strings.Contains(body, "max_tokens") {
		content += `,"max_tokens":9`
	}
	return strings.NewReplacer("MODEL", model, "OTHER", other, "CONTENT2", strings.TrimPrefix(content, ","), "CONTENT", content).Replace(body)
}

// TestBadInput: what Ollama rejects is rejected in its words, what it takes is taken.
func TestBadInput(t *testing.T) {
	for _, path := range inferenceRoutes {
		t.Run(strings.TrimPrefix(path, "/"), func(t *testing.T) {
			for _, body := range badBodies {
				post("bad input", path, fitted(body, path)).compare(t)
			}
			// max_tokens is required on /v1/messages only.
			post("without max_tokens", path, chat("m", "x")).compare(t)
		})
	}
}

// TestContentTypesAndEncodings: Ollama looks at neither Content-Type nor Accept, and reads zstd only under /v1.
func TestContentTypesAndEncodings(t *testing.T) {
	body := chat("m", "[[tokens=2]]", `,"stream":false`)
	for _, header := range [][]string{
		{"Content-Type", "text/plain"}, {"Content-Type", ""}, {"Accept", "text/html"}, {"Accept-Encoding", "gzip"},
		{"Content-Encoding", "gzip"}, {"Content-Encoding", "zstd"}, {"Expect", "100-continue"}, {"Connection", "close"},
		{"Authorization", "Bearer x"}, {"Content-Encoding", "identity"},
	} {
		for _, path := range []string{"/api/chat", "/v1/chat/completions"} {
			request{"header", http.MethodPost, path, body, header}.compare(t)
		}
	}
}

// TestNullOptionsDoNotReload is a trap of Ollama's: "num_batch": null reloads the model. Through Corral it does not.
func TestNullOptionsDoNotReload(t *testing.T) {
	ask(t, shared.URL, http.MethodPost, "/api/generate", `{"model":"m"}`)
	ask(t, shared.URL, http.MethodPost, "/api/embed", `{"model":"emb","input":"x"}`)
	free := shared.busy(t, 2*slots) // until both are loaded with their own options
	free()
	shared.awaitQueue(t, 0, 0)
	before := langA.loads(t) + langB.loads(t) + embedE.loads(t)
	const nulls = `,"options":{"num_batch":null,"num_ctx":null,"num_gpu":null,"temperature":null,"num_thread":null}`
	for range 3 {
		for path, body := range map[string]string{
			"/api/chat": chat("m", "x", nulls), "/api/generate": `{"model":"m","prompt":"x"` + nulls + `}`,
			"/api/embed": `{"model":"emb","input":"x"` + nulls + `}`, "/v1/chat/completions": chat("m", "x", nulls),
		} {
			if a := ask(t, shared.URL, http.MethodPost, path, body); a.code != http.StatusOK {
				t.Errorf("%s: %d %s", path, a.code, a.body)
			}
		}
	}
	if after := langA.loads(t) + langB.loads(t) + embedE.loads(t); after != before {
		t.Errorf("%d loads because of null options", after-before)
	}
}

// TestForeignHostAndOrigin: Ollama's guards against web pages hold through Corral.
func TestForeignHostAndOrigin(t *testing.T) {
	for _, path := range []string{"/", "/api/tags", "/api/chat", "/v1/chat/completions", "/nope", "/api/version", "/v1/models"} {
		for _, header := range [][]string{
			{"Host", "evil.example"}, {"Host", "evil.example:11434"}, {"Host", "ollama"}, {"Host", "8.8.8.8"}, {"Host", "localhost.evil.example"},
			{"Origin", "http://evil.example"}, {"Origin", "https://localhost.evil.example"}, {"Origin", "null"},
			{"Origin", "chrome-extension://abc"}, {"Origin", "http://127.0.0.1.evil.example"},
		} {
			method := http.MethodGet
			body := ""
			if strings.Contains(path, "chat") {
				method, body = http.MethodPost, chat("m", "x")
			}
			through := request{"foreign", method, path, body, header}.compare(t)
			if through.code != http.StatusForbidden || through.body != "" {
				t.Errorf("%s %v: %d %q, want 403 and nothing", path, header, through.code, through.body)
			}
		}
	}
	for _, header := range [][]string{
		{"Host", "x.internal"}, {"Host", "10.1.2.3:80"}, {"Host", "a.localhost:1"}, {"Host", "box.local"}, {"Host", "[::1]:5"}, {"Host", "LOCALHOST"},
		{"Origin", "http://localhost:3000"}, {"Origin", "http://127.0.0.1"}, {"Origin", "app://x"}, {"Origin", "tauri://localhost"},
	} {
		if through := (request{"known", http.MethodGet, "/api/version", "", header}).compare(t); through.code != http.StatusOK {
			t.Errorf("%v: %d", header, through.code)
		}
	}
}

// TestPreflight: a browser hears the same of who may call and with what.
func TestPreflight(t *testing.T) {
	for _, origin := range []string{"http://localhost:3000", "http://evil.example"} {
		header := []string{"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,authorization"}
		want := ask(t, direct.URL, http.MethodOptions, "/v1/chat/completions", "", header...)
		got := ask(t, shared.URL, http.MethodOptions, "/v1/chat/completions", "", header...)
		if got.code != want.code || got.body != want.body {
			t.Errorf("%s: %d %q, direct %d %q", origin, got.code, got.body, want.code, want.body)
		}
		for _, h := range []string{"Access-Control-Allow-Origin", "Access-Control-Max-Age", "Access-Control-Allow-Methods"} {
			if g, w := got.header.Get(h), want.header.Get(h); g != w {
				t.Errorf("%s: %s %q, direct %q", origin, h, g, w)
			}
		}
		allowed := strings.ToLower(got.header.Get("Access-Control-Allow-Headers"))
		for name := range strings.SplitSeq(strings.ToLower(want.header.Get("Access-Control-Allow-Headers")), ",") {
			if !strings.Contains(allowed, name) {
				t.Errorf("%s: header %s is not allowed through Corral", origin, name)
			}
		}
	}
	for _, path := range []string{"/api/chat", "/v1/chat/completions"} {
		q := request{"with an origin", http.MethodPost, path, chat("m", "[[tokens=2]]"), []string{"Origin", "http://localhost:3000"}}
		if got := q.compare(t).header.Values("Access-Control-Allow-Origin"); len(got) != 1 {
			t.Errorf("%s: Access-Control-Allow-Origin %q", path, got)
		}
	}
}

// TestBodyOverTheLimit: 413 in the form of the client's dialect, whether the length is announced or not; one that
// fits is answered.
func TestBodyOverTheLimit(t *testing.T) {
	c := newCorral(t, configOf(langA, embedE)+"queue: {max_body: 64KiB}\n", nil)
	c.await(t, "/readyz", "ready")
	big := strings.Repeat("x", 70<<10)
	shapes := map[string]string{
		"/api/generate": `{"error":"`, "/v1/chat/completions": `{"error":{"message":"`, "/v1/messages": `{"type":"error","error":{"type":"`,
	}
	for _, path := range inferenceRoutes {
		shape := shapes["/api/generate"]
		switch {
		case path == "/v1/messages":
			shape = shapes[path]
		case strings.HasPrefix(path, "/v1/"):
			shape = shapes["/v1/chat/completions"]
		}
		a := ask(t, c.URL, http.MethodPost, path, fmt.Sprintf(`{"model":"m","x":%q}`, big))
		if a.code != http.StatusRequestEntityTooLarge || !strings.HasPrefix(a.body, shape) || !strings.Contains(a.body, "max_body") {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/api/chat", struct{ *strings.Reader }{strings.NewReader(chat("m", big))})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Do(req); err != nil { // chunked
		t.Error(err)
	} else {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("chunked: %s", resp.Status)
		}
	}
	if a := ask(t, c.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=2]]"+big[:50<<10], `,"stream":false`)); a.code != http.StatusOK {
		t.Errorf("one that fits: %d %s", a.code, a.body)
	}
}
