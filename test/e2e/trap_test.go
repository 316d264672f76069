//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The traps of Ollama that only a real one can show: internal/gateway/trap_test.go has them all.

// TestTrap03NumGPUSticks: a model that was loaded with num_gpu: 0 stays on the CPU for those who do not say where they
// want it. Corral unloads it first.
func TestTrap03NumGPUSticks(t *testing.T) {
	o := newOllama(t, "a", "", nil, "m")
	cpu, plain := chat("m", "[[tokens=2]]", `,"options":{"num_gpu":0}`), chat("m", "[[tokens=2]]")
	both := func(base string) (loads int) {
		before := o.loads(t)
		for _, body := range []string{cpu, plain, plain} {
			if a := ask(t, base, http.MethodPost, "/api/chat", body); a.code != http.StatusOK {
				t.Errorf("%d %s", a.code, a.body)
			}
		}
		return o.loads(t) - before
	}
	if n := both(o.URL); n != 1 {
		t.Errorf("direct: %d loads, want 1 that sticks", n)
	}
	c := newCorral(t, configOf(o), nil)
	c.awaitUp(t, 1)
	ask(t, c.URL, http.MethodPost, "/api/generate", `{"model":"m","keep_alive":0}`)
	eventually(t, func() error {
		if a := ask(t, o.URL, http.MethodGet, "/api/ps", ""); strings.Contains(a.body, `"m:latest"`) {
			return fmt.Errorf("still loaded: %s", a.body)
		}
		return nil
	})
	if n := both(c.URL); n != 2 {
		t.Errorf("through Corral: %d loads, want one for each", n)
	}
}

// TestTrap09EmbeddingsBlameTheClient: when the engine of an embedding model dies, Ollama answers 400. Through Corral it
// is the server's fault, and the next request has the engine back.
func TestTrap09EmbeddingsBlameTheClient(t *testing.T) {
	o := newOllama(t, "e", "", nil, "emb")
	const deadly = `{"model":"emb","input":"[[crash=0]]"}`
	if a := ask(t, o.URL, http.MethodPost, "/api/embed", deadly); a.code != http.StatusBadRequest || !strings.Contains(a.body, "do embedding request") {
		t.Errorf("direct: %d %s", a.code, a.body)
	}
	c := newCorral(t, configOf(o), nil)
	c.awaitUp(t, 1)
	for _, path := range []string{"/api/embed", "/v1/embeddings"} {
		if a := ask(t, c.URL, http.MethodPost, path, deadly); a.code != http.StatusBadGateway || !strings.Contains(a.body, "engine of instance e died") {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
		if a := ask(t, c.URL, http.MethodPost, path, `{"model":"emb","input":"x"}`); a.code != http.StatusOK {
			t.Errorf("%s, the next one: %d %s", path, a.code, a.body)
		}
	}
}

// TestTrap20StoppingAnOllamaCutsItsStreams: SIGTERM cuts what runs. Through Corral a stream that has begun ends in an
// error that its client can read.
func TestTrap20StoppingAnOllamaCutsItsStreams(t *testing.T) {
	const prompt = "[[tokens=900 prefill=10ms each=100ms]]"
	o := newOllama(t, "a", "", nil, "m")
	c := newCorral(t, configOf(o), nil)
	c.awaitUp(t, 1)
	through := c.stream(t, prompt)
	straight := (&corral{URL: o.URL}).stream(t, prompt)
	if err := syscall.Kill(o.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if body, err := straight(); err == nil || strings.Contains(body, "error") {
		t.Errorf("direct: %v, want a cut: %s", err, clip(body))
	}
	if body, err := through(); err != nil || !strings.Contains(body, "\n{\"error\":\"") {
		t.Errorf("through Corral: %v, want an error at the end: %s", err, clip(body))
	}
}

// enginePortArg is where an engine listens, in what its server says when it starts one.
var enginePortArg = regexp.MustCompile(`msg="starting llama-server".*--port (\d+)`)

// TestTrap20AKilledOllamaLeavesItsEngine: SIGKILL leaves the engine behind, with its memory. Through Corral what has not
// begun to answer is done elsewhere. (That the engine goes too is for those who start instances.)
func TestTrap20AKilledOllamaLeavesItsEngine(t *testing.T) {
	a, b := newOllama(t, "a", "", nil, "m"), newOllama(t, "b", "", nil, "m")
	c := newCorral(t, configOf(a, b), nil)
	c.awaitUp(t, 2)
	answered := make(chan answer, 1)
	go func() {
		answered <- try(t, c.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=1 prefill=3s]]", `,"stream":false`))
	}()
	c.awaitQueue(t, 0, 1)
	victim := a
	for _, l := range c.status(t).Queue.Lanes {
		if l.InFlight > 0 && l.Instance == b.name {
			victim = b
		}
	}
	if err := victim.killServer(); err != nil {
		t.Fatal(err)
	}
	if r := <-answered; r.err != nil || r.code != http.StatusOK || r.header.Get("X-Corral-Attempts") != "2" || r.header.Get("X-Corral-Instance") == victim.name {
		t.Errorf("%d %v %v %s", r.code, r.err, r.header, r.body)
	}
	log, err := os.ReadFile(victim.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	port := enginePortArg.FindSubmatch(log)
	if port == nil {
		t.Fatalf("no engine in its log:\n%s", log)
	}
	if r := try(t, "http://127.0.0.1:"+string(port[1]), http.MethodGet, "/health", ""); r.code != http.StatusOK {
		t.Errorf("the engine has gone with its server: %d %v", r.code, r.err)
	}
}
