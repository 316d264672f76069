//go:build e2e

package ollamatest_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"corral/ollamatest"
	"corral/ollamatest/gguf"
)

// Which load options reload a model: the real server's log and the in-process Server's count must agree.
func TestReloadsAsRealOllama(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	path := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	real, err := ollamatest.StartOllama(ctx, ollamatest.Process{
		Binary: binary(t), Log: log, Env: []string{"OLLAMA_NUM_PARALLEL=2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	var llama bytes.Buffer
	if err := gguf.WriteLlama(&llama, gguf.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := ollamatest.CreateModel(ctx, real.URL, "m", llama.Bytes(), nil); err != nil {
		t.Fatal(err)
	}
	ours := ollamatest.New(ollamatest.Options{NumParallel: 2, Models: []ollamatest.Model{{Name: "m"}}})
	defer ours.Close()
	twin := httptest.NewServer(ours)
	defer twin.Close()
	loads := func() int {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte(`msg="starting llama-server"`))
	}
	none := `"options":{}`
	for _, pair := range [][2]string{
		{none, none}, {none, `"options":{"num_ctx":2048}`}, {`"options":{"num_ctx":2048}`, none}, {none, `"options":{"num_ctx":4096}`},
		{none, `"options":{"num_ctx":null}`}, {none, `"options":{"num_batch":null}`}, {none, `"options":{"num_batch":512}`},
		{`"options":{"num_batch":256}`, none}, {none, `"options":{"num_thread":3}`}, {none, `"options":{"use_mmap":true}`},
		{none, `"options":{"use_mmap":false}`}, {`"options":{"use_mmap":true}`, none}, {none, `"options":{"main_gpu":0}`},
		{none, `"options":{"num_gpu":0}`}, {`"options":{"num_gpu":0}`, none}, {none, `"options":{"draft_num_predict":2}`},
		{none, `"shift":false`}, {`"shift":false`, none}, {none, `"shift":true`},
		{`"options":{"num_ctx":99999}`, `"options":{"num_ctx":8192}`}, {none, `"options":{"temperature":0,"num_predict":3,"odd":1}`},
	} {
		var n [2]int
		for i, base := range []string{real.URL, twin.URL} {
			ask(t, base, "POST", "/api/generate", `{"model":"m","keep_alive":0}`)
			before := loads() + ours.Stats().Loads
			for _, options := range pair {
				r := ask(t, base, "POST", "/api/generate", fmt.Sprintf(`{"model":"m","prompt":"x","stream":false,%s}`, options))
				if r.code != 200 {
					t.Errorf("%s: %d %s", options, r.code, r.body)
				}
			}
			n[i] = loads() + ours.Stats().Loads - before
		}
		if n[0] != n[1] {
			t.Errorf("%s then %s: real %d loads, ours %d", pair[0], pair[1], n[0], n[1])
		}
	}
}
