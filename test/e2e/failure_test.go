//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestInstanceKilled: an Ollama that is killed in the middle of a burst costs only what it was running; what waited is
// answered by the other one. Back on its address, it is used again.
func TestInstanceKilled(t *testing.T) {
	const calls = 80
	a, b := newOllama(t, "a", "", nil, "m"), newOllama(t, "b", "", nil, "m")
	c := newCorral(t, configOf(a, b), nil)
	c.awaitUp(t, 2)
	var all sync.WaitGroup
	var answered, lost atomic.Int64
	for i := range calls {
		all.Go(func() {
			word := fmt.Sprintf("client-%d.", i)
			r := try(t, c.URL, http.MethodPost, "/v1/chat/completions", chat("m", fmt.Sprintf("[[tokens=5 prefill=60ms each=10ms say=%s]]", word)))
			switch {
			case r.err == nil && r.code == http.StatusOK && strings.Contains(r.body, word):
				answered.Add(1)
			case r.code >= 500 || r.err != nil:
				lost.Add(1)
				t.Logf("%s lost: %d %v %s", word, r.code, r.err, r.body)
			default:
				t.Errorf("%s: %d %s", word, r.code, r.body)
			}
		})
	}
	eventually(t, func() error {
		if n := answered.Load(); n < 10 {
			return fmt.Errorf("%d answered", n)
		}
		return nil
	})
	if err := a.killServer(); err != nil {
		t.Fatal(err)
	}
	c.awaitUp(t, 1)
	all.Wait()
	if lost.Load() > slots || answered.Load()+lost.Load() != calls {
		t.Errorf("%d answered, %d lost with an instance of %d slots", answered.Load(), lost.Load(), slots)
	}
	if n := len(b.records(t)); n <= calls/2 {
		t.Errorf("b answered only %d of %d", n, calls)
	}
	addr := a.addr()
	a.kill() // its engines, which outlived it
	newOllama(t, "a", addr, nil, "m")
	c.awaitUp(t, 2)
	c.busy(t, 2*slots)
}

// TestInstanceComesLate: an instance that is down at the start is waited for, and used once it is there.
func TestInstanceComesLate(t *testing.T) {
	addr, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("instances:\n  - {name: late, url: http://%s, slots: 2, models: [m]}\n", addr)
	c := newCorral(t, config, nil)
	c.awaitOutput(t, "not usable, waiting for it")
	if a := ask(t, c.URL, http.MethodGet, "/readyz", ""); a.code != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d %s", a.code, a.body)
	}
	for _, q := range append(generating("m", "x", ""), embedding("emb", "x")...) {
		a := ask(t, c.URL, q.method, q.path, q.body)
		if a.code != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "no Ollama instance can be reached") {
			t.Errorf("%s: %d %v %s", q.path, a.code, a.header, a.body)
		}
	}
	newOllama(t, "late", addr, nil, "m", "other")
	c.await(t, "/readyz", "ready")
	if a := ask(t, c.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=2]]")); a.code != http.StatusOK {
		t.Errorf("%d %s", a.code, a.body)
	}
	// It has this model too, but is not to be asked for it.
	if a := ask(t, c.URL, http.MethodPost, "/api/chat", chat("other", "[[tokens=2]]")); a.code != http.StatusNotFound {
		t.Errorf("a model that the instance's globs leave out: %d %s", a.code, a.body)
	}
	c.busy(t, slots)
}

// TestEngineCrash: an engine that dies ends the streams that ran on it with an error, and the next request loads the
// model again.
func TestEngineCrash(t *testing.T) {
	a := newOllama(t, "a", "", nil, "m")
	c := newCorral(t, configOf(a), nil)
	c.awaitUp(t, 1)
	for _, q := range generating("m", "[[tokens=9 each=5ms crash=3]]", `,"stream":true`) {
		got := ask(t, c.URL, q.method, q.path, q.body)
		if got.code == http.StatusOK && !strings.Contains(got.body, `"error"`) {
			t.Errorf("%s: a broken stream without an error: %s", q.path, got.body)
		}
		after := ask(t, c.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=2]]", `,"stream":false`))
		if after.code != http.StatusOK {
			t.Errorf("after a crash on %s: %d %s", q.path, after.code, after.body)
		}
	}
}

// TestRoles: an instance is asked only for what it is there for.
func TestRoles(t *testing.T) {
	both := newOllama(t, "both", "", nil, "m", "emb")
	config := fmt.Sprintf("instances:\n  - {name: talks, url: %s, roles: [generate]}\n  - {name: embeds, url: %s, roles: [embed]}\n", langA.URL, both.URL)
	c := newCorral(t, config, nil)
	c.awaitUp(t, 2)
	for _, q := range generating("m", "[[tokens=2]]", "") {
		if a := ask(t, c.URL, q.method, q.path, q.body); a.code != http.StatusOK || a.header.Get("X-Corral-Instance") != "talks" {
			t.Errorf("%s: %d by %s: %s", q.path, a.code, a.header.Get("X-Corral-Instance"), a.body)
		}
	}
	for _, q := range embedding("emb", "x") {
		if a := ask(t, c.URL, q.method, q.path, q.body); a.code != http.StatusOK || a.header.Get("X-Corral-Instance") != "embeds" {
			t.Errorf("%s: %d by %s: %s", q.path, a.code, a.header.Get("X-Corral-Instance"), a.body)
		}
	}
	for _, q := range generating("emb", "x", "") {
		if a := ask(t, c.URL, q.method, q.path, q.body); a.code != http.StatusNotFound || !strings.Contains(a.body, "'emb' not found") {
			t.Errorf("%s with a model that is only embedded with: %d %s", q.path, a.code, a.body)
		}
	}
}
