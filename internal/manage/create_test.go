package manage_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"corral/ollamatest"
)

// blob is content and its digest.
func blob(n int) (content []byte, digest string) {
	content = bytes.Repeat([]byte("gguf"), n/4)
	sum := sha256.Sum256(content)
	return content, "sha256:" + hex.EncodeToString(sum[:])
}

func (g *rig) head(digest string) int {
	return g.do(g.Context(), http.MethodHead, "/api/blobs/"+digest, nil).status
}

func TestCreateFromBlob(t *testing.T) {
	nodes := named("a", "b", "c")
	nodes[1].MaxModel = 1000
	nodes[2].Roles = []string{"embed"}
	bubble(t, nodes, func(g *rig) {
		content, digest := blob(3 << 20)
		if got := g.head(digest); got != http.StatusNotFound {
			g.Errorf("%d before the upload", got)
		}
		for _, want := range []int{http.StatusCreated, http.StatusOK} {
			a := g.do(g.Context(), http.MethodPost, "/api/blobs/"+digest, bytes.NewReader(content))
			if a.status != want || a.body != "" || a.header.Get("X-Corral-Instance") != "a,b,c" {
				g.Errorf("%d %s %v %v, want %d", a.status, a.body, a.header, a.err, want)
			}
		}
		if got := g.head(digest); got != http.StatusOK {
			g.Errorf("%d after the upload", got)
		}
		last := g.end(g.post("/api/create", `{"model":"mine","files":{"m.gguf":"`+digest+`"}}`))
		if last.Status != "success" || g.holders("mine:latest") != "a" {
			g.Errorf("%+v on %s", last, g.holders("mine:latest"))
		}
		a := g.post("/api/create", `{"model":"my-embedder","files":{"m.gguf":"`+digest+`"},"stream":false}`)
		if a.body != `{"status":"success"}` || g.holders("my-embedder:latest") != "a,c" {
			g.Errorf("%d %s on %s", a.status, a.body, g.holders("my-embedder:latest"))
		}
		// A model of a model goes where that one is.
		last = g.end(g.post("/api/create", `{"model":"twin","from":"mine"}`))
		if last.Status != "success" || g.holders("twin:latest") != "a" {
			g.Errorf("%+v on %s", last, g.holders("twin:latest"))
		}
	})
}

// TestTrap15CreateGoesWhereItsBlobsAre: an instance that was away during the upload is left out.
func TestTrap15CreateGoesWhereItsBlobsAre(t *testing.T) {
	bubble(t, named("a", "b", "c"), func(g *rig) {
		g.down("a")
		content, digest := blob(1 << 10)
		if a := g.do(g.Context(), http.MethodPost, "/api/blobs/"+digest, bytes.NewReader(content)); a.status != http.StatusCreated {
			g.Errorf("%d %s", a.status, a.body)
		}
		g.up("a")
		time.Sleep(30 * time.Second)
		if got := g.head(digest); got != http.StatusNotFound {
			g.Errorf("%d although a does not have it", got)
		}
		body := `{"model":"mine","files":{"m.gguf":"` + digest + `"}}`
		if last := g.end(g.post("/api/create", body)); last.Status != "success" || g.holders("mine:latest") != "b,c" {
			g.Errorf("%+v on %s", last, g.holders("mine:latest"))
		}
		a := g.post("/api/create", strings.Replace(body, digest, ollamatest.LayerOf("nobody has it"), 1))
		if a.status != http.StatusInternalServerError || !strings.Contains(a.body, "no such file") {
			g.Errorf("%d %s", a.status, a.body)
		}
		a = g.post("/api/create", `{"model":"mine"}`)
		if a.status != http.StatusBadRequest || a.body != `{"error":"neither 'from' or 'files' was specified"}` {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestCreateFromRegistry: a base that nobody has is pulled by those that make the model.
func TestCreateFromRegistry(t *testing.T) {
	nodes := named("a", "b")
	nodes[0].Roles = []string{"embed"}
	bubble(t, nodes, func(g *rig) {
		g.offer(big())
		if last := g.end(g.post("/api/create", `{"model":"mine","from":"big"}`)); last.Status != "success" || g.holders("mine:latest") != "b" {
			g.Errorf("%+v on %s", last, g.holders("mine:latest"))
		}
	})
}

func TestTwoCreatesAtOnce(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		var mu sync.Mutex
		running, most := 0, 0
		for name, front := range g.fronts {
			g.stops[name]()
			g.fronts[name] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/api/create" && name == "a" {
					mu.Lock()
					running++
					most = max(most, running)
					mu.Unlock()
					defer func() { mu.Lock(); running--; mu.Unlock() }()
					time.Sleep(time.Second)
				}
				front.ServeHTTP(w, r)
			})
			g.up(name)
		}
		time.Sleep(time.Minute)
		for _, base := range []string{"x", "y"} {
			for _, s := range g.servers {
				s.Add(ollamatest.Model{Name: base})
			}
		}
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		for _, base := range []string{"x", "y", "x", "y"} {
			all.Go(func() {
				if last := g.end(g.post("/api/create", `{"model":"mine","from":"`+base+`"}`)); last.Status != "success" {
					g.Errorf("%+v", last)
				}
			})
		}
		all.Wait()
		if most != 1 {
			g.Errorf("%d at once", most)
		}
		if differ := g.fleet.Differing(); len(differ) != 0 {
			g.Errorf("half of one and half of the other: %v", differ)
		}
	})
}

func TestWrongDigest(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		content, digest := blob(1 << 20)
		wrong := ollamatest.LayerOf("something else")
		a := g.do(g.Context(), http.MethodPost, "/api/blobs/"+wrong, bytes.NewReader(content))
		if a.status != http.StatusBadRequest || a.body != `{"error":"digest mismatch, expected \"`+wrong+`\", got \"`+digest+`\""}` {
			g.Errorf("%d %s", a.status, a.body)
		}
		for _, name := range []string{"sha256:123", "x", "sha256:" + strings.Repeat("g", 64)} {
			if a := g.post("/api/blobs/"+name, "x"); a.status != http.StatusBadRequest || a.body != `{"error":"invalid digest format"}` {
				g.Errorf("%s: %d %s", name, a.status, a.body)
			}
			if got := g.head(name); got != http.StatusBadRequest {
				g.Errorf("%s: %d", name, got)
			}
		}
	})
}

// broken is a body that ends with an error after some bytes.
type broken struct{ rest int }

func (b *broken) Read(p []byte) (int, error) {
	if b.rest == 0 {
		return 0, errors.New("the client is gone")
	}
	n := min(len(p), b.rest)
	b.rest -= n
	return n, nil
}

// TestHalfAnUpload leaves nothing: no blob, and (the bubble checks) no goroutine.
func TestHalfAnUpload(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		content, digest := blob(8 << 20)
		if a := g.do(g.Context(), http.MethodPost, "/api/blobs/"+digest, &broken{rest: 5 << 20}); a.err == nil && a.status == http.StatusCreated {
			g.Errorf("%d %s", a.status, a.body)
		}
		time.Sleep(time.Minute)
		for name, s := range g.servers {
			if n := s.Blobs(); n != 0 {
				g.Errorf("%s keeps %d", name, n)
			}
		}
		if a := g.do(g.Context(), http.MethodPost, "/api/blobs/"+digest, bytes.NewReader(content)); a.status != http.StatusCreated {
			g.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestGarbledUpload: the client is still there, so only Corral knows that half a blob is none.
func TestGarbledUpload(t *testing.T) {
	bubble(t, named("a", "b"), func(g *rig) {
		conn, err := g.net.DialContext(g.Context(), "tcp", deskAddr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, digest := blob(1 << 10)
		go func() {
			_, _ = io.WriteString(conn, "POST /api/blobs/"+digest+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nzz\r\n")
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		time.Sleep(time.Minute)
		if resp.StatusCode != http.StatusBadRequest || g.servers["a"].Blobs()+g.servers["b"].Blobs() != 0 {
			g.Errorf("%d, %d blobs", resp.StatusCode, g.servers["a"].Blobs()+g.servers["b"].Blobs())
		}
	})
}

// TestSlowestSetsThePace: an upload waits for an instance that is slow, with bounded memory.
func TestSlowestSetsThePace(t *testing.T) {
	nodes := named("a", "b")
	var read, sent atomic.Int64
	nodes[1].front = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/api/blobs/") {
				r.Body = io.NopCloser(io.TeeReader(slow{r.Body}, counter{&read}))
			}
			next.ServeHTTP(w, r)
		})
	}
	bubble(t, nodes, func(g *rig) {
		content, digest := blob(16 << 20)
		var all sync.WaitGroup
		all.Go(func() {
			a := g.do(g.Context(), http.MethodPost, "/api/blobs/"+digest, io.TeeReader(bytes.NewReader(content), counter{&sent}))
			if a.status != http.StatusCreated {
				g.Errorf("%d %s %v", a.status, a.body, a.err)
			}
		})
		time.Sleep(2*time.Second + time.Millisecond)
		taken := read.Load()
		if ahead := sent.Load() - taken; taken == 0 || taken == int64(len(content)) || ahead > 2<<20 {
			g.Errorf("%d ahead of %d", ahead, taken)
		}
		all.Wait()
		if g.servers["a"].Blobs() != 1 || g.servers["b"].Blobs() != 1 {
			g.Error("not on both")
		}
	})
}

// slow is a body that is read slowly.
type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Reader.Read(p[:min(len(p), 32<<10)])
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// TestUploadDropsOut: instances that refuse, break off or take nothing do not stop an upload to the others.
func TestUploadDropsOut(t *testing.T) {
	faults := map[string]func(w http.ResponseWriter, r *http.Request){
		"refuses":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			nodes := named("a", "b")
			nodes[0].front = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/api/blobs/") {
						fault(w, r)
						return
					}
					next.ServeHTTP(w, r)
				})
			}
			bubble(t, nodes, func(g *rig) {
				content, digest := blob(4 << 20)
				ctx, cancel := context.WithTimeout(g.Context(), 10*time.Minute)
				defer cancel()
				a := g.do(ctx, http.MethodPost, "/api/blobs/"+digest, bytes.NewReader(content))
				if a.status != http.StatusCreated || a.header.Get("X-Corral-Instance") != "b" {
					g.Errorf("%d %s %v", a.status, a.body, a.err)
				}
				time.Sleep(time.Minute)
				if last := g.end(g.post("/api/create", `{"model":"mine","files":{"m.gguf":"`+digest+`"}}`)); last.Status != "success" || g.holders("mine:latest") != "b" {
					g.Errorf("%+v on %s", last, g.holders("mine:latest"))
				}
				time.Sleep(time.Hour)
			})
		})
	}
}
