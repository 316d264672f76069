//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestNative: the generation of Ollama whose engine computes for real. A burst on two language instances and one for
// embeddings is answered by all of them, with the vectors that one of them gives straight; a client that leaves frees its
// slot; a prompt that was cut is told of.
func TestNative(t *testing.T) {
	binary := nativeBin(t)
	alone := newBinary(t, binary, "alone", "", nil, "emb")
	a, b := newBinary(t, binary, "a", "", nil, "m"), newBinary(t, binary, "b", "", nil, "m")
	e := newBinary(t, binary, "e", "", nil, "emb")
	c := newCorral(t, configOf(a, b, e), nil)
	c.awaitUp(t, 3)
	t.Run("burst", func(t *testing.T) { nativeBurst(t, c, alone) })
	t.Run("cancel", func(t *testing.T) { nativeCancel(t, c) })
	t.Run("cut prompt", func(t *testing.T) {
		long := strings.Repeat("a word or two ", 3000)
		body := fmt.Sprintf(`{"model":"m","stream":false,"prompt":%q,"options":{"num_ctx":512,"num_predict":2}}`, long)
		r := ask(t, c.URL, http.MethodPost, "/api/generate", body)
		if got := r.header.Get("X-Corral-Warning"); r.code != http.StatusOK || !strings.Contains(got, "prompt-truncated") {
			t.Errorf("%d, X-Corral-Warning %q: %s", r.code, got, clip(r.body))
		}
	})
}

func nativeBurst(t *testing.T, c *corral, alone *ollama) {
	const calls = 60
	prompts := make([]string, calls)
	want := make([]string, calls)
	said := func(r answer) string {
		var reply struct {
			Response   string
			Embeddings [][]float64
		}
		if err := json.Unmarshal([]byte(r.body), &reply); err != nil || r.code != http.StatusOK {
			t.Errorf("%d %v %s", r.code, err, clip(r.body))
		}
		return fmt.Sprint(reply.Response, reply.Embeddings)
	}
	path := func(i int) string {
		if i%6 == 5 {
			return "/api/embed"
		}
		return "/api/generate"
	}
	for i := range prompts {
		prompts[i] = fmt.Sprintf(`{"model":"m","stream":false,"prompt":"call %d"%s}`, i, steady)
		if path(i) == "/api/embed" {
			prompts[i] = fmt.Sprintf(`{"model":"emb","input":"text %d"}`, i)
			want[i] = said(ask(t, alone.URL, http.MethodPost, path(i), prompts[i]))
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	by := map[string]int{}
	for i := range prompts {
		all.Go(func() {
			r := ask(t, c.URL, http.MethodPost, path(i), prompts[i])
			if got := said(r); path(i) == "/api/embed" && got != want[i] {
				t.Errorf("%s\n through %s\n direct  %s", prompts[i], got, want[i])
			}
			mu.Lock()
			defer mu.Unlock()
			by[r.header.Get("X-Corral-Instance")]++
		})
	}
	all.Wait()
	if by["a"] == 0 || by["b"] == 0 || by["e"] != calls/6 {
		t.Errorf("answered by %v", by)
	}
	ranInside(t, c, calls)
}

// nativeCancel has clients leave in the middle of a reply that would be long.
func nativeCancel(t *testing.T, c *corral) {
	for range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		body := `{"model":"m","prompt":"tell me more","options":{"num_predict":-1,"temperature":0}}`
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/api/generate", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		cancel()
		_ = resp.Body.Close()
	}
	c.awaitQueue(t, 0, 0)
}
