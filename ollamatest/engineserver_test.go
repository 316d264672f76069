package ollamatest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// engineBubble serves an EngineServer in virtual time.
func engineBubble(t *testing.T, o EngineOptions, f func(g *rig)) {
	synctest.Test(t, func(t *testing.T) {
		var network Net
		stop, err := network.Serve(addr, NewEngineServer(o))
		if err != nil {
			t.Fatal(err)
		}
		g := &rig{T: t, client: network.Client(), start: time.Now()}
		f(g)
		g.wg.Wait()
		g.client.CloseIdleConnections()
		stop()
	})
}

func TestEngineServerSpeaksLlamaServer(t *testing.T) {
	o := EngineOptions{Settings: Settings{Load: 2 * time.Second}, Weights: "w", Embedding: true, Dims: 3}
	engineBubble(t, o, func(g *rig) {
		f := func(method, path, body string, code int, want string) {
			t.Helper()
			if r := g.call(context.Background(), method, path, body); r.code != code || !strings.Contains(r.body, want) {
				t.Errorf("%s %s: %d %s, want %d %s", path, body, r.code, r.body, code, want)
			}
		}
		f("GET", "/health", "", 503, `"message":"Loading model"`)
		<-time.After(2 * time.Second)
		f("GET", "/health", "", 200, `{"status":"ok"}`)
		f("POST", "/tokenize", `{"content":"abcdefgh"}`, 200, `{"tokens":[1684234849,1751606885]}`)
		f("POST", "/detokenize", `{"tokens":[1684234849,1751606885]}`, 200, `{"content":"abcdefgh"}`)
		f("POST", "/apply-template", `{"messages":[{"role":"user","content":"hi"}]}`, 200, `{"prompt":"hi"}`)
		f("POST", "/completion", `{"prompt":"[[tokens=3 say=hey]]","n_predict":2}`, 200, `data: {"content":"hey","stop":false}`+"\n\n")
		f("POST", "/completion", `{"prompt":"[[tokens=3]]","n_predict":2}`, 200, `"stop_type":"limit"`)
		f("POST", "/completion", `{"prompt":["[[tokens=3]]",1684234849],"n_predict":-1}`, 200, `"predicted_n":3`)
		f("POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"[[tokens=3]]"}]}`, 200, `"finish_reason":"stop"`)
		f("POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"[[fail]]"}]}`, 500, `"type":"server_error"`)
		f("POST", "/v1/embeddings", `{"input":"abc"}`, 200, `"usage":{"prompt_tokens":1,"total_tokens":1}`)
		f("POST", "/v1/embeddings", `{"input":7}`, 400, "must be a string")
	})
}

func TestEngineServerRecordsWhatWasWasted(t *testing.T) {
	var stats bytes.Buffer
	died := ""
	o := EngineOptions{Stats: &stats, Die: func(reason string) { died = reason }}
	engineBubble(t, o, func(g *rig) {
		ctx, cancel := context.WithTimeout(context.Background(), 3500*ms)
		defer cancel()
		g.call(ctx, "POST", "/completion", `{"prompt":"[[each=1s tokens=9]]"}`)
		synctest.Wait()
		g.post("/completion", `{"prompt":"[[each=1s tokens=2]]"}`)
		if r := g.post("/completion", `{"prompt":"[[each=1s tokens=2 crash=1]]"}`); r.err == nil {
			t.Errorf("a crashed engine ended its answer: %s", r.body)
		}
	})
	var got []string
	for line := range strings.Lines(stats.String()) {
		var r EngineRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Outcome+" "+strings.Repeat("x", r.Wasted))
	}
	if want := "cancelled xxx,done ,failed x"; strings.Join(got, ",") != want || died != ErrCrashed.Error() {
		t.Errorf("records %q, died of %q; want %q", got, died, want)
	}
}

// These are the texts that clients and gateways look at; the e2e test compares many more with a real Ollama.
func TestErrorTexts(t *testing.T) {
	bubble(t, Options{}, func(g *rig) {
		f := func(method, path, body string, code int, want string) {
			t.Helper()
			if r := g.call(context.Background(), method, path, body); r.code != code || strings.TrimSpace(r.body) != want {
				t.Errorf("%s %s %s: %d %s, want %d %s", method, path, body, r.code, r.body, code, want)
			}
		}
		f("GET", "/nope", "", 404, "404 page not found")
		f("GET", "/api/chat", "", 405, "405 method not allowed")
		f("POST", "/api/chat", `{"model":"nope"}`, 404, `{"error":"model 'nope' not found"}`)
		f("POST", "/api/embed", `{"model":"nope"}`, 404, `{"error":"model \"nope\" not found, try pulling it first"}`)
		f("POST", "/api/show", `{"model":"nope"}`, 404, `{"error":"model 'nope:latest' not found"}`)
		f("POST", "/api/chat", `{"model":"emb"}`, 400, `{"error":"\"emb\" does not support chat"}`)
		f("POST", "/api/embed", `{"model":"emb","input":7}`, 400, `{"error":"invalid input type"}`)
		f("POST", "/api/embed", `{"model":"emb","input":"[[crash]]"}`, 400,
			`{"error":"do embedding request: Post \"http://127.0.0.1:40000/v1/embeddings\": EOF"}`)
		f("POST", "/api/generate", `{"model":"m1","prompt":"x","options":{"num_ctx":"big"}}`, 500,
			`{"error":"option \"num_ctx\" must be of type integer"}`)
		f("POST", "/v1/chat/completions", `{"model":"nope","messages":[{}]}`, 404,
			`{"error":{"message":"model 'nope' not found","type":"not_found_error","param":null,"code":null}}`)
	})
}

func TestHostAndOriginLists(t *testing.T) {
	bubble(t, Options{}, func(g *rig) {
		f := func(host, origin string, want int) {
			t.Helper()
			req, _ := http.NewRequest(http.MethodGet, "http://"+addr+"/api/version", nil)
			req.Host = host
			if origin != "" {
				req.Header.Set("Origin", origin)
			}
			resp, err := g.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("host %q origin %q: %d, want %d", host, origin, resp.StatusCode, want)
			}
		}
		f("", "", 200)
		f("ollama", "", 403)
		f("10.1.2.3", "", 200)
		f("x.internal:11434", "", 200)
		f("evil.com", "", 403)
		f("", "http://evil.com", 403)
		f("", "http://localhost:3000", 200)
	})
}

// While a switch waits for a busy model, new requests of that model still pass: the switch starves.
func TestSwitchStarves(t *testing.T) {
	bubble(t, Options{MaxLoaded: 1, NumParallel: 2}, func(g *rig) {
		body := generate("m1", "[[prefill=1s each=-1ns tokens=1]]")
		for i := range 6 {
			g.wg.Go(func() {
				<-time.After(time.Duration(i) * 500 * ms)
				g.post("/api/generate", body)
			})
		}
		<-time.After(100 * ms)
		if r := g.post("/api/generate", generate("m2", "x")); r.code != 200 || r.at < 3500*ms {
			t.Errorf("m2: %d after %v, want the end of m1's traffic at 3.5s", r.code, r.at)
		}
	})
}
