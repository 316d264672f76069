package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"corral/ollamatest"
)

// echo makes every answer say whose it is.
func echo(_, prompt string) string { return "to " + prompt }

func twoInstances(slots int) []instance {
	o := ollamatest.Options{NumParallel: slots, Reply: echo}
	return []instance{{name: "a", options: o, slots: slots}, {name: "b", options: o, slots: slots}}
}

// TestBurst: hundreds of calls at once on two instances are all answered, each with its own answer, nothing
// waits inside Ollama, and the slots stay busy: one second of work, eight slots.
func TestBurst(t *testing.T) {
	bubble(t, twoInstances(4), func(g *rig) {
		const calls = 400
		var all sync.WaitGroup
		for i := range calls {
			all.Go(func() {
				prompt := fmt.Sprintf("client %d [[tokens=10 prefill=500ms each=50ms]]", i)
				path, body := "/v1/chat/completions", chat("m1", prompt)
				if i%2 == 0 {
					path, body = "/api/chat", streamed("m1", prompt)
				}
				a := g.post(path, body)
				if a.err != nil || a.status != http.StatusOK {
					g.Errorf("client %d: %d %v %s", i, a.status, a.err, a.body)
				}
				var said strings.Builder
				for _, word := range strings.Fields(fmt.Sprintf("client %d ", i)) {
					if !strings.Contains(a.body, word) {
						said.WriteString(word)
					}
				}
				if said.Len() > 0 {
					g.Errorf("client %d got somebody else's answer: %s", i, a.body)
				}
			})
		}
		all.Wait()
		ideal := calls * time.Second / 8
		if took := time.Since(g.start); took > ideal*105/100+time.Second {
			g.Errorf("%d calls took %s, ideal %s", calls, took, ideal)
		}
		for name, s := range g.servers {
			if peak := s.Stats().PeakFlight["m1"]; peak != 4 {
				g.Errorf("%s ran %d at once, want 4", name, peak)
			}
			if loads := s.Stats().Loads; loads != 1 {
				g.Errorf("%s loaded %d times", name, loads)
			}
		}
	})
}

// TestHeaders: every answer says what happened.
func TestHeaders(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		a := g.post("/api/chat", chat("M1", "hello"), "X-Request-Id", "mine-1")
		if a.status != http.StatusOK || a.header.Get("X-Corral-Instance") != "a" || a.header.Get("X-Corral-Attempts") != "1" ||
			a.header.Get("X-Request-Id") != "mine-1" || a.header.Get("X-Corral-Queue-Ms") == "" {
			g.Errorf("%d %v", a.status, a.header)
		}
		if r := g.last(); r.Outcome != "answered" || r.Instance != "a" || r.Model != "M1" {
			g.Errorf("%+v", r)
		}
	})
}

// TestLoadOutlivesClient is trap 5: the first client's disconnect does not abort the load for all.
func TestLoadOutlivesClient(t *testing.T) {
	o := ollamatest.Options{Engine: ollamatest.Settings{Load: 4 * time.Minute}}
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		ctx, cancel := context.WithTimeout(g.Context(), 3*time.Minute)
		defer cancel()
		if a := g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "x")); a.err == nil {
			g.Errorf("answered before the load ended: %+v", a)
		}
		a := g.post("/api/chat", chat("m1", "x"))
		if a.status != http.StatusOK || a.at > 4*time.Minute+time.Second {
			g.Errorf("%d after %s", a.status, a.at)
		}
		if s := g.servers["a"].Stats(); s.Loads != 1 || s.FailedLoads != 0 {
			g.Errorf("%d loads, %d aborted", s.Loads, s.FailedLoads)
		}
	})
}

// TestCancel: a client that leaves while waiting costs nothing; one that leaves while its answer runs has the
// generation stopped, and the slot is held a moment.
func TestCancel(t *testing.T) {
	bubble(t, []instance{{name: "a", options: ollamatest.Options{Reply: echo}}}, func(g *rig) {
		ctx, cancel := context.WithCancel(g.Context())
		var all sync.WaitGroup
		all.Go(func() { g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "runs [[tokens=100 each=1s]]")) })
		g.pass(time.Second)
		waiting, leave := context.WithCancel(g.Context())
		all.Go(func() { g.do(waiting, http.MethodPost, "/api/chat", chat("m1", "waits")) })
		g.pass(time.Second)
		if s := g.fleet.Dispatcher().Snapshot(); s.Waiting != 1 || s.Running != 1 {
			g.Errorf("%+v", s)
		}
		leave()
		synctest.Wait()
		if s := g.fleet.Dispatcher().Snapshot(); s.Waiting != 0 {
			g.Errorf("a ticket waits although its client has left: %+v", s)
		}
		cancel()
		all.Wait()
		next := g.post("/api/chat", chat("m1", "next [[tokens=1]]"))
		if next.status != http.StatusOK || next.at < 3*time.Second || next.at > 5*time.Second {
			g.Errorf("the slot came back after %s", next.at)
		}
		if s := g.servers["a"].Stats(); s.Cancelled != 1 {
			g.Errorf("%d generations cancelled", s.Cancelled)
		}
	})
}

// TestCancelInPrefill: a stream that is still in its prefill is listened to until its first byte, because
// Ollama does not stop a prefill: the slot comes back when it is really free.
func TestCancelInPrefill(t *testing.T) {
	o := ollamatest.Options{Engine: ollamatest.Settings{FinishPrefill: true}, Reply: echo}
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		ctx, cancel := context.WithTimeout(g.Context(), 2*time.Second)
		defer cancel()
		g.do(ctx, http.MethodPost, "/api/chat", streamed("m1", "x [[prefill=20s tokens=50 each=1s]]"))
		next := g.post("/api/chat", chat("m1", "next [[tokens=1]]"))
		if next.status != http.StatusOK || next.at < 20*time.Second || next.at > 24*time.Second {
			g.Errorf("%d after %s", next.status, next.at)
		}
	})
}

// TestRequeue: work that an instance refused to start goes to another, and the client sees nothing of it.
func TestRequeue(t *testing.T) {
	bubble(t, twoInstances(1), func(g *rig) {
		if a := g.post("/api/chat", chat("m1", "warm")); a.header.Get("X-Corral-Instance") != "a" {
			g.Fatalf("%+v", a)
		}
		g.kill("a")
		a := g.post("/v1/chat/completions", chat("m1", "x"))
		if a.status != http.StatusOK || a.header.Get("X-Corral-Instance") != "b" {
			g.Errorf("%d %s %v", a.status, a.body, a.header)
		}
		// When it comes back it is used again.
		g.up("a", "127.0.0.1:21434")
		g.pass(20 * time.Second)
		busy := g.busy(time.Minute) // on b, where the model is loaded
		if a := g.post("/api/chat", chat("m1", "x")); a.header.Get("X-Corral-Instance") != "a" {
			g.Errorf("%d by %s", a.status, a.header.Get("X-Corral-Instance"))
		}
		busy.Wait()
	})
}

// TestAllDown: instances that are down are waited for.
func TestAllDown(t *testing.T) {
	bubble(t, []instance{{name: "a"}}, func(g *rig) {
		g.kill("a")
		g.pass(time.Minute)
		var all sync.WaitGroup
		all.Go(func() {
			if a := g.post("/api/chat", chat("m1", "x")); a.status != http.StatusOK {
				g.Errorf("%d %s", a.status, a.body)
			}
		})
		g.pass(time.Minute)
		g.up("a", "127.0.0.1:21434")
		all.Wait()
	})
}

// TestNothingSeen: before any instance has answered, a client is told to come again.
func TestNothingSeen(t *testing.T) {
	bubble(t, []instance{{name: "a", down: true}}, func(g *rig) {
		a := g.post("/v1/chat/completions", chat("m1", "x"))
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, `"error":{"message":"no Ollama instance`) {
			g.Errorf("%d %v %s", a.status, a.header, a.body)
		}
		if a := g.get("/readyz"); a.status != http.StatusServiceUnavailable {
			g.Errorf("readyz %d", a.status)
		}
		if a := g.get("/healthz"); a.status != http.StatusOK {
			g.Errorf("healthz %d", a.status)
		}
	})
}

// TestReloadsAreNotPerRequest: clients with different num_ctx share a lane without overlapping, and a lane
// drains before it is loaded anew.
func TestSignatures(t *testing.T) {
	bubble(t, []instance{{name: "a", options: ollamatest.Options{NumParallel: 2}, slots: 2}}, func(g *rig) {
		small := strings.Replace(chat("m1", "[[tokens=1 each=1s]]"), `{`, `{"options":{"num_ctx":2048},`, 1)
		large := strings.Replace(small, "2048", "8192", 1)
		var all sync.WaitGroup
		for i := range 12 {
			body := small
			if i >= 6 {
				body = large
			}
			all.Go(func() {
				if a := g.post("/api/chat", body); a.status != http.StatusOK {
					g.Errorf("%d %s", a.status, a.body)
				}
			})
			g.pass(time.Millisecond)
		}
		all.Wait()
		if loads := g.servers["a"].Stats().Loads; loads != 2 {
			g.Errorf("%d loads, want one for each num_ctx", loads)
		}
	})
}

// TestSlowReader: a client that does not read holds no slot once the model is done.
func TestSlowReader(t *testing.T) {
	bubble(t, []instance{{name: "a", options: ollamatest.Options{Reply: echo}}}, func(g *rig) {
		ctx, cancel := context.WithCancel(g.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+corralAddr+"/api/chat",
			strings.NewReader(streamed("m1", "[[tokens=200 each=10ms]]")))
		resp, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		// Nobody reads resp.Body, and a pipe has no buffer.
		next := g.post("/api/chat", chat("m1", "next [[tokens=1]]"))
		if next.status != http.StatusOK || next.at > 4*time.Second {
			g.Errorf("%d after %s", next.status, next.at)
		}
	})
}
