package gateway_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"corral/internal/fleet"
	"corral/internal/lane"
	"corral/internal/relay"
)

// refusing answers the first n chats with a status, and passes on the rest.
func refusing(status int, n int64, seen *atomic.Int64) func(http.Handler) http.Handler {
	return func(ollama http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/chat") && seen.Add(1) <= n {
				w.WriteHeader(status)
				return
			}
			ollama.ServeHTTP(w, r)
		})
	}
}

// TestBusyGoesElsewhere: an instance that answers 503 has done no work: another one does it, free of charge.
func TestBusyGoesElsewhere(t *testing.T) {
	var seen atomic.Int64
	in := twoInstances(1)
	in[0].front = refusing(http.StatusServiceUnavailable, 1, &seen)
	bubble(t, in, func(g *rig) {
		a := g.post("/api/chat", chat("m1", "x"))
		if a.status != http.StatusOK || a.header.Get("X-Corral-Instance") != "b" || a.header.Get("X-Corral-Attempts") != "2" {
			g.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	})
}

// TestBusyBacksOff: a single instance that goes on answering 503 is asked ever more rarely, not in a tight loop,
// and the client gets its answer when it gives in.
func TestBusyBacksOff(t *testing.T) {
	var seen atomic.Int64
	in := twoInstances(1)[:1]
	in[0].front = refusing(http.StatusServiceUnavailable, 8, &seen)
	bubble(t, in, func(g *rig) {
		a := g.post("/api/chat", chat("m1", "x"))
		if a.status != http.StatusOK || seen.Load() != 9 {
			g.Errorf("%d after %d attempts", a.status, seen.Load())
		}
		if a.at < time.Minute || a.at > 5*time.Minute {
			g.Errorf("9 attempts took %s", a.at)
		}
	})
}

// TestErrorsPass: what an instance answers reaches the client as it is, and is not repeated elsewhere.
func TestErrorsPass(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusTooManyRequests, http.StatusInternalServerError} {
		var seen atomic.Int64
		in := twoInstances(1)
		in[0].front = refusing(status, 1, &seen)
		bubble(t, in, func(g *rig) {
			if a := g.post("/api/chat", chat("m1", "x")); a.status != status || g.last().Attempts != 1 {
				g.Errorf("%d after %d attempts, want %d", a.status, g.last().Attempts, status)
			}
		})
	}
}

// cutting breaks the connection of every chat.
func cutting(ollama http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/chat") || strings.HasSuffix(r.URL.Path, "/completions") {
			panic(http.ErrAbortHandler)
		}
		ollama.ServeHTTP(w, r)
	})
}

// TestBrokenBeforeAnswer: a request whose instance breaks the connection before it answers is tried once more,
// elsewhere; then the client is told.
func TestBrokenBeforeAnswer(t *testing.T) {
	in := twoInstances(1)
	in[0].front = cutting
	bubble(t, in, func(g *rig) {
		a := g.post("/v1/chat/completions", chat("m1", "x"))
		if a.status != http.StatusOK || a.header.Get("X-Corral-Instance") != "b" || a.header.Get("X-Corral-Attempts") != "2" {
			g.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	})
	in[1].front = cutting
	bubble(t, in, func(g *rig) {
		a := g.post("/v1/chat/completions", chat("m1", "x"))
		if a.status != http.StatusBadGateway || !strings.Contains(a.body, "instance b broke the connection") || !strings.Contains(a.body, `"type":"api_error"`) {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestInstanceDiesInBurst: an instance that dies in the middle of a burst loses nothing that had not answered.
func TestInstanceDiesInBurst(t *testing.T) {
	bubble(t, twoInstances(2), func(g *rig) {
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				if a := g.post("/api/chat", chat("m1", "[[tokens=1 prefill=1s]]")); a.status != http.StatusOK {
					g.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		g.pass(3500 * time.Millisecond)
		g.kill("a")
		all.Wait()
	})
}

// TestFullQueue: bounds are told in the dialect's words.
func TestFullQueue(t *testing.T) {
	in := twoInstances(1)[:1]
	bubbleWaiting(t, in, 1, func(g *rig) {
		busy := g.busy(30 * time.Second)
		var all sync.WaitGroup
		all.Go(func() { g.post("/api/chat", chat("m1", "waits")) })
		g.pass(time.Second)
		a := g.post("/api/chat", chat("m1", "too many"))
		if a.status != http.StatusServiceUnavailable || a.body != `{"error":"server busy, please try again.  maximum pending requests exceeded"}` {
			g.Errorf("%d %s", a.status, a.body)
		}
		a = g.post("/v1/chat/completions", chat("m1", "too many"))
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			g.Errorf("%d %v %s", a.status, a.header, a.body)
		}
		all.Wait()
		busy.Wait()
	})
}

// TestLoadThatHangs: an instance stuck in a load is not stuck for ever: its other models go on after a while.
func TestLoadThatHangs(t *testing.T) {
	in := twoInstances(1)[:1]
	in[0].front = func(ollama http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.URL.Path == "/api/generate" && strings.Contains(string(body), `"m2`) {
				<-r.Context().Done()
				return
			}
			ollama.ServeHTTP(w, r)
		})
	}
	bubble(t, in, func(g *rig) {
		g.post("/api/chat", chat("m1", "x"))
		ctx, leave := context.WithCancel(g.Context())
		var all sync.WaitGroup
		all.Go(func() { g.do(ctx, http.MethodPost, "/api/chat", chat("m2", "x")) })
		g.pass(time.Minute) // now the load has the instance to itself
		all.Go(func() {
			if a := g.post("/api/chat", chat("m1", "x")); a.status != http.StatusOK || a.at > time.Hour {
				g.Errorf("%d after %s", a.status, a.at)
			}
		})
		g.pass(time.Minute)
		leave()
		all.Wait()
	})
}

// TestPanicCostsNoSlot: a bug that ends a request leaves its slot free.
func TestPanicCostsNoSlot(t *testing.T) {
	in := twoInstances(1)[:1]
	bubble(t, in, func(g *rig) {
		g.desk.Fleet = panicking{g.fleet}
		if a := g.post("/api/chat", chat("m1", "x")); a.err == nil {
			g.Errorf("%d", a.status)
		}
		g.desk.Fleet = g.fleet
		if a := g.post("/api/chat", chat("m1", "x")); a.status != http.StatusOK {
			g.Errorf("%d", a.status)
		}
	})
}

// panicking is a fleet whose instances' transport has a bug.
type panicking struct{ *fleet.Fleet }

func (p panicking) Target(id lane.ID) *relay.Target {
	t := *p.Fleet.Target(id)
	t.Client = bug{}
	return &t
}

type bug struct{}

func (bug) RoundTrip(*http.Request) (*http.Response, error) { panic(http.ErrAbortHandler) }

// TestLoadsThatBreakBackOff: an instance that answers questions but breaks every load is asked ever more rarely.
func TestLoadsThatBreakBackOff(t *testing.T) {
	var loads atomic.Int64
	in := twoInstances(1)[:1]
	in[0].front = func(ollama http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/generate" {
				loads.Add(1)
				panic(http.ErrAbortHandler)
			}
			ollama.ServeHTTP(w, r)
		})
	}
	bubble(t, in, func(g *rig) {
		ctx, cancel := context.WithTimeout(g.Context(), 5*time.Minute)
		defer cancel()
		g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "x"))
		if n := loads.Load(); n < 5 || n > 30 {
			g.Errorf("%d loads in five minutes", n)
		}
	})
}

// TestCompressedBodies: a zstd body waits for a slot like any other, and one that is none gets Ollama's words.
func TestCompressedBodies(t *testing.T) {
	bubble(t, twoInstances(1)[:1], func(g *rig) {
		encoder, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		packed := string(encoder.EncodeAll([]byte(chat("m1", "x")), nil))
		if err := encoder.Close(); err != nil {
			t.Fatal(err)
		}
		busy := g.busy(10 * time.Second)
		a := g.post("/v1/chat/completions", packed, "Content-Encoding", "zstd")
		busy.Wait()
		if a.status != http.StatusOK || a.at < 10*time.Second {
			g.Errorf("%d after %s: %s", a.status, a.at, a.body)
		}
		if r, _ := g.servers["a"].Last("/v1/chat/completions"); r.Header.Get("Content-Encoding") != "" {
			g.Errorf("sent on as %q", r.Header.Get("Content-Encoding"))
		}
		if a := g.post("/v1/chat/completions", "no zstd", "Content-Encoding", "zstd"); a.status != http.StatusBadRequest {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}
