package manage_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"corral/internal/config"
	"corral/ollamatest"
)

// big is a model of two layers that takes 20 s to pull.
func big() ollamatest.Offer {
	return ollamatest.Offer{
		Model:  ollamatest.Model{Name: "big", Size: 2000},
		Layers: []string{ollamatest.LayerOf("one"), ollamatest.LayerOf("two")}, Bytes: 1000, Rate: 100,
	}
}

const pullBig = `{"model":"big"}`

func TestPull(t *testing.T) {
	bubble(t, named("a", "b", "c"), func(g *rig) {
		g.offer(big())
		start := time.Now()
		a := g.post("/api/pull", pullBig)
		lines := g.lines(a)
		if last := lines[len(lines)-1]; last != (line{Status: "success"}) {
			g.Errorf("%+v", last)
		}
		if got := g.holders("big:latest"); got != "a,b,c" {
			g.Errorf("on %s", got)
		}
		// One instance first, then all others at once.
		if took := time.Since(start); took < 40*time.Second || took > 45*time.Second {
			g.Errorf("took %s", took)
		}
		said := map[string]int{}
		for _, l := range lines {
			if l.Digest == "" {
				said[l.Status]++
			} else if l.Total != 3000 || l.Status != "pulling "+l.Digest[7:19] {
				g.Errorf("%+v", l)
			}
		}
		for _, status := range []string{"pulling manifest", "verifying sha256 digest", "writing manifest", "success", "pull on b, c"} {
			if said[status] != 1 {
				g.Errorf("%q said %d times", status, said[status])
			}
		}
		// A bar that moves once a tick and instance would be too much; none would be too little.
		if len(lines) < 300 || len(lines) > 900 {
			g.Errorf("%d lines", len(lines))
		}
	})
}

func TestPullWithoutStream(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		g.offer(big())
		a := g.post("/api/pull", `{"name":"BIG:latest","stream":false}`)
		if a.status != http.StatusOK || a.body != `{"status":"success"}` || a.header.Get("X-Corral-Instance") != "a,b" {
			g.Errorf("%d %s %s", a.status, a.body, a.header)
		}
		a = g.post("/api/pull", `{"model":"nope","stream":false}`)
		if a.status != http.StatusInternalServerError || a.body != `{"error":"pull model manifest: file does not exist"}` {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestPullUnknown: the registry's own words, once, and not everybody is asked.
func TestPullUnknown(t *testing.T) {
	bubble(t, named("a", "b", "c"), func(g *rig) {
		g.offer(big())
		if last := g.end(g.post("/api/pull", `{"model":"nope"}`)); last.Error != "pull model manifest: file does not exist" {
			g.Errorf("%+v", last)
		}
		if n := g.count("c", "/api/pull"); n != 0 {
			g.Errorf("c was asked %d times", n)
		}
	})
}

// TestPullFailsOnOne: the others have it, the error says who failed and why, and the next pull goes on from there.
func TestPullFailsOnOne(t *testing.T) {
	for _, culprit := range []string{"a", "b", "c"} {
		t.Run(culprit, func(t *testing.T) {
			bubble(t, named("a", "b", "c"), func(g *rig) {
				g.offer(big())
				broken := big()
				broken.FailAt, broken.Fail = 1500, "no space left on device"
				g.servers[culprit].Offer(broken)
				others := strings.Join(strings.Split(strings.ReplaceAll("a, b, c", culprit, ""), ", "), " ")
				last := g.end(g.post("/api/pull", pullBig))
				for _, want := range append(strings.Fields(others), culprit+" (no space left on device)", "succeeded on", "Repeat") {
					if !strings.Contains(last.Error, want) {
						g.Errorf("%q not in %q", want, last.Error)
					}
				}
				if got := g.holders("big:latest"); strings.Contains(got, culprit) || len(got) != 3 {
					g.Errorf("on %s", got)
				}
				g.servers[culprit].Offer(big()) // there is room now
				start := time.Now()
				if last := g.end(g.post("/api/pull", pullBig)); last.Status != "success" {
					g.Errorf("%+v", last)
				}
				if took := time.Since(start); took > 6*time.Second {
					g.Errorf("took %s: what was there came again", took)
				}
				if got := g.holders("big:latest"); got != "a,b,c" {
					g.Errorf("on %s", got)
				}
			})
		})
	}
}

// TestFirstDiesMidPull: another one goes first, and the error names the one that died.
func TestFirstDiesMidPull(t *testing.T) {
	bubble(t, named("a", "b", "c"), func(g *rig) {
		g.offer(big())
		var all sync.WaitGroup
		all.Go(func() {
			last := g.end(g.post("/api/pull", pullBig))
			if !strings.Contains(last.Error, "failed on a (it did not answer to the end); it succeeded on b, c") {
				g.Errorf("%+v", last)
			}
		})
		time.Sleep(5 * time.Second)
		g.down("a")
		all.Wait()
		if got := g.holders("big:latest"); got != "b,c" {
			g.Errorf("on %s", got)
		}
	})
}

// TestHungMidPull: one that takes the request, says nothing any more and misses its polls does not hold the answer
// for ever.
func TestHungMidPull(t *testing.T) {
	hang := make(chan struct{})
	nodes := named("a", "b")
	nodes[1].front = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
				_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client leaves
				<-r.Context().Done()
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
	bubble(t, nodes, func(g *rig) {
		g.offer(big())
		time.AfterFunc(10*time.Second, func() { close(hang) })
		last := g.end(g.post("/api/pull", pullBig))
		if !strings.Contains(last.Error, "failed on b (") || !strings.Contains(last.Error, "succeeded on a") {
			g.Errorf("%+v", last)
		}
	})
}

// TestPullAlreadyThere: it is quick, and it says so.
func TestPullAlreadyThere(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		g.offer(big())
		g.post("/api/pull", pullBig)
		start := time.Now()
		if last := g.end(g.post("/api/pull", pullBig)); last.Status != "success" || time.Since(start) > time.Second {
			g.Errorf("%+v after %s", last, time.Since(start))
		}
	})
}

// TestWhereAModelBelongs: globs, roles and max_model, and what an explicit choice overrides.
func TestWhereAModelBelongs(t *testing.T) {
	nodes := func() []node {
		return []node{
			{Instance: config.Instance{Name: "gen", Roles: []string{"generate"}}},
			{Instance: config.Instance{Name: "emb", Roles: []string{"embed"}}},
			{Instance: config.Instance{Name: "small", MaxModel: 1000}},
			{Instance: config.Instance{Name: "qwen", Models: []string{"qwen*"}}},
		}
	}
	offers := []ollamatest.Offer{
		{Model: ollamatest.Model{Name: "chat", Size: 500}},
		{Model: ollamatest.Model{Name: "vectors", Size: 500, Capabilities: []string{"embedding"}}},
		{Model: ollamatest.Model{Name: "large", Size: 5000}},
		{Model: ollamatest.Model{Name: "qwen3:4b", Size: 5000}},
	}
	f := func(model, header, want string) {
		t.Helper()
		t.Run(model+header, func(t *testing.T) {
			bubble(t, nodes(), func(g *rig) {
				for _, o := range offers {
					g.offer(o)
				}
				var headers []string
				if header != "" {
					headers = []string{"X-Corral-Instance", header}
				}
				for range 2 { // a second pull knows what the model is, and does the same
					if last := g.end(g.post("/api/pull", `{"model":"`+model+`"}`, headers...)); last.Status != "success" {
						g.Errorf("%+v", last)
					}
					if got := g.holders(model); got != want {
						g.Errorf("%s is on %s, want %s", model, got, want)
					}
				}
			})
		})
	}
	f("chat:latest", "", "gen,small")
	f("vectors:latest", "", "emb,small") // gen is asked first, and does not keep it
	f("large:latest", "", "gen")
	f("qwen3:4b", "", "gen,qwen")
	f("large:latest", "small, emb", "emb,small")
	f("vectors:latest", "gen", "gen")
}

// TestFirstKeepsWhatItHad: an instance that does not want a model but has it keeps it.
func TestFirstKeepsWhatItHad(t *testing.T) {
	nodes := named("a", "b")
	nodes[0].MaxModel = 1000
	bubble(t, nodes, func(g *rig) {
		g.offer(big())
		g.servers["a"].Add(ollamatest.Model{Name: "big"}) // behind Corral's back
		if last := g.end(g.post("/api/pull", pullBig)); last.Status != "success" {
			g.Errorf("%+v", last)
		}
		if got := g.holders("big:latest"); got != "a,b" {
			g.Errorf("on %s", got)
		}
	})
}

// TestNobodyWants: the error says why, for each, and nothing stays.
func TestNobodyWants(t *testing.T) {
	nodes := named("a", "b", "c")
	nodes[0].MaxModel, nodes[1].Roles, nodes[2].Models = 1000, []string{"embed"}, []string{"x*"}
	bubble(t, nodes, func(g *rig) {
		g.offer(big())
		last := g.end(g.post("/api/pull", pullBig))
		for _, want := range []string{"no instance wants big", "a: 0.00 GB is more than its max_model, 1KB", "b: its role is embed, but the model is for generate"} {
			if !strings.Contains(last.Error, want) {
				g.Errorf("%q not in %q", want, last.Error)
			}
		}
		if got := g.holders("big:latest"); got != "" {
			g.Errorf("on %s", got)
		}
	})
	nodes = nodes[2:]
	bubble(t, nodes, func(g *rig) {
		a := g.post("/api/pull", pullBig)
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, "c: its `models` do not include it") {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestNamedInstances(t *testing.T) {
	bubble(t, named("a", "b", "c"), func(g *rig) {
		g.down("c")
		f := func(header string, status int, want string) {
			t.Helper()
			for _, path := range []string{"/api/pull", "/api/create", "/api/push", "/api/copy"} {
				a := g.post(path, `{"model":"m","source":"m","destination":"n"}`, "X-Corral-Instance", header)
				if a.status != status || !strings.Contains(a.body, want) || !strings.Contains(a.body, "there are a, b, c") {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
		}
		f("a, wobble", http.StatusBadRequest, `\"wobble\", which is no instance`)
		f("c", http.StatusServiceUnavailable, "names c, which can not be reached now")
	})
}

// TestClientLeavesPull: the instances stop, what has come stays, and the name is free again.
func TestClientLeavesPull(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		g.offer(big())
		ctx, cancel := context.WithTimeout(g.Context(), 30*time.Second) // a is done, b is halfway
		defer cancel()
		g.do(ctx, http.MethodPost, "/api/pull", strings.NewReader(pullBig))
		time.Sleep(time.Minute)
		if got := g.holders("big:latest"); got != "a" {
			g.Errorf("on %s", got)
		}
		start := time.Now()
		if last := g.end(g.post("/api/pull", pullBig)); last.Status != "success" || time.Since(start) > 12*time.Second {
			g.Errorf("%+v after %s", last, time.Since(start))
		}
	})
}

// TestClientLeavesUnwanted: a model that is where it does not belong is removed, even if nobody waits any more.
func TestClientLeavesUnwanted(t *testing.T) {
	nodes := named("a", "b")
	nodes[0].Roles = []string{"embed"}
	bubble(t, nodes, func(g *rig) {
		g.offer(big())
		ctx, cancel := context.WithTimeout(g.Context(), 30*time.Second)
		defer cancel()
		g.do(ctx, http.MethodPost, "/api/pull", strings.NewReader(pullBig))
		time.Sleep(time.Minute)
		if got := g.holders("big:latest"); got != "" {
			g.Errorf("on %s", got)
		}
	})
}

// TestPullsOfOneName take turns; those of two names do not.
func TestPullsOfOneName(t *testing.T) {
	bubble(t, named("a"), func(g *rig) {
		g.offer(big())
		other := big()
		other.Name, other.Layers = "other", []string{ollamatest.LayerOf("three")}
		g.offer(other)
		start := time.Now()
		var all sync.WaitGroup
		for _, body := range []string{pullBig, `{"model":"BIG"}`, `{"model":"other"}`} {
			all.Go(func() {
				if last := g.end(g.post("/api/pull", body)); last.Status != "success" {
					g.Errorf("%+v", last)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took > 25*time.Second {
			g.Errorf("took %s", took)
		}
	})
}

// TestOddNames: Ollama's own texts.
func TestOddNames(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		for _, name := range []string{"a b", "modèle", "../../etc/passwd", strings.Repeat("x", 400), "a%2Fb", "", "m:cloud:local"} {
			for _, path := range []string{"/api/pull", "/api/create", "/api/copy", "/api/delete"} {
				method := http.MethodPost
				if path == "/api/delete" {
					method = http.MethodDelete
				}
				body := `{"model":"` + name + `","source":"` + name + `","destination":"x","from":"m"}`
				got := g.do(g.Context(), method, path, strings.NewReader(body))
				req, err := http.NewRequestWithContext(g.Context(), method, "http://"+g.addrs["a"]+path, strings.NewReader(body))
				if err != nil {
					g.Fatal(err)
				}
				resp, err := g.client.Do(req)
				if err != nil {
					g.Fatal(err)
				}
				want, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if got.status != resp.StatusCode || got.body != string(want) || got.header.Get("Content-Type") != resp.Header.Get("Content-Type") {
					g.Errorf("%s %.20q: %d %s, Ollama %d %s", path, name, got.status, got.body, resp.StatusCode, want)
				}
			}
		}
		if a := g.post("/api/pull", `{`); a.status != http.StatusBadRequest || !strings.Contains(a.body, "unexpected EOF") {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}
