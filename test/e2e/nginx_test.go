//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newNginx starts nginx in front of a server, with its default settings and what server adds to them, and returns its
// URL. It also compresses whatever it can, as many are set up to.
func newNginx(t *testing.T, upstream, server string) (base string) {
	t.Helper()
	binary := nginxBinary(t)
	addr, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the folder is ours alone
	}
	config := fmt.Sprintf(`%s
daemon off;
pid %[2]s/pid;
error_log %[2]s/error.log;
events {}
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	gzip on;
	gzip_proxied any;
	gzip_types *;
	server {
		listen %[3]s;
		%[4]s
		location / {
			proxy_pass %[5]s;
		}
	}
}
`, user, dir, addr, server, upstream)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := inGroup(t, exec.Command(binary, "-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", path))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("error log of nginx:\n%s", tail(filepath.Join(dir, "error.log")))
		}
	})
	base = "http://" + addr
	eventually(t, func() error { return try(t, base, http.MethodGet, "/", "").err })
	return base
}

// nginxBinary finds nginx, or installs it where that is possible.
func nginxBinary(t *testing.T) string {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		t.Skip("install nginx to run this test")
	}
	// RUNLEVEL=1 keeps the package from starting a server of its own.
	install := exec.CommandContext(t.Context(), "sh", "-c", "apt-get update -q && RUNLEVEL=1 apt-get install -qy --no-install-recommends nginx-light")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install nginx: %v\n%s", err, out)
	}
	return "/usr/sbin/nginx"
}

// TestNginxPassesStreams: an nginx that nobody has set up for streams passes every token on when it comes, though it
// buffers by default and is told to compress, and a client that leaves frees its slot through it.
func TestNginxPassesStreams(t *testing.T) {
	c := newCorral(t, configOf(langA, langB), nil)
	c.awaitUp(t, 2)
	base := newNginx(t, c.URL, "")
	const prompt = "[[tokens=9 stall=2]]" // two tokens come, and never another one
	for path, body := range map[string]string{
		"/api/chat":            streamed("m", prompt),
		"/v1/chat/completions": streamed("m", prompt),
		"/v1/messages":         streamed("m", prompt)[:len(streamed("m", prompt))-1] + `,"max_tokens":99}`,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			cancel()
			t.Errorf("%s: %v", path, err)
			continue
		}
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || strings.TrimSpace(line) == "" {
			t.Errorf("%s: %v after the first line %q", path, err, line)
		}
		if !resp.Uncompressed {
			t.Errorf("%s: nginx did not compress it: this shows less than it could", path)
		}
		cancel()
		_ = resp.Body.Close()
	}
	c.awaitQueue(t, 0, 0)
}

// impatience is nginx's proxy_read_timeout here, for its default of 60 s. Beats come three times in it.
const impatience = 2 * time.Second

// TestNginxWaits: requests wait behind an nginx for several times its proxy_read_timeout and are answered; one that
// fails then is told so. The same nginx gives up on an Ollama that is as busy.
func TestNginxWaits(t *testing.T) {
	c := newCorral(t, configOf(langA, langB), nil)
	c.awaitUp(t, 2)
	free := c.busy(t, 2*slots)
	defer free()
	timeout := fmt.Sprintf("proxy_read_timeout %ds;", int(impatience.Seconds()))
	fronts := map[string]string{
		"default": newNginx(t, c.URL, timeout),
		"HTTP/1.1": newNginx(t, c.URL, timeout+
			" proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"),
	}
	direct := newNginx(t, langA.URL, timeout)

	type result struct {
		what   string
		fails  bool
		answer answer
	}
	const answered, failing = "[[tokens=3 say=here]]", "[[fail]]"
	var count int
	results := make(chan result)
	send := func(what, base, path, body string, fails bool) {
		count++
		go func() {
			// As OpenAI's Python client announces itself, which takes 102 from whoever speaks to it.
			a := try(t, base, http.MethodPost, path, body, "User-Agent", "OpenAI/Python 2.0.0", "X-Stainless-Read-Timeout", "2")
			results <- result{what, fails, a}
		}()
	}
	for name, base := range fronts {
		for _, path := range []string{"/api/chat", "/v1/chat/completions"} {
			for kind, body := range map[string]func(prompt string) string{
				"plain":  func(prompt string) string { return chat("m", prompt, `,"stream":false`) },
				"stream": func(prompt string) string { return streamed("m", prompt) },
			} {
				send(name+" "+path+" "+kind, base, path, body(answered), false)
				send(name+" "+path+" "+kind+" that fails", base, path, body(failing), true)
			}
		}
	}
	// All of them wait while one whose instance is as busy is given up.
	if a := try(t, direct, http.MethodPost, "/api/chat", chat("m", answered, `,"stream":false`)); a.code != http.StatusGatewayTimeout {
		t.Errorf("direct: %d %v %s: its timeout shows nothing", a.code, a.err, a.body)
	}
	c.awaitQueue(t, count, 2*slots)
	witness(t, c)
	free()
	for range count {
		r := <-results
		body := clip(r.answer.body)
		told := r.answer.err != nil || r.answer.code != http.StatusOK || strings.Contains(body, "error")
		switch {
		case r.fails && !told:
			t.Errorf("%s: taken for an answer: %s", r.what, body)
		case !r.fails && (r.answer.err != nil || r.answer.code != http.StatusOK || !strings.Contains(body, "here")):
			t.Errorf("%s: %d %v %s", r.what, r.answer.code, r.answer.err, body)
		}
	}
}
