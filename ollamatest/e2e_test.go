//go:build e2e

package ollamatest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"corral/ollamatest"
	"corral/ollamatest/gguf"
)

// binary is a real ollama whose engine is ours.
func binary(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "bash", filepath.Join("..", "scripts", "ollama.sh")).Output()
	if err != nil {
		t.Fatalf("scripts/ollama.sh: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// start is a real Ollama with models m (generates) and emb (embeds).
func start(t *testing.T, env ...string) *ollamatest.Ollama {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log, err := os.Create(filepath.Join(t.TempDir(), "ollama.log"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := ollamatest.StartOllama(ctx, ollamatest.Process{Binary: binary(t), Env: env, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("log of %s:\n%s", o.URL, text[max(0, len(text)-4000):])
		}
	})
	var llama, bert bytes.Buffer
	if err := gguf.WriteLlama(&llama, gguf.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := gguf.WriteBert(&bert, gguf.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, model := range map[string][]byte{"m": llama.Bytes(), "emb": bert.Bytes()} {
		if err := ollamatest.CreateModel(ctx, o.URL, name, model, nil); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

type answer struct {
	code   int
	header http.Header
	body   string
}

func ask(t *testing.T, base, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// shape is a body without what differs between two runs: error bodies stay as they are but for ids, JSON objects
// become their keys.
func shape(a answer) string {
	if a.code >= 300 {
		body := a.body
		if i := strings.Index(body, `,"request_id":`); i > 0 {
			body = body[:i]
		}
		return strings.TrimSpace(body)
	}
	var lines []string
	for line := range strings.Lines(a.body) {
		line = strings.TrimSpace(line)
		prefix := ""
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			prefix, line = "data: ", data
		}
		var v any
		if json.Unmarshal([]byte(line), &v) == nil {
			line = keys("", v)
		}
		if n := len(lines); n == 0 || lines[n-1] != prefix+line {
			lines = append(lines, prefix+line)
		}
	}
	return strings.Join(lines, "\n")
}

func keys(path string, v any) string {
	switch t := v.(type) {
	case map[string]any:
		var parts []string
		for k, inner := range t {
			// What a model is made of, and which keys a real file has, differs.
			if k == "model_info" || k == "tensors" || k == "license" || k == "template" || k == "details" {
				inner = nil
			}
			if k == "prompt_eval_duration" || k == "load_duration" || k == "tensors" {
				continue // left out when zero
			}
			parts = append(parts, k+keys(path+"."+k, inner))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, " ") + "}"
	case []any:
		if len(t) == 0 {
			return "[]"
		}
		return "[" + keys(path, t[0]) + "]"
	}
	return ""
}

type probe struct {
	method, path, body string
	header             []string
}

func post(path, body string) probe { return probe{"POST", path, body, nil} }

func chatBody(model, prompt, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]%s}`, model, prompt, more)
}

func probes() []probe {
	const say = "[[tokens=4 say=hi]]"
	list := []probe{
		{"GET", "/", "", nil}, {"HEAD", "/", "", nil}, {"GET", "/api/version", "", nil}, {"GET", "/api/status", "", nil},
		{"GET", "/nope", "", nil}, {"GET", "/api/chat", "", nil}, {"HEAD", "/api/ps", "", nil}, {"PUT", "/api/tags", "", nil},
		{"POST", "/api/chat/", "{}", nil}, {"GET", "/api/tags/", "", nil}, {"GET", "/v1/models/a/b", "", nil},
		{"GET", "/api/version", "", []string{"Host", "evil.com"}}, {"GET", "/api/version", "", []string{"Host", "x.internal"}},
		{"GET", "/api/version", "", []string{"Origin", "http://evil.com"}}, {"GET", "/nope", "", []string{"Host", "evil.com"}},
		{"GET", "/api/version", "", []string{"Origin", "http://localhost:3000"}},
		{"GET", "/api/tags", "", nil}, {"GET", "/v1/models", "", nil}, {"GET", "/v1/models/m", "", nil}, {"GET", "/v1/models/nope", "", nil},
		post("/api/show", `{"model":"m"}`), post("/api/show", `{"name":"emb"}`), post("/api/show", `{"model":"nope"}`), post("/api/show", `{}`), post("/api/show", ``),
		post("/api/generate", `{"model":"m"}`), {"GET", "/api/ps", "", nil},
		post("/api/generate", `{"model":"m","keep_alive":0}`), post("/api/chat", `{"model":"m","messages":[]}`),
		post("/api/generate", ``), post("/api/generate", `{"model":"m","prompt":"x","stream":"false"}`), post("/api/generate", `{`),
		post("/api/generate", `{"model":"nope","prompt":"x"}`), post("/api/generate", `{"model":"emb","prompt":"x"}`),
		post("/api/generate", `{"prompt":"x"}`), post("/api/chat", `{}`), post("/api/chat", `{"model":7}`),
		post("/api/generate", `{"model":"m","prompt":"x","options":{"num_ctx":"a"}}`),
		post("/api/generate", `{"model":"m","prompt":"x","think":true}`), post("/api/generate", `{"MODEL":"M:latest","prompt":"`+say+`"} trailing`),
		post("/api/embed", `{"model":"emb","input":["a","b"]}`), post("/api/embed", `{"model":"emb","input":[]}`),
		post("/api/embed", `{"model":"emb","input":7}`), post("/api/embed", `{"model":"nope","input":"a"}`), post("/api/embed", `{"model":"m","input":"a"}`),
		post("/api/embed", `{"model":"emb","input":"[[fail]]"}`), post("/api/embed", `{"model":"emb","input":[7]}`),
		post("/api/embeddings", `{"model":"emb","prompt":"a"}`), post("/api/embeddings", `{"model":"nope","prompt":"a"}`), post("/api/embeddings", `{"prompt":"a"}`),
		post("/v1/embeddings", `{"model":"emb","input":"a"}`), post("/v1/embeddings", `{"model":"emb","input":["a","b"],"encoding_format":"base64"}`),
		post("/v1/embeddings", `{"model":"emb","input":[]}`), post("/v1/embeddings", `{"model":"nope","input":"a"}`), post("/v1/embeddings", `{"model":"emb","input":[[1,2]]}`),
		post("/v1/embeddings", `{"model":"emb","input":"a","encoding_format":"hex"}`), post("/v1/embeddings", ``),
		post("/v1/chat/completions", ``), post("/v1/chat/completions", `{"model":"m"}`), post("/v1/chat/completions", `{"model":"m","messages":7}`),
		post("/v1/messages", ``), post("/v1/messages", `{"messages":[]}`), post("/v1/messages", `{"model":"m","messages":[{"role":"user","content":"x"}]}`),
		post("/v1/messages", `{"model":"m","max_tokens":5}`), post("/v1/responses", ``), post("/v1/completions", ``),
		post("/v1/completions", `{"model":"m","prompt":"`+say+`","stream":true,"stream_options":{"include_usage":true}}`),
		post("/v1/chat/completions", chatBody("m", say, `,"stream":true,"stream_options":{"include_usage":true}`)),
		post("/api/generate", `{"model":"m","keep_alive":"x"}`), post("/api/generate", `{"model":"m","keep_alive":"5m"}`), post("/api/generate", `{"model":"m","keep_alive":[]}`),
		post("/api/chat", `{"model":"library/m:latest","messages":[{"role":"user","content":"`+say+`"}],"options":{"num_predict":2}}`),
		post("/api/chat", `{"model":"m","messages":[{"role":"user","content":"`+say+`"}],"options":{"use_mmap":3}}`),
		post("/api/chat", `{"model":"m","messages":[{"role":"user","content":"`+say+`"}],"options":{"stop":3}}`),
		post("/api/chat", `{"model":"emb","messages":[]}`), post("/v1/completions", `{"model":"m","prompt":""}`),
		post("/v1/responses", `{"model":"m"}`), post("/v1/responses", `{"input":"x"}`), post("/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}]}`),
		post("/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"[[tokens=2]]"}]}]}`),
		post("/v1/chat/completions", chatBody("m", "[[tokens=2]]", `,"response_format":{"type":"json_object"}`)),
		post("/api/embed", `{"model":"emb"}`), post("/api/embed", `{"model":"emb","input":"[[crash]]"}`), post("/api/embeddings", `{"model":"emb","prompt":""}`),
		post("/api/embeddings", `{"model":"emb","prompt":"[[crash]]"}`), post("/api/embeddings", `{"model":"m","prompt":"a"}`), post("/v1/embeddings", `{"model":"emb","input":""}`),
		{"POST", "/api/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000", "x", nil},
		{"HEAD", "/api/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000", "", nil},
		post("/api/copy", `{"source":"m","destination":"m-two"}`), {"DELETE", "/api/delete", `{"model":"m-two"}`, nil},
		post("/api/copy", `{"source":"nope","destination":"x"}`), {"DELETE", "/api/delete", `{"model":"nope"}`, nil},
	}
	for _, fault := range []string{"", "fail", "fail=2", "cut=2", "crash=2", "crash"} {
		text := fmt.Sprintf("[[tokens=4 say=hi %s]]", fault)
		for _, stream := range []string{`,"stream":true`, `,"stream":false`} {
			for _, model := range []string{"m", "nope", "emb"} {
				if model != "m" && fault != "" {
					continue
				}
				prompt := fmt.Sprintf(`{"model":%q,"prompt":%q%s}`, model, text, stream)
				list = append(list,
					post("/api/generate", prompt), post("/api/chat", chatBody(model, text, stream)),
					post("/v1/completions", prompt), post("/v1/chat/completions", chatBody(model, text, stream)),
					post("/v1/messages", chatBody(model, text, stream+`,"max_tokens":9`)),
					post("/v1/responses", fmt.Sprintf(`{"model":%q,"input":%q%s}`, model, text, stream)))
			}
		}
	}
	return list
}

// The in-process Server answers as the real one: status, Content-Type, error texts, shapes of bodies and streams.
func TestServerAnswersAsRealOllama(t *testing.T) {
	real := start(t)
	ours := ollamatest.New(ollamatest.Options{Models: []ollamatest.Model{
		{Name: "emb", Capabilities: []string{"embedding"}}, {Name: "m"},
	}})
	defer ours.Close()
	twin := httptest.NewServer(ours)
	defer twin.Close()
	for _, p := range probes() {
		want := ask(t, real.URL, p.method, p.path, p.body, p.header...)
		got := ask(t, twin.URL, p.method, p.path, p.body, p.header...)
		what := fmt.Sprintf("%s %s %s %v", p.method, p.path, p.body, p.header)
		if got.code != want.code {
			t.Errorf("%s: status %d, real %d\n ours %s\n real %s", what, got.code, want.code, got.body, want.body)
			continue
		}
		for _, h := range []string{"Content-Type", "Cache-Control", "Allow", "Location"} {
			if got.header.Get(h) != want.header.Get(h) {
				t.Errorf("%s: %s %q, real %q", what, h, got.header.Get(h), want.header.Get(h))
			}
		}
		if g, w := port(shape(got)), port(shape(want)); g != w {
			t.Errorf("%s:\n ours %s\n real %s", what, g, w)
		}
	}
}

// port hides the port of an engine, and the name of a Go type, in an error text.
func port(text string) string {
	text = strings.Replace(text, "[]ollamatest.openAIMessage", "[]openai.Message", 1)
	if before, rest, ok := strings.Cut(text, "http://127.0.0.1:"); ok {
		if _, after, ok := strings.Cut(rest, "/"); ok {
			return before + "http://127.0.0.1:N/" + after
		}
	}
	return text
}

func TestTwoRealOllamas(t *testing.T) {
	stats := filepath.Join(t.TempDir(), "stats")
	env := []string{"OLLAMA_NUM_PARALLEL=4", "CORRAL_ENGINE_STATS=" + stats, "CORRAL_ENGINE_LOAD=300ms"}
	a, b := start(t, env...), start(t, env...)
	for _, o := range []*ollamatest.Ollama{a, b} {
		for model, want := range map[string]string{"m": `"capabilities":["completion"]`, "emb": `"capabilities":["embedding"]`} {
			if r := ask(t, o.URL, "POST", "/api/show", fmt.Sprintf(`{"model":%q}`, model)); !strings.Contains(r.body, want) {
				t.Errorf("show %s: no %s in %.300s", model, want, r.body)
			}
		}
	}
	vector := func(o *ollamatest.Ollama) string {
		return ask(t, o.URL, "POST", "/api/embeddings", `{"model":"emb","prompt":"a"}`).body
	}
	if vector(a) != vector(b) || !strings.Contains(vector(a), `"embedding":[`) {
		t.Errorf("the same weights give different vectors")
	}
	t0 := time.Now()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			body := chatBody("m", fmt.Sprintf("[[tokens=10 prefill=1ms each=2ms say=caller-%d]]", i), "")
			r := ask(t, a.URL, "POST", "/v1/chat/completions", body)
			if r.code != 200 || !strings.Contains(r.body, fmt.Sprintf(`"content":"caller-%d `, i)) {
				t.Errorf("caller %d: %d %s", i, r.code, r.body)
			}
		})
	}
	wg.Wait()
	t.Logf("200 calls of 21 ms on 4 slots: %v (ideal 1.05 s)", time.Since(t0))
	records := readStats(t, stats)
	peak := 0
	for _, r := range records {
		peak = max(peak, r.Running)
	}
	if peak != 4 {
		t.Errorf("at most %d ran at once, want 4", peak)
	}
}

func TestRealOllamaCancels(t *testing.T) {
	stats := filepath.Join(t.TempDir(), "stats")
	o := start(t, "CORRAL_ENGINE_STATS="+stats)
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, o.URL+"/api/generate", strings.NewReader(`{"model":"m","prompt":"[[tokens=5 stall=3]]"}`))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line := make([]byte, 1)
	for lines := 0; lines < 3; {
		if _, err := resp.Body.Read(line); err != nil {
			t.Fatal(err)
		}
		if line[0] == '\n' {
			lines++
		}
	}
	cancel()
	// The slot must be free again: with one slot this would wait for ever otherwise.
	if r := ask(t, o.URL, "POST", "/api/generate", `{"model":"m","prompt":"x","stream":false}`); r.code != 200 {
		t.Errorf("after a cancel: %d %s", r.code, r.body)
	}
	if all := readStats(t, stats); len(all) != 2 || all[0].Outcome != "cancelled" || all[0].Wasted != 3 || all[1].Outcome != "done" {
		t.Errorf("records %+v", all)
	}
}

// What the reference measured once, on both: a cold burst over a line of one, and the hidden wait in the durations.
func TestRealOllamaQueues(t *testing.T) {
	env := []string{"OLLAMA_MAX_QUEUE=1", "OLLAMA_NUM_PARALLEL=2", "CORRAL_ENGINE_LOAD=1500ms"}
	real := start(t, env...)
	ours := ollamatest.New(ollamatest.Options{
		Models: []ollamatest.Model{{Name: "m"}}, MaxQueue: 1, NumParallel: 2,
		Engine: ollamatest.Settings{Load: 1500 * time.Millisecond},
	})
	defer ours.Close()
	twin := httptest.NewServer(ours)
	defer twin.Close()
	const body = `{"model":"m","prompt":"[[tokens=4 prefill=200ms each=25ms]]","stream":false}`
	burst := func(base string) (codes map[int]int, hidden time.Duration) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		codes = map[int]int{}
		for range 8 {
			wg.Go(func() {
				r := ask(t, base, "POST", "/api/generate", body)
				var m struct {
					Total  time.Duration `json:"total_duration"`
					Load   time.Duration `json:"load_duration"`
					Prompt time.Duration `json:"prompt_eval_duration"`
					Eval   time.Duration `json:"eval_duration"`
				}
				_ = json.Unmarshal([]byte(r.body), &m) // an error's body has no durations
				mu.Lock()
				defer mu.Unlock()
				codes[r.code]++
				hidden = max(hidden, m.Total-m.Load-m.Prompt-m.Eval)
			})
		}
		wg.Wait()
		return codes, hidden
	}
	for name, base := range map[string]string{"real": real.URL, "ours": twin.URL} {
		cold, _ := burst(base)
		warm, hidden := burst(base)
		t.Logf("%s: cold %v, warm %v, longest hidden wait %v (3 rounds of 300 ms before the last)", name, cold, warm, hidden)
		if warm[200] != 8 || cold[503] < 6 || cold[503]+cold[200] != 8 {
			t.Errorf("%s: cold %v, warm %v", name, cold, warm)
		}
	}
}

func readStats(t *testing.T, path string) []ollamatest.EngineRecord {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []ollamatest.EngineRecord
	for line := range strings.Lines(string(text)) {
		var r ollamatest.EngineRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}
