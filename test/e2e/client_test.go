//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// answer is what a client got.
type answer struct {
	code   int
	header http.Header
	length int64 // Content-Length, -1: chunked
	body   string
	err    error // while connecting or reading
}

// client follows no redirects and holds many connections.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// try sends a request; header is name, value, name, value.
func try(t *testing.T, base, method, path, body string, header ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, resp.ContentLength, string(b), err}
}

// ask is try that must be answered.
func ask(t *testing.T, base, method, path, body string, header ...string) answer {
	t.Helper()
	a := try(t, base, method, path, body, header...)
	if a.err != nil {
		t.Errorf("%s %s: %v", method, path, a.err)
	}
	return a
}

func chat(model, prompt string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]%s}`, model, prompt, strings.Join(more, ""))
}

func streamed(model, prompt string) string { return chat(model, prompt, `,"stream":true`) }

// volatile are the fields that differ between two runs of the same request.
var volatile = regexp.MustCompile(`^(id|item_id|response_id|request_id|created|created_at|completed_at|modified_at|expires_at|.*_duration)$`)

// enginePort is an engine's address in an error text.
var enginePort = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// blobPath is where a server keeps a blob, in a Modelfile.
var blobPath = regexp.MustCompile(`/[^ "\\\\]*/blobs/`)

// normal is a body in which what differs between two runs of the same request is replaced: ids, timestamps and
// durations. Streams stay streams, event by event.
func normal(body string) string {
	var lines []string
	for line := range strings.Lines(blobPath.ReplaceAllString(enginePort.ReplaceAllString(body, "127.0.0.1:N"), "/blobs/")) {
		text := strings.TrimRight(line, "\r\n")
		prefix, data := "", text
		if rest, ok := strings.CutPrefix(text, "data: "); ok {
			prefix, data = "data: ", rest
		}
		var v any
		if json.Unmarshal([]byte(data), &v) == nil {
			if b, err := json.Marshal(scrub(v)); err == nil {
				text = prefix + string(b)
			}
		}
		lines = append(lines, text+line[len(strings.TrimRight(line, "\r\n")):])
	}
	return strings.Join(lines, "")
}

// scrub replaces the values of volatile fields by their types.
func scrub(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, inner := range t {
			if volatile.MatchString(k) {
				t[k] = fmt.Sprintf("<%T>", inner)
			} else {
				t[k] = scrub(inner)
			}
		}
	case []any:
		for i := range t {
			t[i] = scrub(t[i])
		}
	}
	return v
}

// same compares what a client sees with and without Corral: status, the headers that clients read, the body.
func same(t *testing.T, what string, want, got answer) {
	t.Helper()
	if got.code != want.code {
		t.Errorf("%s\n status %d through Corral, %d direct\n through %.300s\n direct  %.300s", what, got.code, want.code, got.body, want.body)
		return
	}
	for _, h := range []string{"Content-Type", "Cache-Control", "Allow", "Location", "Content-Encoding", "Transfer-Encoding"} {
		if h == "Cache-Control" && got.header.Get(h) == "no-cache, no-transform" {
			continue // of a stream, on purpose: middle boxes must leave it alone
		}
		if g, w := got.header.Values(h), want.header.Values(h); strings.Join(g, "|") != strings.Join(w, "|") {
			t.Errorf("%s\n %s: %q through Corral, %q direct", what, h, g, w)
		}
	}
	if (got.length < 0) != (want.length < 0) {
		t.Errorf("%s\n Content-Length %d through Corral, %d direct (-1: chunked)", what, got.length, want.length)
	}
	if (got.err == nil) != (want.err == nil) {
		t.Errorf("%s\n read: %v through Corral, %v direct", what, got.err, want.err)
	}
	if g, w := normal(got.body), normal(want.body); g != w {
		t.Errorf("%s\n through %s\n direct  %s", what, clip(g), clip(w))
	}
}

func clip(s string) string {
	if len(s) > 1500 {
		return s[:1500] + "…"
	}
	return s
}
