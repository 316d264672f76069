package demo

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"corral/ollamatest"
)

// exchange is one post of a client with a 3 s timeout to a handler, in virtual time.
type exchange struct {
	answer  string
	failure *failure
	took    time.Duration
	headers []http.Header // of the attempts that arrived
	tried   int64
}

func do(t *testing.T, handler http.HandlerFunc) exchange {
	t.Helper()
	var e exchange
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var network ollamatest.Net
		if handler != nil {
			stop, err := network.Serve("ollama:1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				mu.Lock()
				e.headers = append(e.headers, r.Header.Clone())
				mu.Unlock()
				handler(w, r)
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
		}
		c := newClient(clientOptions{timeout: 3 * time.Second, speed: 1, dial: network.DialContext})
		defer c.close()
		start := time.Now()
		answer, f := c.post(t.Context(), "http://ollama:1/v1/chat/completions", []byte("{}"))
		mu.Lock()
		defer mu.Unlock()
		e.answer, e.failure, e.took, e.tried = string(answer), f, time.Since(start), c.attempts.Load()
	})
	return e
}

// fails checks the kind of a failure and the number of attempts.
func (e exchange) fails(t *testing.T, want kind, attempts int64) {
	t.Helper()
	if e.failure == nil || e.failure.kind != want || e.tried != attempts {
		t.Errorf("%d attempts ended in %v, want %d and %s", e.tried, e.failure, attempts, kindNames[want])
	}
}

// answers checks that an answer came at a time.
func (e exchange) answers(t *testing.T, want string, attempts int64, took time.Duration) {
	t.Helper()
	if e.failure != nil || e.answer != want || e.tried != attempts || e.took != took {
		t.Errorf("after %s and %d attempts: %q, %v; want %q after %s and %d", e.took, e.tried, e.answer, e.failure, want, took, attempts)
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestSilenceIsATimeoutAndTriedAgain(t *testing.T) {
	e := do(t, hang)
	e.fails(t, timedOut, 3)
	// Three times 3 s, and pauses of 0.5 s and 1 s less up to a quarter.
	if low, high := 10125*time.Millisecond, 10500*time.Millisecond; e.took < low || e.took > high {
		t.Errorf("took %s, want %s to %s", e.took, low, high)
	}
	var counts []string
	for _, h := range e.headers {
		counts = append(counts, h.Get("X-Stainless-Retry-Count"))
		if got := h.Get("X-Stainless-Read-Timeout"); got != "3" {
			t.Errorf("announces a timeout of %q s", got)
		}
	}
	if !slices.Equal(counts, []string{"0", "1", "2"}) {
		t.Errorf("retry counts %q", counts)
	}
}

func TestAnyByteIsLife(t *testing.T) {
	// 102 Processing, more often than net/http would take by itself.
	do(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			time.Sleep(2 * time.Second)
			w.WriteHeader(http.StatusProcessing)
		}
		_, _ = io.WriteString(w, "late")
	}).answers(t, "late", 1, 20*time.Second)

	// Spaces before the body.
	do(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 4 {
			time.Sleep(2 * time.Second)
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, "late")
	}).answers(t, "    late", 1, 8*time.Second)
}

func TestSilenceWithinTheBodyIsATimeout(t *testing.T) {
	do(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	}).fails(t, timedOut, 3)
}

func TestTimeoutBeginsWithTheRequest(t *testing.T) {
	// The connection is used again after a long pause: that silence does not count.
	first := true
	do(t, func(w http.ResponseWriter, _ *http.Request) {
		if first {
			first = false
			w.Header().Set("Retry-After", "2.5")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		time.Sleep(2 * time.Second)
		_, _ = io.WriteString(w, "ok")
	}).answers(t, "ok", 2, 4500*time.Millisecond)
}

func TestWhichStatusesAreTriedAgain(t *testing.T) {
	f := func(status int, want kind, attempts int64, header ...string) {
		t.Helper()
		do(t, func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}).fails(t, want, attempts)
	}
	f(503, busy, 3)
	f(500, refused, 3)
	f(502, refused, 3)
	f(429, refused, 3)
	f(409, refused, 3)
	f(408, refused, 3)
	f(400, refused, 1)
	f(404, refused, 1)
	f(503, busy, 1, "X-Should-Retry", "false")
	f(400, refused, 3, "X-Should-Retry", "true")
}

func TestRetryAfter(t *testing.T) {
	f := func(name, value string, low, high time.Duration) {
		t.Helper()
		first := true
		e := do(t, func(w http.ResponseWriter, _ *http.Request) {
			if first {
				first = false
				w.Header().Set(name, value)
				w.WriteHeader(http.StatusTooManyRequests)
			}
		})
		if e.failure != nil || e.took < low || e.took > high {
			t.Errorf("%s: %s: waited %s, want %s to %s (%v)", name, value, e.took, low, high, e.failure)
		}
	}
	own := 500 * time.Millisecond
	f("Retry-After", "7", 7*time.Second, 7*time.Second)
	f("Retry-After-Ms", "700", 700*time.Millisecond, 700*time.Millisecond)
	f("Retry-After", "61", own*3/4, own) // the SDK does not wait that long
	f("Retry-After", "0", own*3/4, own)
	f("Retry-After", "soon", own*3/4, own)
}

func TestBrokenConnections(t *testing.T) {
	do(t, nil).fails(t, broken, 3) // nobody listens
	do(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}).fails(t, broken, 3)
}

func TestPausesShrinkWithTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrUnexpectedEOF }
		c := newClient(clientOptions{timeout: time.Second, speed: 50, dial: refuse})
		start := time.Now()
		_, f := c.post(t.Context(), "http://ollama:1/", nil)
		if took := time.Since(start); f == nil || took > 30*time.Millisecond || took < 22*time.Millisecond {
			t.Errorf("%v after %s, want 1.5 s / 50 less up to a quarter", f, took)
		}
	})
}

func TestCancelEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		refuse := func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrUnexpectedEOF }
		c := newClient(clientOptions{timeout: time.Second, speed: 1, dial: refuse})
		start := time.Now()
		if _, f := c.post(ctx, "http://ollama:1/", nil); f == nil || time.Since(start) != 100*time.Millisecond {
			t.Errorf("%v after %s", f, time.Since(start))
		}
	})
}
