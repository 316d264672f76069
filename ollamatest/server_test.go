package ollamatest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const addr = "127.0.0.1:11434"

// rig is a server with a client, inside a bubble.
type rig struct {
	*testing.T
	s      *Server
	client *http.Client
	start  time.Time
	wg     sync.WaitGroup
}

// bubble runs a test in virtual time against a server of two models, m1 and m2, and an embedder, emb.
func bubble(t *testing.T, o Options, f func(g *rig)) {
	synctest.Test(t, func(t *testing.T) {
		if o.Models == nil {
			o.Models = []Model{{Name: "m1"}, {Name: "m2"}, {Name: "emb", Capabilities: []string{"embedding"}}}
		}
		var network Net
		s := New(o)
		stop, err := network.Serve(addr, s)
		if err != nil {
			t.Fatal(err)
		}
		g := &rig{T: t, s: s, client: network.Client(), start: time.Now()}
		f(g)
		g.wg.Wait()
		g.client.CloseIdleConnections()
		stop()
		s.Close()
	})
}

type reply struct {
	code   int
	header http.Header
	body   string
	err    error // while reading the body
	at     time.Duration
}

func (g *rig) call(ctx context.Context, method, path, body string) reply {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return reply{err: err, at: time.Since(g.start)}
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, resp.Body)
	return reply{resp.StatusCode, resp.Header, b.String(), err, time.Since(g.start)}
}

func (g *rig) post(path, body string) reply { return g.call(context.Background(), "POST", path, body) }

// burst sends the bodies at once, in order, and returns the answers.
func (g *rig) burst(path string, bodies ...string) []reply {
	replies := make([]reply, len(bodies))
	var wg sync.WaitGroup
	for i, body := range bodies {
		wg.Go(func() { replies[i] = g.post(path, body) })
		synctest.Wait()
	}
	wg.Wait()
	return replies
}

func generate(model, prompt string) string {
	return fmt.Sprintf(`{"model":%q,"prompt":%q,"stream":false}`, model, prompt)
}

func repeat(n int, body string) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = body
	}
	return bodies
}

func codes(replies []reply) map[int]int {
	n := map[int]int{}
	for _, r := range replies {
		n[r.code]++
	}
	return n
}

func TestQueueBoundsOnlyLoads(t *testing.T) {
	o := Options{MaxQueue: 1, NumParallel: 2, Engine: Settings{Load: 2 * time.Second}}
	bubble(t, o, func(g *rig) {
		cold := g.burst("/api/generate", repeat(8, generate("m1", "[[each=100ms]]"))...)
		if got := codes(cold); got[503] != 6 || got[200] != 2 {
			g.Errorf("cold burst: %v, want 6 x 503", got)
		}
		if want := `{"error":"server busy, please try again.  maximum pending requests exceeded"}`; cold[7].body != want {
			g.Errorf("503 body %s", cold[7].body)
		}
		if warm := codes(g.burst("/api/generate", repeat(8, generate("m1", "[[each=100ms]]"))...)); warm[200] != 8 {
			g.Errorf("warm burst: %v, want 8 x 200", warm)
		}
		st := g.s.Stats()
		if st.PeakFlight["m1"] != 2 || st.MaxWaiting["m1"] != 6 || st.Loads != 1 {
			g.Errorf("peak %d, waiting %d, loads %d; want 2, 6, 1", st.PeakFlight["m1"], st.MaxWaiting["m1"], st.Loads)
		}
	})
}

func TestInterleavedModelsReload(t *testing.T) {
	bubble(t, Options{MaxLoaded: 1, Engine: Settings{Load: time.Second, Unload: time.Second}}, func(g *rig) {
		var bodies []string
		for _, m := range strings.Fields("m1 m2 m1 m2 m1 m1") {
			bodies = append(bodies, generate(m, "[[tokens=2]]"))
		}
		if got := codes(g.burst("/api/generate", bodies...)); got[200] != 6 {
			g.Errorf("codes %v", got)
		}
		if st := g.s.Stats(); st.Loads != 5 {
			g.Errorf("%d loads for 6 requests, want 5", st.Loads)
		}
	})
}

func TestEmbeddingsRunOneByOne(t *testing.T) {
	bubble(t, Options{NumParallel: 4}, func(g *rig) {
		inputs, _ := json.Marshal(repeat(10, "[[embed=100ms]] text"))
		r := g.post("/api/embed", fmt.Sprintf(`{"model":"emb","input":%s}`, inputs))
		if r.code != 200 || r.at < time.Second {
			g.Errorf("code %d after %v, want 200 after 1s", r.code, r.at)
		}
		if peak := g.s.Stats().PeakFlight["emb"]; peak != 1 {
			g.Errorf("peak %d, want 1", peak)
		}
	})
}

func TestCancelInLineFreesOnlyItsPlace(t *testing.T) {
	bubble(t, Options{}, func(g *rig) {
		g.post("/api/generate", `{"model":"m1"}`)
		body := generate("m1", "[[prefill=1s each=1s tokens=1]]")
		var last reply
		g.wg.Go(func() { g.post("/api/generate", body) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		g.wg.Go(func() { g.call(ctx, "POST", "/api/generate", body) })
		synctest.Wait()
		g.wg.Go(func() { last = g.post("/api/generate", body) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		if st := g.s.Stats(); st.InFlight["m1"] != 1 || st.Waiting["m1"] != 1 || st.Cancelled != 1 {
			g.Errorf("in flight %d, waiting %d, cancelled %d; want 1 of each", st.InFlight["m1"], st.Waiting["m1"], st.Cancelled)
		}
		g.wg.Wait()
		if last.at != 4*time.Second {
			g.Errorf("the one behind it ended after %v, want 4s", last.at)
		}
		var m nativeLine
		if err := json.Unmarshal([]byte(last.body), &m); err != nil {
			g.Error(err)
		}
		if hidden := m.Total - m.Load - m.PromptElapsed - m.EvalElapsed; hidden != 2*time.Second {
			g.Errorf("hidden wait %v, want 2s: %s", hidden, last.body)
		}
		if st := g.s.Stats(); st.Wasted != 0 || st.Tokens != 2 {
			g.Errorf("%d tokens, %d wasted", st.Tokens, st.Wasted)
		}
	})
}

func TestCancelWhileRunningWastesTokens(t *testing.T) {
	bubble(t, Options{}, func(g *rig) {
		ctx, cancel := context.WithTimeout(context.Background(), 5500*ms)
		defer cancel()
		g.call(ctx, "POST", "/api/generate", generate("m1", "[[prefill=1s each=1s tokens=100]]"))
		synctest.Wait()
		if st := g.s.Stats(); st.Wasted != 4 || st.Tokens != 4 || st.InFlight["m1"] != 0 {
			g.Errorf("%d tokens, %d wasted, %d in flight", st.Tokens, st.Wasted, st.InFlight["m1"])
		}
	})
}

func TestMidStreamCrash(t *testing.T) {
	const prompt = "[[tokens=9 crash=3]]"
	chat := fmt.Sprintf(`{"model":"m1","stream":true,"max_tokens":50,"messages":[{"role":"user","content":%q}]}`, prompt)
	native := `{"error":"an error was encountered while running the model: unexpected EOF"}` + "\n"
	f := func(path, body, wantEnd string, unwanted ...string) {
		t.Helper()
		bubble(t, Options{}, func(g *rig) {
			g.Helper()
			r := g.post(path, body)
			if r.code != 200 || r.err != nil || !strings.HasSuffix(r.body, wantEnd) {
				g.Errorf("%s: %d %v\n%s", path, r.code, r.err, r.body)
			}
			for _, u := range unwanted {
				if strings.Contains(r.body, u) {
					g.Errorf("%s: %q in\n%s", path, u, r.body)
				}
			}
			if r := g.post(path, strings.Replace(body, "crash", "ignored", 1)); r.code != 200 || g.s.Stats().Loads != 2 {
				g.Errorf("%s: next request %d, %d loads; want a reload", path, r.code, g.s.Stats().Loads)
			}
		})
	}
	f("/api/chat", chat, native, `"done":true`)
	f("/api/generate", fmt.Sprintf(`{"model":"m1","prompt":%q}`, prompt), native, `"done":true`)
	f("/v1/chat/completions", chat, `"finish_reason":null}]}`+"\n\n", "[DONE]", `"stop"`)
	f("/v1/completions", fmt.Sprintf(`{"model":"m1","stream":true,"prompt":%q}`, prompt), `"finish_reason":null}]}`+"\n\n", "[DONE]")
	f("/v1/messages", chat, `"type":"content_block_delta"}`+"\n\n", "message_stop", "message_delta")
	f("/v1/responses", fmt.Sprintf(`{"model":"m1","stream":true,"input":%q}`, prompt), "\n\n", "response.completed")
}

func TestCrashBeforeTheFirstTokenIsAStatus(t *testing.T) {
	bubble(t, Options{}, func(g *rig) {
		for _, stream := range []bool{true, false} {
			body := fmt.Sprintf(`{"model":"m1","stream":%v,"max_tokens":9,"messages":[{"role":"user","content":"[[crash]]"}]}`, stream)
			for _, path := range []string{"/api/chat", "/v1/chat/completions", "/v1/messages"} {
				r := g.post(path, body)
				if r.code != 500 || !strings.Contains(r.body, "model runner has unexpectedly stopped") || r.header.Get("Content-Type") == "text/event-stream" {
					g.Errorf("%s stream=%v: %d %v %s", path, stream, r.code, r.header, r.body)
				}
			}
		}
	})
}

func TestNoHeadersBeforeTheFirstToken(t *testing.T) {
	bubble(t, Options{}, func(g *rig) {
		req, _ := http.NewRequest(http.MethodPost, "http://"+addr+"/v1/chat/completions",
			strings.NewReader(`{"model":"m1","stream":true,"messages":[{"role":"user","content":"[[prefill=90s each=1s tokens=2]]"}]}`))
		resp, err := g.client.Do(req)
		if err != nil {
			g.Fatal(err)
		}
		defer resp.Body.Close()
		if got := time.Since(g.start); got != 91*time.Second {
			g.Errorf("headers after %v, want 91s", got)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	})
}

func TestAbortedLoad(t *testing.T) {
	bubble(t, Options{Engine: Settings{Load: time.Minute}}, func(g *rig) {
		ctx, cancel := context.WithTimeout(context.Background(), 59*time.Second)
		defer cancel()
		g.call(ctx, "POST", "/api/generate", generate("m1", "x"))
		r := g.post("/api/generate", generate("m1", "x"))
		st := g.s.Stats()
		if r.code != 200 || r.at < 119*time.Second || st.FailedLoads != 1 || st.Loads != 1 || st.Statuses[499] != 1 {
			g.Errorf("code %d at %v, loads %d, failed %d, %v", r.code, r.at, st.Loads, st.FailedLoads, st.Statuses)
		}
	})
}

func TestReloadOnLoadOptions(t *testing.T) {
	f := func(first, second string, want int) {
		t.Helper()
		bubble(t, Options{NumParallel: 2}, func(g *rig) {
			g.Helper()
			for _, o := range []string{first, second} {
				if r := g.post("/api/generate", fmt.Sprintf(`{"model":"m1","prompt":"x","stream":false,%s}`, o)); r.code != 200 {
					g.Errorf("%s: %d %s", o, r.code, r.body)
				}
			}
			if got := g.s.Stats().Loads; got != want {
				g.Errorf("%s then %s: %d loads, want %d", first, second, got, want)
			}
		})
	}
	none := `"options":{}`
	f(none, `"options":{"num_ctx":2048}`, 2)
	f(none, `"options":{"num_ctx":4096}`, 1)
	f(none, `"options":{"num_batch":null}`, 2) // counts as 512; automatic is 1024 with two slots
	f(none, `"options":{"num_batch":1024}`, 1)
	f(none, `"options":{"num_thread":3}`, 2)
	f(none, `"options":{"use_mmap":true}`, 2)
	f(none, `"options":{"temperature":0.1,"seed":3,"num_predict":5}`, 1)
	f(none, `"options":{"num_gpu":0}`, 2)
	f(`"options":{"num_gpu":0}`, none, 1)
	f(none, `"shift":false`, 2)
	f(`"options":{"num_ctx":99999}`, `"options":{"num_ctx":8192}`, 1)
}

func TestKeepAlive(t *testing.T) {
	bubble(t, Options{Models: []Model{{Name: "m1"}}}, func(g *rig) {
		load := func(keep string) { g.post("/api/generate", fmt.Sprintf(`{"model":"m1"%s}`, keep)) }
		loaded := func(after time.Duration, want int) {
			g.Helper()
			<-time.After(after)
			synctest.Wait()
			if got := len(g.s.Loaded()); got != want {
				g.Errorf("%d loaded, want %d", got, want)
			}
		}
		load("")
		loaded(299*time.Second, 1)
		loaded(2*time.Second, 0)
		load(`,"keep_alive":10`)
		load("") // the value before it stays
		loaded(11*time.Second, 0)
		load(`,"keep_alive":-1`)
		loaded(1000*time.Hour, 1)
		if r := g.post("/api/generate", `{"model":"m1","keep_alive":0}`); !strings.Contains(r.body, `"done_reason":"unload"`) {
			g.Errorf("unload: %s", r.body)
		}
		loaded(0, 0)
	})
}

func TestRepliesBelongToTheirPrompts(t *testing.T) {
	o := Options{NumParallel: 3, Reply: func(model, prompt string) string { return "about " + model + ": " + prompt }}
	bubble(t, o, func(g *rig) {
		var mu sync.Mutex
		seen := map[int]int{}
		for i := range 60 {
			g.wg.Go(func() {
				q := fmt.Sprintf("question %d", i)
				path, body := "/v1/chat/completions", fmt.Sprintf(`{"model":"m1","messages":[{"role":"user","content":%q}]}`, q)
				if i%2 == 0 {
					path, body = "/v1/responses", fmt.Sprintf(`{"model":"m1","input":%q}`, q)
				}
				r := g.post(path, body)
				mu.Lock()
				defer mu.Unlock()
				seen[r.code]++
				if !strings.Contains(r.body, "about m1: "+q+`"`) {
					g.Errorf("question %d got %s", i, r.body)
				}
			})
		}
		g.wg.Wait()
		if !maps.Equal(seen, map[int]int{200: 60}) {
			g.Errorf("codes %v", seen)
		}
	})
}

func TestDownAndUp(t *testing.T) {
	bubble(t, Options{}, func(g *rig) {
		var r reply
		g.wg.Go(func() { r = g.post("/api/generate", `{"model":"m1","prompt":"[[each=1s tokens=10]]"}`) })
		<-time.After(3500 * ms)
		g.s.SetDown(true)
		synctest.Wait()
		if r.code != 200 || r.err == nil {
			g.Errorf("open stream: %d %v", r.code, r.err)
		}
		if r := g.call(context.Background(), "GET", "/api/version", ""); r.err == nil {
			g.Error("a server that is down answered")
		}
		g.s.SetDown(false)
		if r := g.post("/api/generate", generate("m1", "x")); r.code != 200 || g.s.Stats().Loads != 2 {
			g.Errorf("after: %d %v, %d loads", r.code, r.err, g.s.Stats().Loads)
		}
	})
}
