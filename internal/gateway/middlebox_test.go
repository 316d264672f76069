package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// old asks as a proxy does that speaks HTTP/1.0, nginx with its default settings among them, and returns all that
// came back, and how it ended.
func (g *rig) old(path, body string) (string, error) {
	conn, err := g.net.DialContext(g.Context(), "tcp", corralAddr)
	if err != nil {
		g.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: python-httpx/0.27\r\nContent-Length: %d\r\n\r\n%s",
		path, len(body), body)
	all, err := io.ReadAll(conn)
	return string(all), err
}

// TestMiddleBoxes: nothing between Corral and its client may hold back or change a stream.
func TestMiddleBoxes(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		untouched := func(what string, a answer, stream bool) {
			g.Helper()
			accel, cache := a.header.Get("X-Accel-Buffering"), a.header.Get("Cache-Control")
			if stream != (accel == "no") || stream != strings.Contains(cache, "no-transform") {
				g.Errorf("%s: X-Accel-Buffering %q, Cache-Control %q", what, accel, cache)
			}
		}
		untouched("stream", g.post("/v1/chat/completions", streamed("m1", "x")), true)
		untouched("NDJSON", g.post("/api/chat", streamed("m1", "x")), true)
		untouched("plain", g.post("/api/chat", chat("m1", "x")), false)
		untouched("error instead of a stream", g.post("/api/chat", streamed("absent", "x")), false)
		busy := g.busy(20 * time.Second)
		untouched("stream after heartbeats", g.post("/api/chat", streamed("m1", "x")), true)
		busy.Wait()
	})
}

// TestHTTP10: a client of HTTP/1.0 hears heartbeats too, never 102, and a failure after them is an error.
func TestHTTP10(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		busy := g.busy(50 * time.Second)
		all, err := g.old("/api/chat", chat("m1", "hello"))
		busy.Wait()
		head, body, _ := strings.Cut(all, "\r\n\r\n")
		if err != nil || !strings.HasPrefix(head, "HTTP/1.0 200") || !strings.HasPrefix(body, "   {") {
			g.Errorf("%v %q", err, all)
		}
		busy = g.busy(50 * time.Second)
		all, err = g.old("/v1/chat/completions", streamed("m1", "hello"))
		busy.Wait()
		if err != nil || !strings.Contains(all, "\r\n\r\n: keep-alive\n\n") || !strings.HasSuffix(all, "data: [DONE]\n\n") {
			g.Errorf("%v %q", err, all)
		}
		busy = g.busy(50 * time.Second)
		all, err = g.old("/api/chat", chat("m1", "[[fail=0]]"))
		busy.Wait()
		if err == nil {
			g.Errorf("a failure reads as a whole answer: %q", all)
		}
		if r := g.last(); r.Outcome != "failed" || r.Status != http.StatusOK {
			g.Errorf("recorded as %s, status %d", r.Outcome, r.Status)
		}
	})
}
