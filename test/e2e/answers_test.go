//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHonestAnswers: a real Ollama answers 200 to a prompt that it cut. Through Corral that is told of in a header, a
// metric and the log.
func TestHonestAnswers(t *testing.T) {
	c := newCorral(t, configOf(langA), nil)
	c.awaitUp(t, 1)
	long := strings.Repeat("a word or two ", 3000)
	for _, tt := range []struct {
		path, body, want string
	}{
		{"/api/generate", fmt.Sprintf(`{"model":"m","stream":false,"prompt":"[[tokens=2]] %s","options":{"num_ctx":512}}`, long), "prompt-truncated"},
		{"/api/generate", `{"model":"m","stream":false,"prompt":"[[tokens=2]]","options":{"num_ctx":512}}`, ""},
		{"/v1/completions", `{"model":"m","prompt":"[[tokens=2]]"}`, ""},
	} {
		a := ask(t, c.URL, http.MethodPost, tt.path, tt.body)
		if got := a.header.Get("X-Corral-Warning"); a.code != http.StatusOK || got != tt.want {
			t.Errorf("%s %s: %d, X-Corral-Warning %q, want %q\n%s", tt.path, clip(tt.body), a.code, got, tt.want, a.body[max(0, len(a.body)-300):])
		}
	}
	c.awaitOutput(t, `"verdict":"prompt-truncated"`)
	if n := metric(t, c, "corral_answer_warnings_total", `verdict="prompt-truncated"`); n != 1 {
		t.Errorf("counted %d times", n)
	}
}

// TestAliases: real clients see one more model, and nothing of what runs behind it.
func TestAliases(t *testing.T) {
	c := newCorral(t, configOf(langA, embedE)+`
aliases:
  gpt-4o: {model: absent, fallback: m}
  "claude-haiku-*": {model: m, num_ctx: 512}
  text-embedding-3-small: emb
`, nil)
	c.awaitUp(t, 2)
	for path, body := range map[string]string{
		"/api/chat":            chat("gpt-4o", "[[tokens=2]]", `,"stream":false`),
		"/v1/chat/completions": chat("gpt-4o", "[[tokens=2]]"),
		"/v1/responses":        `{"model":"gpt-4o","input":"[[tokens=2]]"}`,
		"/v1/embeddings":       `{"model":"text-embedding-3-small","input":"x"}`,
		"/v1/messages":         strings.TrimSuffix(chat("claude-haiku-4-5", "[[tokens=2]]"), "}") + `,"max_tokens":9}`,
	} {
		var asked, got struct{ Model string }
		a := ask(t, c.URL, http.MethodPost, path, body)
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
		if err := json.Unmarshal([]byte(body), &asked); err != nil || got != asked {
			t.Errorf("%s: asked for %s, answered by %s", path, asked.Model, got.Model)
		}
	}
	stream := ask(t, c.URL, http.MethodPost, "/v1/chat/completions", streamed("gpt-4o", "[[tokens=5]]"))
	if n := strings.Count(stream.body, `"model":"gpt-4o"`); n < 5 || strings.Contains(stream.body, `"model":"m"`) || !strings.Contains(stream.body, "[DONE]") {
		t.Errorf("stream: %s", stream.body)
	}
	for _, path := range []string{"/api/tags", "/v1/models", "/v1/models/claude-haiku-9"} {
		a := ask(t, c.URL, http.MethodGet, path, "")
		for _, name := range []string{`"gpt-4o"`, `"text-embedding-3-small"`, `"m:latest"`} {
			if has := strings.Contains(a.body, name); has == strings.HasPrefix(path, "/v1/models/") {
				t.Errorf("%s: %s listed: %v\n%s", path, name, has, a.body)
			}
		}
	}
}

// TestListsBesideDeadInstances: what Open WebUI asks when a page opens is answered at once, though one instance is dead
// and another one takes connections and says nothing.
func TestListsBesideDeadInstances(t *testing.T) {
	dead, hung := newOllama(t, "dead", "", nil, "m"), newOllama(t, "hung", "", nil, "other")
	c := newCorral(t, configOf(dead, hung, embedE, langA), nil)
	c.awaitUp(t, 4)
	lists := []string{"/api/tags", "/api/ps", "/api/version", "/v1/models"}
	for _, path := range lists {
		ask(t, c.URL, http.MethodGet, path, "")
	}
	dead.kill()
	if err := syscall.Kill(hung.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(hung.PID(), syscall.SIGCONT) }()
	for _, path := range lists {
		start := time.Now()
		a := ask(t, c.URL, http.MethodGet, path, "")
		// The bound of a second is kept on a virtual clock in internal/gateway; here it is shown.
		t.Logf("%s: %d ms", path, time.Since(start).Milliseconds())
		if a.code != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
		if list := path == "/api/tags" || path == "/v1/models"; list && !strings.Contains(a.body, `"emb:latest"`) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}
