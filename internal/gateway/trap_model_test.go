package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"corral/ollamatest"
)

// TestTrap17RunawayHoldsASlotForHours: without num_predict an answer that does not end holds its slot until ten times
// the context is full. What a client sets as its bound reaches the instance on every route, a runaway keeps only its own
// slot, and its client's leaving ends it.
func TestTrap17RunawayHoldsASlotForHours(t *testing.T) {
	const words = "[[tokens=9000 each=1s]]"
	runaway := with(`"format":"json"`, chat("m1", words))
	bounded := map[string]string{
		"/api/chat":            with(`"options":{"num_predict":5}`, chat("m1", words)),
		"/api/generate":        `{"model":"m1","stream":false,"options":{"num_predict":5},"prompt":"` + words + `"}`,
		"/v1/chat/completions": with(`"max_tokens":5`, chat("m1", words)),
		"/v1/responses":        `{"model":"m1","max_output_tokens":5,"input":"` + words + `"}`,
		"/v1/messages":         strings.Replace(messages("m1", words, false), "900,", "5,", 1),
	}
	alone(t, ollamatest.Options{}, func(g *rig, _ *ollamatest.Server) {
		answers := g.burst("/api/chat", runaway, chat("m1", "[[tokens=1]]"))
		if a := answers[1]; a.at < 150*time.Minute {
			g.Errorf("the next one has its answer after %s, want two and a half hours", a.at)
		}
	})
	bubble(t, []instance{{name: "a"}, {name: "b"}}, func(g *rig) {
		ctx, leave := context.WithCancel(g.Context())
		var all sync.WaitGroup
		all.Go(func() { g.do(ctx, http.MethodPost, "/api/chat", runaway) })
		g.pass(time.Second)
		for path, body := range bounded {
			before := time.Since(g.start)
			if a := g.post(path, body); a.status != 200 || a.at-before > 10*time.Second || g.last().Instance != "b" {
				g.Errorf("%s: %d after %s by %s", path, a.status, a.at-before, g.last().Instance)
			}
		}
		leave()
		all.Wait()
		g.pass(time.Minute)
		if s := g.fleet.Dispatcher().Snapshot(); s.Running != 0 || g.servers["a"].Stats().InFlight["m1"] != 0 {
			g.Errorf("the runaway goes on without its client: %+v", s)
		}
	})
}

// TestTrap18ThinkingInJSONQueuesTwice: models that can think do so unless told not to, and an answer in JSON then gets in
// Ollama's line twice, the second time in the middle of its stream. Where Corral keeps that line empty there is no gap.
func TestTrap18ThinkingInJSONQueuesTwice(t *testing.T) {
	o := ollamatest.Options{Models: []ollamatest.Model{{Name: "th", Capabilities: []string{"completion", "thinking"}}}}
	body := with(`"format":"json"`, streamed("th", "[[prefill=5s each=1s tokens=10]]"))
	// gap is the time between the last thought and the first word.
	gap := func(g *rig, a answer) time.Duration {
		g.Helper()
		var thought, word time.Duration
		for _, p := range a.pieces {
			switch {
			case strings.Contains(p.text, `"thinking"`):
				thought = p.at
			case word == 0 && strings.Contains(p.text, "reply"):
				word = p.at
			}
		}
		if thought == 0 || word == 0 {
			g.Fatalf("thought until %s, first word at %s: %d %s", thought, word, a.status, a.body)
		}
		return word - thought
	}
	const own = 6 * time.Second // its own second prefill, and a token
	alone(t, o, func(g *rig, _ *ollamatest.Server) {
		answers := g.burst("/api/chat", body, body, body)
		if got := gap(g, answers[0]); got < 3*own {
			g.Errorf("the first one pauses for %s in the middle of its stream, want the time of two others", got)
		}
		if a := g.post("/api/chat", with(`"think":false`, body)); strings.Contains(a.body, "thinking") {
			g.Errorf("told not to, it thinks: %s", a.body)
		}
	})
	bubble(t, []instance{{name: "a", options: o}}, func(g *rig) {
		for i, a := range g.burst("/api/chat", body, body, body) {
			if got := gap(g, a); got > own+time.Second {
				g.Errorf("answer %d pauses for %s in the middle of its stream, want %s", i, got, own)
			}
		}
	})
}

// TestTrap19ContextIsOfOneDigest: the `context` of /api/generate is the tokens of one build of a model, and nonsense to
// another. As long as the instance that is shown for a name is up, Corral stays with its digest.
func TestTrap19ContextIsOfOneDigest(t *testing.T) {
	build := func(digit string) ollamatest.Options {
		return ollamatest.Options{Reply: echo, Models: []ollamatest.Model{{Name: "m1", Weights: strings.Repeat(digit, 64), Digest: strings.Repeat(digit, 64)}}}
	}
	first := `{"model":"m1","stream":false,"prompt":"remember swordfish"}`
	next := func(g *rig, a answer) string {
		g.Helper()
		var said struct{ Context []int }
		if err := json.Unmarshal([]byte(a.body), &said); err != nil || len(said.Context) == 0 {
			g.Fatalf("%d %v %s", a.status, err, a.body)
		}
		tokens, _ := json.Marshal(said.Context)
		return fmt.Sprintf(`{"model":"m1","stream":false,"prompt":" and now","context":%s}`, tokens)
	}
	var second string
	alone(t, build("a"), func(g *rig, _ *ollamatest.Server) {
		second = next(g, g.post("/api/generate", first))
		if a := g.post("/api/generate", second); !strings.Contains(a.body, "swordfish") {
			g.Errorf("it has forgotten: %s", a.body)
		}
	})
	alone(t, build("b"), func(g *rig, _ *ollamatest.Server) {
		if a := g.post("/api/generate", second); a.status != 200 || strings.Contains(a.body, "swordfish") {
			g.Errorf("%d, another build understands it: %s", a.status, a.body)
		}
	})
	in := []instance{{name: "a", options: build("a")}, {name: "b", options: build("b")}, {name: "c", options: build("a")}}
	bubble(t, in, func(g *rig) {
		body := next(g, g.post("/api/generate", first))
		answers := g.burst("/api/generate", slices.Repeat([]string{body}, 6)...) // more than the right ones have slots
		for _, a := range answers {
			if a.status != 200 || !strings.Contains(a.body, "swordfish") || a.header.Get("X-Corral-Instance") == "b" {
				g.Errorf("%d by %s: %s", a.status, a.header.Get("X-Corral-Instance"), a.body)
			}
		}
	})
}

// TestTrap20StoppingAnOllamaCutsItsStreams: SIGTERM cuts every answer in the middle, SIGKILL too. What has begun ends in
// an error that its client can read, what has not is done elsewhere.
func TestTrap20StoppingAnOllamaCutsItsStreams(t *testing.T) {
	const prompt = "[[prefill=10s each=1s tokens=20]]"
	routes := []struct{ path, body, failure string }{
		{"/api/chat", streamed("m1", prompt), `{"error":"`},
		{"/v1/chat/completions", streamed("m1", prompt), "data: {\"error\":{"},
		{"/v1/messages", messages("m1", prompt, true), "event: error\n"},
	}
	for _, r := range routes {
		alone(t, ollamatest.Options{}, func(g *rig, o *ollamatest.Server) {
			var a answer
			ask := func() { a = g.post(r.path, r.body) }
			g.during(ask, 15*time.Second, func() { o.SetDown(true) })
			if a.status != 200 || a.err == nil || strings.Contains(a.body, "error") {
				g.Errorf("%s: %d %v, want a cut: %s", r.path, a.status, a.err, a.body)
			}
			o.SetDown(false)
			g.during(ask, 5*time.Second, func() { o.SetDown(true) })
			if a.err == nil {
				g.Errorf("%s: %d, want a cut before the first byte", r.path, a.status)
			}
		})
		bubble(t, []instance{{name: "a"}, {name: "b"}}, func(g *rig) {
			var a answer
			ask := func() { a = g.post(r.path, r.body) }
			g.during(ask, 15*time.Second, func() { g.kill("a") })
			if a.status != 200 || a.err != nil || !strings.Contains(a.body, "\n"+r.failure) {
				g.Errorf("%s: %d %v, want %q at the end: %s", r.path, a.status, a.err, r.failure, a.body)
			}
			g.up("a", "127.0.0.1:21434")
			g.pass(time.Minute)
			g.during(ask, 5*time.Second, func() { g.kill("a") })
			if a.status != 200 || a.err != nil || strings.Contains(a.body, "error") || g.last().Attempts != 2 {
				g.Errorf("%s: %d %v after %d attempts: %s", r.path, a.status, a.err, g.last().Attempts, a.body)
			}
		})
	}
}

// TestTrap21ParallelChangesTheAutomaticBatch: OLLAMA_NUM_PARALLEL multiplies the context, and with it the automatic
// num_batch: a client that asks for 512 shares the runner at 1 and reloads it at 4. (That more parallel requests run
// out of memory is for those who start instances: the herd.) Through Corral such clients take turns.
func TestTrap21ParallelChangesTheAutomaticBatch(t *testing.T) {
	plain := chat("m1", "[[tokens=1 each=1s]]")
	batch := with(`"options":{"num_batch":512}`, plain)
	load := ollamatest.Settings{Load: 5 * time.Second}
	for parallel, want := range map[int]int{1: 1, 4: 2} {
		alone(t, ollamatest.Options{NumParallel: parallel, Engine: load}, func(g *rig, o *ollamatest.Server) {
			g.post("/api/chat", plain)
			g.post("/api/chat", batch)
			if got := o.Stats().Loads; got != want {
				g.Errorf("OLLAMA_NUM_PARALLEL=%d: %d loads, want %d", parallel, got, want)
			}
		})
	}
	bubble(t, []instance{{name: "a", options: ollamatest.Options{NumParallel: 4, Engine: load}, slots: 4}}, func(g *rig) {
		other := strings.Replace(batch, "512", "256", 1) // 512 and automatic do not flap, once 512 is loaded
		g.allOK(g.burst("/api/chat", slices.Repeat([]string{plain, other}, 10)...))
		if got := g.servers["a"].Stats().Loads; got > 2 {
			g.Errorf("%d loads", got)
		}
	})
}

// TestTrap22SomeFamiliesRunOneAtATime: vision and hybrid families, and MLX models, have one slot whatever
// OLLAMA_NUM_PARALLEL says; more requests wait inside. Corral sends them one at a time, whatever `slots` says.
func TestTrap22SomeFamiliesRunOneAtATime(t *testing.T) {
	o := ollamatest.Options{NumParallel: 4, Models: []ollamatest.Model{
		{Name: "vision", Family: "qwen3vl", Capabilities: []string{"completion", "vision"}},
		{Name: "hybrid", Family: "nemotron_h_moe"},
		{Name: "mlx", Family: "LlamaForCausalLM", Format: "safetensors"},
		{Name: "plain"},
	}}
	calls := func(name string) []string { return slices.Repeat([]string{chat(name, "[[tokens=1 each=1s]]")}, 4) }
	for _, m := range o.Models {
		want := 1
		if m.Name == "plain" {
			want = 4
		}
		alone(t, o, func(g *rig, o *ollamatest.Server) {
			g.allOK(g.burst("/api/chat", calls(m.Name)...))
			if s := o.Stats(); s.PeakFlight[m.Name] != want || s.MaxWaiting[m.Name] != 4-want {
				g.Errorf("%s: %d at once and %d waited, want %d and %d", m.Name, s.PeakFlight[m.Name], s.MaxWaiting[m.Name], want, 4-want)
			}
		})
		bubble(t, []instance{{name: "a", options: o, slots: 4}}, func(g *rig) {
			g.allOK(g.burst("/api/chat", calls(m.Name)...)) // the rig sees to it that none waits inside
			if got := g.servers["a"].Stats().PeakFlight[m.Name]; got != want {
				g.Errorf("%s: %d at once, want %d", m.Name, got, want)
			}
		})
	}
}
