//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestBurst: many more calls at once than slots, on several routes, are all answered, each with its own answer; no
// instance ever runs more than its slots, nothing waits inside Ollama, and every slot works.
func TestBurst(t *testing.T) {
	const calls = 300
	a, b := newOllama(t, "a", "", nil, "m"), newOllama(t, "b", "", nil, "m")
	e := newOllama(t, "e", "", nil, "emb")
	c := newCorral(t, configOf(a, b, e), nil)
	c.awaitUp(t, 3)
	embeddings := map[string]string{}
	for i := range 10 {
		text := fmt.Sprintf("text %d", i)
		embeddings[text] = ask(t, direct.URL, http.MethodPost, "/v1/embeddings", fmt.Sprintf(`{"model":"emb","input":%q}`, text)).body
	}
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			if i%10 == 9 {
				text := fmt.Sprintf("text %d", i/10%10)
				r := ask(t, c.URL, http.MethodPost, "/v1/embeddings", fmt.Sprintf(`{"model":"emb","input":%q}`, text))
				if r.code != http.StatusOK || r.body != embeddings[text] {
					t.Errorf("embedding of %s: %d %s", text, r.code, clip(r.body))
				}
				return
			}
			word := fmt.Sprintf("client-%d.", i)
			routes := generating("m", fmt.Sprintf("[[tokens=4 prefill=40ms each=3ms say=%s]]", word), [...]string{"", `,"stream":true`}[i%2])
			q := routes[i%len(routes)]
			r := ask(t, c.URL, q.method, q.path, q.body)
			if r.code != http.StatusOK || strings.Count(r.body, "client-") == 0 || strings.Count(r.body, word) != strings.Count(r.body, "client-") {
				t.Errorf("%s on %s: %d %s", word, q.path, r.code, clip(r.body))
			}
		})
	}
	all.Wait()
	c.awaitQueue(t, 0, 0)
	total := 0
	for _, o := range []*ollama{a, b, e} {
		want := slots
		if o == e {
			want = 1 // Ollama runs an embedding model one request at a time
		}
		peak, waited := 0, 0.0
		records := o.records(t)
		for _, r := range records {
			peak, waited = max(peak, r.Running), max(waited, r.WaitMS)
			if r.Outcome != "done" {
				t.Errorf("%s: %+v", o.name, r)
			}
		}
		total += len(records)
		if peak != want {
			t.Errorf("%s ran up to %d at once, want %d", o.name, peak, want)
		}
		if o != e && len(records) < calls/10 {
			t.Errorf("%s answered only %d of %d", o.name, len(records), calls)
		}
		if waited > 0 {
			t.Errorf("%s: a request waited %.1f ms inside the engine", o.name, waited)
		}
	}
	if total != calls {
		t.Errorf("the engines ran %d requests for %d calls", total, calls)
	}
	ranInside(t, c, calls)
}

// ranInside checks that the metrics tell of as many answered calls, and that nothing is left.
func ranInside(t *testing.T, c *corral, calls int) {
	t.Helper()
	if got := metric(t, c, "corral_requests_total", `outcome="answered"`); got != calls {
		t.Errorf("corral_requests_total says %d were answered, want %d", got, calls)
	}
	for _, name := range []string{"corral_waiting", "corral_running"} {
		if got := metric(t, c, name, ""); got != 0 {
			t.Errorf("%s is %d at rest", name, got)
		}
	}
}

// metric is the sum of a metric's samples whose labels contain a text.
func metric(t *testing.T, c *corral, name, labels string) (sum int) {
	t.Helper()
	for line := range strings.Lines(ask(t, c.URL, http.MethodGet, "/metrics", "").body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != '{' && rest[0] != ' ') || !strings.Contains(rest, labels) {
			continue
		}
		var v json.Number
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		f, _ := v.Float64()
		sum += int(f)
	}
	return sum
}

// TestPatience: a request that waits for a slot sees its queue in the metrics and in the status, is answered when one is
// free, and its headers say how long it waited. One that leaves while it waits is gone at once.
func TestPatience(t *testing.T) {
	c := newCorral(t, configOf(langA, langB), nil)
	c.await(t, "/readyz", "ready")
	free := c.busy(t, 2*slots)
	var all sync.WaitGroup
	all.Go(func() {
		r := ask(t, c.URL, http.MethodPost, "/api/chat", chat("m", "[[tokens=2 say=patient]]", `,"stream":false`))
		if r.code != http.StatusOK || !strings.Contains(r.body, "patient") || r.header.Get("X-Corral-Queue-Ms") == "0" {
			t.Errorf("%d %v %s", r.code, r.header, r.body)
		}
	})
	c.awaitQueue(t, 1, 2*slots)
	if w, r := metric(t, c, "corral_waiting", ""), metric(t, c, "corral_running", ""); w != 1 || r != 2*slots {
		t.Errorf("corral_waiting %d, corral_running %d", w, r)
	}
	leave := c.waiter(t)
	c.awaitQueue(t, 2, 2*slots)
	leave()
	c.awaitQueue(t, 1, 2*slots)
	free()
	all.Wait()
	c.awaitQueue(t, 0, 0)
	if n := metric(t, c, "corral_requests_total", `outcome="left"`); n != 2*slots+1 {
		t.Errorf("%d calls are counted as left, want %d", n, 2*slots+1)
	}
}
