package gateway_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"corral/internal/config"
	"corral/ollamatest"
)

// reading hands requests whose body has a word to handle; it answers false to let the instance have them.
func reading(word string, handle func(http.ResponseWriter, *http.Request) bool) func(http.Handler) http.Handler {
	return func(ollama http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if !strings.Contains(string(body), word) || !handle(w, r) {
				ollama.ServeHTTP(w, r)
			}
		})
	}
}

// TestAbandonedStreamIsBounded: a stream whose client left is not listened to for ever when its first byte never
// comes.
func TestAbandonedStreamIsBounded(t *testing.T) {
	in := twoInstances(1)[:1]
	in[0].front = reading("stuck", func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	bubble(t, in, func(g *rig) {
		ctx, cancel := context.WithTimeout(g.Context(), 2*time.Second)
		defer cancel()
		g.do(ctx, http.MethodPost, "/api/chat", streamed("m1", "stuck"))
		g.pass(time.Minute)
		if s := g.fleet.Dispatcher().Snapshot(); s.Running != 0 {
			g.Errorf("a minute after its client left, its slot is taken: %+v", s)
		}
	})
}

// TestRequeuedIsNotShed: a ticket that was granted once keeps its place when the queue is full, all the more after a
// heartbeat has committed status 200.
func TestRequeuedIsNotShed(t *testing.T) {
	var seen atomic.Int64
	in := twoInstances(1)[:1]
	in[0].front = reading("victim", func(w http.ResponseWriter, _ *http.Request) bool {
		if seen.Add(1) > 1 {
			return false
		}
		time.Sleep(time.Second)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	bubbleWaiting(t, in, 1, func(g *rig) {
		busy := g.busy(30 * time.Second)
		var all sync.WaitGroup
		all.Go(func() {
			if a := g.post("/v1/chat/completions", streamed("m1", "victim")); !strings.Contains(a.body, "[DONE]") {
				g.Errorf("%d %q", a.status, a.body)
			}
		})
		g.pass(30*time.Second + 300*time.Millisecond) // it is granted; now another takes the only place in line
		all.Go(func() { g.post("/api/chat", chat("m1", "[[prefill=20s tokens=1]]")) })
		busy.Wait()
		all.Wait()
	})
}

// TestServerMovesUnderItsName: an instance whose URL changes is used at its new one, also when the old server goes
// while both are known.
func TestServerMovesUnderItsName(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		g.post("/api/chat", chat("m1", "x"))
		serve := func(name, addr string, h http.Handler) *url.URL {
			stop, err := g.net.Serve(addr, h)
			if err != nil {
				t.Fatal(err)
			}
			g.stops[name] = stop
			return &url.URL{Scheme: "http", Host: addr}
		}
		next := append([]config.Instance(nil), g.config.Load().Instances...)
		next[0].URL = serve("moved", "127.0.0.1:31000", g.servers["a"])
		// One that does not answer makes the change-over last.
		silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		next = append(next, config.Instance{Name: "silent", URL: serve("silent", "127.0.0.1:31001", silent), Roles: []string{"generate"}})
		g.pass(4 * time.Second) // the old server's next look falls into it
		if err := g.fleet.Apply(next); err != nil {
			t.Fatal(err)
		}
		g.pass(200 * time.Millisecond)
		g.kill("a")
		g.pass(time.Minute)
		ctx, cancel := context.WithTimeout(g.Context(), 10*time.Minute)
		defer cancel()
		if a := g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "x")); a.status != http.StatusOK {
			g.Errorf("%d %v: %+v", a.status, a.err, g.fleet.Dispatcher().Snapshot())
		}
	})
}

// TestEvictedByOwnLoad: what a load of Corral's own has evicted is loaded by Corral again, not by the next client.
func TestEvictedByOwnLoad(t *testing.T) {
	o := ollamatest.Options{MaxLoaded: 1, Engine: ollamatest.Settings{Load: time.Second}}
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		g.post("/api/chat", chat("m1", "x"))
		g.post("/api/chat", chat("m2", "x"))
		ctx, cancel := context.WithTimeout(g.Context(), time.Second/2)
		defer cancel()
		g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "impatient"))
		g.pass(time.Minute)
		if s := g.servers["a"].Stats(); s.FailedLoads != 0 {
			g.Errorf("a client aborted %d loads", s.FailedLoads)
		}
	})
}
