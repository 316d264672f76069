//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// runCorral runs corral to its end.
func runCorral(t *testing.T, dir string, env []string, args ...string) (code int, output string) {
	t.Helper()
	cmd := command(dir, env, args...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	})
	defer stop()
	out, err := cmd.CombinedOutput()
	if ended := new(exec.ExitError); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("corral %q did not end:\n%s", args, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestZeroConfig: without configuration Corral finds Ollama by OLLAMA_HOST, says what it found and where to point, and
// the first command it offers works as it stands.
func TestZeroConfig(t *testing.T) {
	for _, host := range []string{direct.addr(), direct.URL, "0.0.0.0:" + direct.addr()[strings.LastIndexByte(direct.addr(), ':')+1:]} {
		c := newCorral(t, "", []string{"OLLAMA_HOST=" + host})
		c.awaitOutput(t, "Try:")
		out := c.output()
		for _, want := range []string{
			"one endpoint in front of 1 Ollama instance", "Ollama 0.0.0, generate and embed, 2 models, 1 slot", direct.addr(),
			c.URL, c.URL + "/v1", "host.docker.internal", "corral serve --listen 0.0.0.0:",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("OLLAMA_HOST=%s: no %q in\n%s", host, want, out)
			}
		}
		try := regexp.MustCompile(`Try: +curl (http://\S+) -d '(.*)'`).FindStringSubmatch(out)
		if try == nil {
			t.Fatalf("no command in\n%s", out)
		}
		if a := ask(t, "", http.MethodPost, try[1], try[2]); a.code != http.StatusOK || !strings.Contains(a.body, `"done":true`) {
			t.Errorf("%s: %d %s", try[0], a.code, a.body)
		}
	}
}

// TestPortInUse: the message says who and what to do.
func TestPortInUse(t *testing.T) {
	code, out := runCorral(t, t.TempDir(), []string{"OLLAMA_HOST=" + direct.addr()}, "serve", "--listen", shared.addr)
	if code != 1 || !strings.Contains(out, "port in use") || !strings.Contains(out, shared.addr) || !strings.Contains(out, "--listen") {
		t.Errorf("%d %s", code, out)
	}
}

// TestLoop: a Corral in front of itself or of another one is refused at the start, with the remedy.
func TestLoop(t *testing.T) {
	own, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	port := own[strings.LastIndexByte(own, ':')+1:]
	const byEnv, byFile = "CORRAL_INSTANCES=http://127.0.0.1:11434", "`instances`"
	for _, c := range []struct{ name, listen, env, config, remedy string }{
		{"OLLAMA_HOST is itself", own, "OLLAMA_HOST=" + own, "", byEnv},
		{"OLLAMA_HOST is itself by name", own, "OLLAMA_HOST=http://localhost:" + port, "", byEnv},
		{"OLLAMA_HOST is another", own, "OLLAMA_HOST=" + shared.addr, "", byEnv},
		{"an instance is itself", own, "", "instances: [{url: http://" + own + "}]", ""},
		{"an instance is itself by name", own, "", "instances: [{url: http://localhost:" + port + "}]", ""},
		{"an instance is itself on all addresses", "0.0.0.0:" + port, "", "instances: [{url: http://127.0.0.1:" + port + "}]", ""},
		{"an instance is another", own, "", "instances: [{url: " + direct.URL + "}, {url: " + shared.URL + "}]", byFile},
	} {
		dir := t.TempDir()
		args := []string{"serve", "--listen", c.listen}
		if c.config != "" {
			path := filepath.Join(dir, "corral.yaml")
			if err := os.WriteFile(path, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--config", path)
		}
		code, out := runCorral(t, dir, []string{c.env}, args...)
		if code != 1 || !strings.Contains(out, c.remedy) || !strings.Contains(out, "Corral") {
			t.Errorf("%s: exit %d, want 1 and %q:\n%s", c.name, code, c.remedy, out)
		}
	}
}

// TestConfigurationErrors: a mistake is shown with its line, a caret and what was meant, by serve and by check.
func TestConfigurationErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "corral.yaml")
	text := "listen: 127.0.0.1:0\ninstances:\n  - {name: a, url: " + direct.URL + ", slot: 4}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve"}, {"serve", "--config", path}, {"check", "--config", path}} {
		code, out := runCorral(t, dir, nil, args...)
		lines := strings.Split(out, "\n")
		caret, column := -1, strings.Index(strings.Split(text, "\n")[2], "slot:")
		for i, line := range lines {
			if strings.HasSuffix(line, "^") || strings.Contains(line, "^^") {
				caret = i
			}
		}
		if code != 1 || !strings.Contains(out, `corral.yaml:3:`) || !strings.Contains(out, `unknown key "slot"`) || !strings.Contains(out, `"slots"`) {
			t.Errorf("%v: %d\n%s", args, code, out)
		}
		if caret < 1 || strings.Index(lines[caret], "^") != strings.Index(lines[caret-1], "slot:") || column < 0 {
			t.Errorf("%v: the caret is not below the key:\n%s", args, out)
		}
	}
	code, out := runCorral(t, t.TempDir(), []string{"CORRAL_LISTN=x"}, "serve")
	if code != 1 || !strings.Contains(out, "CORRAL_LISTEN") {
		t.Errorf("a mistyped variable: %d\n%s", code, out)
	}
}

// TestCheck: every instance is asked; one that cannot be used makes the check fail.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	code, out := runCorral(t, dir, []string{"CORRAL_INSTANCES=one=" + langA.URL + ",two=" + embedE.URL}, "check")
	if code != 0 || !strings.Contains(out, "m:latest") || !strings.Contains(out, "emb:latest") {
		t.Errorf("%d\n%s", code, out)
	}
	nobody, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	code, out = runCorral(t, dir, []string{"CORRAL_INSTANCES=one=" + langA.URL + ",two=http://" + nobody + ",three=" + shared.URL}, "check")
	if code != 1 || !strings.Contains(out, "not usable") || !strings.Contains(out, "it is a Corral") || !strings.Contains(out, "2 of 3") {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestSecrets: a header of an instance, read from a file, reaches the instance and nothing else; a client's key reaches
// nobody.
func TestSecrets(t *testing.T) {
	const secret, clientKey = "hunter2-instance-token", "sk-client-key"
	target, err := url.Parse(langA.URL)
	if err != nil {
		t.Fatal(err)
	}
	var refused, leaked atomic.Int32
	var down atomic.Bool
	forward := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	guard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if strings.Contains(fmt.Sprint(r.Header), clientKey) {
			leaked.Add(1)
		}
		switch {
		case r.Header.Get("Authorization") != "Bearer "+secret:
			refused.Add(1)
			http.Error(w, `{"error":"unauthorized"}`, http.StatusUnauthorized)
		case down.Load() && strings.Contains(string(body), "[[tokens"): // loads go on: without them requests would wait for the instance
			panic(http.ErrAbortHandler)
		default:
			forward.ServeHTTP(w, r)
		}
	}))
	defer guard.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("Bearer "+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("instances: [{name: guarded, url: %s, slots: 2, headers: {Authorization: \"file:%s\"}}]\n", guard.URL, filepath.Join(dir, "token"))
	c := newCorral(t, config, nil, "-v")
	c.awaitUp(t, 1)
	for _, q := range generating("m", "[[tokens=2]]", "") {
		if a := ask(t, c.URL, q.method, q.path, q.body, "Authorization", "Bearer "+clientKey, "X-Api-Key", clientKey); a.code != http.StatusOK {
			t.Errorf("%s: %d %s", q.path, a.code, a.body)
		}
	}
	shown := c.secretPlaces(t)
	down.Store(true)
	for _, q := range generating("m", "[[tokens=2]]", "") {
		a := ask(t, c.URL, q.method, q.path, q.body, "Authorization", "Bearer "+clientKey)
		if a.code != http.StatusBadGateway {
			t.Errorf("%s of a broken instance: %d %s", q.path, a.code, a.body)
		}
		shown += fmt.Sprint(a.header) + a.body
	}
	c.signal(t, syscall.SIGHUP)
	c.awaitOutput(t, "configuration")
	shown += c.secretPlaces(t)
	_, checked := runCorral(t, c.dir, nil, "check", "--config", filepath.Join(c.dir, "corral.yaml"))
	shown += checked + c.output()
	for _, s := range []string{secret, clientKey} {
		if i := strings.Index(shown, s); i >= 0 {
			t.Errorf("%s is shown: …%s…", s, shown[max(0, i-200):min(len(shown), i+100)])
		}
	}
	if refused.Load() > 0 || leaked.Load() > 0 {
		t.Errorf("%d requests came without the instance's header, %d with the client's key", refused.Load(), leaked.Load())
	}
}

// secretPlaces is everything that Corral shows over HTTP.
func (c *corral) secretPlaces(t *testing.T) (all string) {
	t.Helper()
	for _, path := range []string{"/metrics", "/corral/api/status", "/healthz", "/readyz", "/corral/"} {
		a := try(t, c.URL, http.MethodGet, path, "")
		all += fmt.Sprint(a.header) + a.body
	}
	return all
}

// TestMetrics: what operators watch is there.
func TestMetrics(t *testing.T) {
	ask(t, shared.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=2]]"))
	body := ask(t, shared.URL, http.MethodGet, "/metrics", "").body
	for _, want := range []string{
		"# TYPE corral_running gauge", "# TYPE corral_requests_total counter", "# TYPE corral_slots gauge",
		`corral_instance_up{instance="a"`, "corral_wait_seconds_bucket", "process_resident_memory_bytes",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, "[[tokens") {
		t.Error("a prompt is in the metrics")
	}
}

// stream begins a streamed answer that takes a while and returns once its first byte is there; the function returned
// reads the rest.
func (c *corral) stream(t *testing.T, prompt string) (rest func() (string, error)) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/api/chat", strings.NewReader(streamed("m", prompt)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(resp.Body, first); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v", resp.Status, err)
	}
	return func() (string, error) {
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(first) + string(b), err
	}
}

// TestDrain: SIGTERM lets running and waiting requests end and takes no new ones; the exit status is 0.
func TestDrain(t *testing.T) {
	c := newCorral(t, strings.Replace(configOf(langA), "slots: 2", "slots: 1", 1), nil)
	c.awaitUp(t, 1)
	running := c.stream(t, "[[tokens=30 each=50ms say=running]]")
	waited := make(chan answer, 1)
	go func() {
		waited <- try(t, c.URL, http.MethodPost, "/v1/chat/completions", chat("m", "[[tokens=2 say=waited]]"))
	}()
	c.awaitQueue(t, 1, 1)
	c.signal(t, syscall.SIGTERM)
	c.awaitOutput(t, "draining")
	eventually(t, func() error {
		if a := try(t, c.URL, http.MethodGet, "/healthz", "", "Connection", "close"); a.err == nil {
			return fmt.Errorf("a new request is answered: %d", a.code)
		}
		return nil
	})
	if body, err := running(); err != nil || !strings.Contains(body, `"done":true`) {
		t.Errorf("the running request: %v %s", err, body)
	}
	if a := <-waited; a.err != nil || a.code != http.StatusOK || !strings.Contains(a.body, "waited") {
		t.Errorf("the waiting request: %d %v %s", a.code, a.err, a.body)
	}
	if code := c.wait(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// TestSecondSignal ends at once what would never end; a drain has a limit.
func TestSecondSignal(t *testing.T) {
	c := newCorral(t, configOf(langA), nil, "--drain", "1h")
	c.awaitUp(t, 1)
	c.busy(t, 1)
	c.signal(t, syscall.SIGTERM)
	c.awaitOutput(t, "draining")
	c.signal(t, syscall.SIGTERM)
	if code := c.wait(t); code == 0 {
		t.Error("exit status 0 although a request was cut")
	}
	c = newCorral(t, configOf(langB), nil, "--drain", (300 * time.Millisecond).String())
	c.awaitUp(t, 1)
	c.busy(t, 1)
	c.signal(t, syscall.SIGINT)
	if code := c.wait(t); code != 1 || !strings.Contains(c.output(), "1 running and 0 waiting requests were cut") {
		t.Errorf("exit status %d\n%s", code, c.output())
	}
}
