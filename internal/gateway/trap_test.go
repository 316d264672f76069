package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"corral/ollamatest"
)

// The traps of Ollama, each with a test of its own. A test shows two things: a client that asks an Ollama itself falls
// into the trap (else ollamatest is no model of it any more), and one that asks through Corral does not.

// alone runs f with an Ollama at Corral's address: g's clients ask it directly.
func alone(t *testing.T, o ollamatest.Options, f func(g *rig, o *ollamatest.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if o.Models == nil {
			o.Models = models
		}
		g := &rig{T: t, net: &ollamatest.Net{}, start: time.Now()}
		s := ollamatest.New(o)
		stop, err := g.net.Serve(corralAddr, s)
		if err != nil {
			t.Fatal(err)
		}
		g.client = g.net.Client()
		f(g, s)
		g.client.CloseIdleConnections()
		stop()
		s.Close()
	})
}

// burst sends the bodies at once, in their order.
func (g *rig) burst(path string, bodies ...string) []answer {
	answers := make([]answer, len(bodies))
	var all sync.WaitGroup
	for i, body := range bodies {
		all.Go(func() { answers[i] = g.post(path, body) })
		synctest.Wait()
	}
	all.Wait()
	return answers
}

// statuses counts answers by status; 0 is none.
func statuses(answers []answer) map[int]int {
	n := map[int]int{}
	for _, a := range answers {
		n[a.status]++
	}
	return n
}

// allOK reports answers that are not whole and well.
func (g *rig) allOK(answers []answer) {
	g.Helper()
	for i, a := range answers {
		if a.status != http.StatusOK || a.err != nil {
			g.Errorf("answer %d: %d %v %s", i, a.status, a.err, a.body)
		}
	}
}

// during has something happen a while after the start of what f does.
func (g *rig) during(f func(), after time.Duration, happens func()) {
	var all sync.WaitGroup
	all.Go(f)
	g.pass(after)
	happens()
	all.Wait()
}

// with puts fields before those of a body.
func with(fields, body string) string { return strings.Replace(body, "{", "{"+fields+",", 1) }

// TestTrap01MaxQueueDoesNotBoundALoadedModel: OLLAMA_MAX_QUEUE refuses requests only around a load; those for a loaded
// model wait in a line that no API shows. Corral's queue is the only one, and refuses nobody because of a load.
func TestTrap01MaxQueueDoesNotBoundALoadedModel(t *testing.T) {
	o := ollamatest.Options{MaxQueue: 1, NumParallel: 2, Engine: ollamatest.Settings{Load: 2 * time.Second}}
	calls := slices.Repeat([]string{chat("m1", "[[tokens=1 each=1s]]")}, 8)
	alone(t, o, func(g *rig, o *ollamatest.Server) {
		if got := statuses(g.burst("/api/chat", calls...)); got[503] != 6 || got[200] != 2 {
			g.Errorf("cold: %v, want 6 x 503", got)
		}
		g.allOK(g.burst("/api/chat", calls...))
		if got := o.Stats().MaxWaiting["m1"]; got != 6 {
			g.Errorf("warm: %d waited unseen, want 6 in spite of a queue of 1", got)
		}
	})
	bubble(t, []instance{{name: "a", options: o, slots: 2}}, func(g *rig) {
		g.allOK(g.burst("/api/chat", calls...)) // cold
		g.allOK(g.burst("/api/chat", calls...)) // warm; the rig sees to it that none of them waits inside Ollama
		if got := g.servers["a"].Stats().Statuses[503]; got != 0 {
			g.Errorf("the instance refused %d", got)
		}
	})
}

// TestTrap02EmbeddingsNeverRunInParallel: an embedding model has one slot whatever OLLAMA_NUM_PARALLEL says. Corral
// sends it one request at a time, and more instances really run more.
func TestTrap02EmbeddingsNeverRunInParallel(t *testing.T) {
	o := ollamatest.Options{NumParallel: 4}
	const body = `{"model":"emb","input":"[[embed=200ms]]"}`
	calls := slices.Repeat([]string{body}, 4)
	alone(t, o, func(g *rig, o *ollamatest.Server) {
		for i, a := range g.burst("/api/embed", calls...) {
			if want := time.Duration(i+1) * 200 * time.Millisecond; a.status != 200 || a.at != want {
				g.Errorf("answer %d: %d after %s, want %s", i, a.status, a.at, want)
			}
		}
		if s := o.Stats(); s.PeakFlight["emb"] != 1 || s.MaxWaiting["emb"] != 3 {
			g.Errorf("%d at once, %d waited; want 1 and 3", s.PeakFlight["emb"], s.MaxWaiting["emb"])
		}
	})
	in := []instance{{name: "a", options: o, slots: 4}, {name: "b", options: o, slots: 4}}
	bubble(t, in, func(g *rig) {
		answers := g.burst("/api/embed", slices.Concat(calls, calls)...)
		g.allOK(answers)
		for i, a := range answers {
			if want := time.Duration(i/2+1) * 200 * time.Millisecond; a.at != want {
				g.Errorf("answer %d after %s, want %s: two at a time, on two instances", i, a.at, want)
			}
		}
	})
}

// TestTrap03LoadOptionsReloadTheModel: requests whose load options differ reload the model, one after the other, a null
// counts as different, and num_gpu: 0 of one client sticks for all. Corral drops nulls, runs together what can run
// together, and gets the model off the CPU again.
func TestTrap03LoadOptionsReloadTheModel(t *testing.T) {
	o := ollamatest.Options{NumParallel: 2}
	plain := chat("m1", "[[tokens=1 each=1s]]")
	small := with(`"options":{"num_ctx":2048}`, plain)
	null := with(`"options":{"num_batch":null}`, plain)
	cpu := with(`"options":{"num_gpu":0}`, plain)
	alone(t, o, func(g *rig, o *ollamatest.Server) {
		loads := func(want int, bodies ...string) {
			g.Helper()
			before := o.Stats().Loads
			for _, body := range bodies {
				g.post("/api/chat", body)
			}
			if got := o.Stats().Loads - before; got != want {
				g.Errorf("%d loads, want %d", got, want)
			}
		}
		loads(6, plain, small, plain, small, plain, small)
		loads(2, plain, null)
		loads(1, cpu, plain, plain) // the plain ones run on the CPU
	})
	f := func(want int, bodies ...string) {
		t.Helper()
		bubble(t, []instance{{name: "a", options: o, slots: 2}}, func(g *rig) {
			g.allOK(g.burst("/api/chat", bodies...))
			if got := g.servers["a"].Stats().Loads; got != want {
				g.Errorf("%d loads, want %d", got, want)
			}
		})
	}
	f(1, plain, null, plain, null)
	f(2, plain, plain, plain, plain, small, small, small, small)
	f(2, cpu, plain)
}

// TestTrap04V1CannotCarryNumCtx: under /v1 there is no num_ctx, so its callers and those of /api who set it reload the
// model under each other, or starve each other. Two instances keep one kind each; one takes turns that are worth a load.
func TestTrap04V1CannotCarryNumCtx(t *testing.T) {
	v1 := chat("m1", "[[tokens=1 each=1s]]")
	api := with(`"options":{"num_ctx":8192}`, v1)
	load := ollamatest.Settings{Load: 5 * time.Second}
	// Everyone asks 20 times, again as soon as he has his answer. slowest is the longest that one request took.
	mixed := func(g *rig, ofEither int) (slowest time.Duration) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for range ofEither {
			for path, body := range map[string]string{"/api/chat": api, "/v1/chat/completions": v1} {
				all.Go(func() {
					for range 20 {
						asked := time.Since(g.start)
						a := g.post(path, body)
						g.allOK([]answer{a})
						mu.Lock()
						slowest = max(slowest, a.at-asked)
						mu.Unlock()
					}
				})
			}
		}
		all.Wait()
		return slowest
	}
	alone(t, ollamatest.Options{Engine: load}, func(g *rig, o *ollamatest.Server) {
		mixed(g, 1)
		if got := o.Stats().Loads; got < 40 {
			g.Errorf("%d loads for 40 requests: no flapping", got)
		}
	})
	alone(t, ollamatest.Options{Engine: load}, func(g *rig, o *ollamatest.Server) {
		if slowest := mixed(g, 3); o.Stats().Loads < 40 && slowest < time.Minute {
			g.Errorf("%d loads, and none waited longer than %s: neither flapping nor starving", o.Stats().Loads, slowest)
		}
	})
	// The cure on the instance: its default is what /api asks for.
	alone(t, ollamatest.Options{Engine: load, ContextLength: 8192}, func(g *rig, o *ollamatest.Server) {
		mixed(g, 3)
		if got := o.Stats().Loads; got != 1 {
			g.Errorf("%d loads", got)
		}
	})
	in := []instance{{name: "a", options: ollamatest.Options{Engine: load}}, {name: "b", options: ollamatest.Options{Engine: load}}}
	bubble(t, in, func(g *rig) {
		mixed(g, 3)
		// Both may begin with the same kind, when all of that kind ask first.
		if got := g.servers["a"].Stats().Loads + g.servers["b"].Stats().Loads; got > 3 {
			g.Errorf("%d loads", got)
		}
	})
	bubble(t, in[:1], func(g *rig) {
		slowest := mixed(g, 3) // 120 s of work
		if got := g.servers["a"].Stats().Loads; got > 8 {
			g.Errorf("%d loads for 120 requests", got)
		}
		if slowest > 40*time.Second {
			g.Errorf("one waited %s", slowest)
		}
	})
}

// TestTrap05ALoadDiesWithItsClient: Ollama aborts a load when the client that asked for it leaves, for everybody who
// waits for the model. Corral loads in its own name.
func TestTrap05ALoadDiesWithItsClient(t *testing.T) {
	o := ollamatest.Options{Engine: ollamatest.Settings{Load: 4 * time.Minute}}
	// The first client has three minutes of patience, the second comes in between.
	impatient := func(g *rig) (second answer) {
		var all sync.WaitGroup
		all.Go(func() {
			ctx, cancel := context.WithTimeout(g.Context(), 3*time.Minute)
			defer cancel()
			if a := g.do(ctx, http.MethodPost, "/api/chat", chat("m1", "x")); a.err == nil {
				g.Errorf("answered before the load ended: %+v", a)
			}
		})
		g.pass(time.Minute)
		all.Go(func() { second = g.post("/api/chat", chat("m1", "x")) })
		all.Wait()
		g.allOK([]answer{second})
		return second
	}
	alone(t, o, func(g *rig, o *ollamatest.Server) {
		if a := impatient(g); a.at < 7*time.Minute || o.Stats().FailedLoads != 1 {
			g.Errorf("the second has its answer after %s, %d loads aborted; want one and a new load", a.at, o.Stats().FailedLoads)
		}
	})
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		a := impatient(g)
		if s := g.servers["a"].Stats(); a.at > 4*time.Minute+time.Second || s.FailedLoads != 0 || s.Loads != 1 {
			g.Errorf("answer after %s, %d loads, %d aborted", a.at, s.Loads, s.FailedLoads)
		}
	})
}

// TestTrap06ModelsAreSwitchedStrictlyInTurn: an instance with room for one model loads for every change of it in its
// line, and yet a stream of requests for the loaded one starves all others. Corral runs what is for one model
// together, and holds it back in the end.
func TestTrap06ModelsAreSwitchedStrictlyInTurn(t *testing.T) {
	o := ollamatest.Options{MaxLoaded: 1, Engine: ollamatest.Settings{Load: 3 * time.Second}}
	var interleaved []string
	for i := range 12 {
		interleaved = append(interleaved, chat(fmt.Sprintf("m%d", i%2+1), "[[tokens=1 each=100ms]]"))
	}
	// For ten minutes there is always a request for m1; the one for m2 must not wait for their end.
	starve := func(g *rig) (other answer) {
		g.post("/api/generate", `{"model":"m1"}`)
		ctx, cancel := context.WithTimeout(g.Context(), 10*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				g.pass(time.Duration(i) * time.Second) // so that they overlap
				for ctx.Err() == nil {
					g.post("/api/chat", chat("m1", "[[tokens=1 prefill=2s]]"))
				}
			})
		}
		g.pass(10 * time.Second)
		other = g.post("/api/chat", chat("m2", "[[tokens=1]]"))
		cancel()
		all.Wait()
		return other
	}
	alone(t, o, func(g *rig, o *ollamatest.Server) {
		g.allOK(g.burst("/api/chat", interleaved...))
		if got := o.Stats().Loads; got != 12 {
			g.Errorf("%d loads for 12 requests, want one for each", got)
		}
	})
	o.NumParallel = 2
	alone(t, o, func(g *rig, _ *ollamatest.Server) {
		if a := starve(g); a.status != 200 || a.at < 10*time.Minute {
			g.Errorf("%d after %s, want 10m: it starves", a.status, a.at)
		}
	})
	bubble(t, []instance{{name: "a", options: o, slots: 2}}, func(g *rig) {
		g.allOK(g.burst("/api/chat", interleaved...))
		if got := g.servers["a"].Stats().Loads; got > 10 {
			g.Errorf("%d loads for 12 requests of two models", got)
		}
	})
	bubble(t, []instance{{name: "a", options: o, slots: 2}}, func(g *rig) {
		if a := starve(g); a.status != 200 || a.at > time.Minute {
			g.Errorf("%d after %s", a.status, a.at)
		}
	})
}
