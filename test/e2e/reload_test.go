//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// rewrite replaces a Corral's corral.yaml as an editor does.
func (c *corral) rewrite(t *testing.T, config string) {
	t.Helper()
	path := filepath.Join(c.dir, "corral.yaml")
	if err := os.WriteFile(path+".new", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// traffic keeps callers asking until it is stopped; every answer must be right. made is how many were answered so far.
func (c *corral) traffic(t *testing.T, callers int) (made *atomic.Int64, stop func()) {
	made = new(atomic.Int64)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				word := fmt.Sprintf("caller-%d-%d.", i, n)
				routes := generating("m", fmt.Sprintf("[[tokens=3 prefill=20ms each=5ms say=%s]]", word), [...]string{"", `,"stream":true`}[n%2])
				q := routes[n%len(routes)]
				a := ask(t, c.URL, q.method, q.path, q.body)
				if a.code != http.StatusOK || !strings.Contains(a.body, word) {
					t.Errorf("%s: %d %s", q.path, a.code, clip(a.body))
				}
				made.Add(1)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(stop)
	return made, stop
}

// TestReload: instances come and go while requests run, by a change of the file and by SIGHUP, and no request fails.
func TestReload(t *testing.T) {
	c := newCorral(t, configOf(langA), nil)
	c.awaitUp(t, 1)
	long := c.stream(t, "[[tokens=60 each=50ms say=long]]") // runs on a, which is removed under it
	made, stop := c.traffic(t, 5)
	more := func() { // until the new state has been worked in
		before := made.Load()
		eventually(t, func() error {
			if n := made.Load() - before; n < 20 {
				return fmt.Errorf("%d more answers", n)
			}
			return nil
		})
	}
	more()
	c.rewrite(t, configOf(langA, langB))
	c.awaitUp(t, 2)
	more()
	c.rewrite(t, configOf(langB))
	c.signal(t, syscall.SIGHUP)
	c.awaitUp(t, 1)
	more()
	if body, err := long(); err != nil || !strings.Contains(body, `"done":true`) {
		t.Errorf("the request that ran on the removed instance: %v %s", err, clip(body))
	}
	a := ask(t, c.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=2]]"))
	if by := a.header.Get("X-Corral-Instance"); by != "b" {
		t.Errorf("%s answers although only b is left", by)
	}
	c.rewrite(t, configOf(langB, langA))
	c.awaitUp(t, 2)
	more()
	stop()
	c.awaitQueue(t, 0, 0)
	for _, outcome := range []string{"failed", "broken", "rejected", "full"} {
		if n := metric(t, c, "corral_requests_total", `outcome="`+outcome+`"`); n != 0 {
			t.Errorf("%d requests are counted as %s", n, outcome)
		}
	}
	c.busy(t, 2*slots) // all slots of both are there
}

// TestReloadRefused: a file with a mistake, or none at all, changes nothing, and the output shows the mistake.
func TestReloadRefused(t *testing.T) {
	c := newCorral(t, configOf(langA), nil)
	c.awaitUp(t, 1)
	works := func() {
		t.Helper()
		if a := ask(t, c.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=2]]")); a.code != http.StatusOK || a.header.Get("X-Corral-Instance") != "a" {
			t.Errorf("%d %v %s", a.code, a.header, a.body)
		}
		if s := c.status(t); len(s.Instances) != 1 || s.Instances[0].Name != "a" || !s.Instances[0].Up {
			t.Errorf("%+v", s)
		}
	}
	for i, config := range []string{
		"instances: [\n", "instances:\n  - {name: b, url: " + langB.URL + ", slot: 3}\n", "instances: [{name: b}]\n",
		configOf(langA) + "queue: {max_body: much}\n",
	} {
		c.rewrite(t, config)
		eventually(t, func() error {
			if n := strings.Count(c.output(), "configuration refused"); n != i+1 {
				return fmt.Errorf("%d refusals, want %d:\n%s", n, i+1, c.output())
			}
			return nil
		})
		works()
	}
	if out := c.output(); !strings.Contains(out, `unknown key "slot"`) || !strings.Contains(out, "corral.yaml:2:") {
		t.Errorf("the mistake is not shown:\n%s", out)
	}
	if err := os.Remove(filepath.Join(c.dir, "corral.yaml")); err != nil {
		t.Fatal(err)
	}
	c.signal(t, syscall.SIGHUP)
	eventually(t, func() error {
		if n := strings.Count(c.output(), "configuration refused"); n != 5 {
			return fmt.Errorf("%d refusals:\n%s", n, c.output())
		}
		return nil
	})
	works()
	c.rewrite(t, configOf(langA, langB))
	c.awaitUp(t, 2)
}
