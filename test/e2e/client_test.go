//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
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

// blobPath is where a server keeps a blob, in a Modelfile, and manifestPath where a manifest, in an error.
var (
	blobPath     = regexp.MustCompile(`/[^ "\\\\]*/blobs/`)
	manifestPath = regexp.MustCompile(`/[^ "\\\\]*/models/manifests/`)
)

// normal is a body in which what differs between two runs of the same request is replaced: ids, timestamps and
// durations. Streams stay streams, event by event.
func normal(body string) string {
	body = manifestPath.ReplaceAllString(blobPath.ReplaceAllString(body, "/blobs/"), "/manifests/")
	var lines []string
	for line := range strings.Lines(enginePort.ReplaceAllString(body, "127.0.0.1:N")) {
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

// same fails a test where a client would see a difference between with and without Corral.
func same(t *testing.T, what string, want, got answer) {
	t.Helper()
	for _, d := range differences(want, got) {
		t.Errorf("%s\n %s", what, d)
	}
}

// ownHeader are the headers that need not be equal: what Corral adds, what differs from answer to answer, and what is
// about a connection. TestPreflight looks at Access-Control-Allow-Headers, to which Corral adds its own.
var ownHeader = regexp.MustCompile(`^(X-Corral-.*|X-Request-Id|X-Accel-Buffering|Access-Control-(Expose|Allow)-Headers|Date|Content-Length|Connection)$`)

// differences compares what a client sees with and without Corral: status, the headers that clients read, the body.
func differences(want, got answer) (all []string) {
	differ := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if got.code != want.code {
		differ("status %d through Corral, %d direct\n through %.300s\n direct  %.300s", got.code, want.code, got.body, want.body)
		return all
	}
	names := slices.Sorted(maps.Keys(want.header))
	for _, h := range slices.Sorted(maps.Keys(got.header)) {
		if _, known := want.header[h]; !known {
			names = append(names, h)
		}
	}
	for _, h := range names {
		if ownHeader.MatchString(h) || h == "Cache-Control" && got.header.Get(h) == "no-cache, no-transform" {
			continue // the latter of a stream, on purpose: middle boxes must leave it alone
		}
		if g, w := got.header.Values(h), want.header.Values(h); strings.Join(g, "|") != strings.Join(w, "|") {
			differ("%s: %q through Corral, %q direct", h, g, w)
		}
	}
	if (got.length < 0) != (want.length < 0) {
		differ("Content-Length %d through Corral, %d direct (-1: chunked)", got.length, want.length)
	}
	if (got.err == nil) != (want.err == nil) {
		differ("read: %v through Corral, %v direct", got.err, want.err)
	}
	if g, w := normal(got.body), normal(want.body); g != w {
		differ("through %s\n direct  %s", clip(g), clip(w))
	}
	return all
}

func clip(s string) string {
	if len(s) > 1500 {
		return s[:1500] + "…"
	}
	return s
}
