package demo

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"corral/internal/config"
	"corral/ollamatest"
)

func TestOptions(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		if err := o.fill(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	f(Options{}, "make demo")
	f(Options{Ollama: "x", URL: "y"}, "give one of them")
	f(Options{Ollama: "x", Model: "m"}, "belong to --url")
	f(Options{Ollama: "x", Slots: 4}, "belong to --url")
	f(Options{Ollama: "x", Calls: -1}, "--calls -1")
	f(Options{Ollama: "x", Calls: 1e6}, "--calls 1000000")
	f(Options{URL: "x", Timeout: -1}, "above zero")

	o := Options{URL: "x"}
	if err := o.fill(); err != nil || o.Calls != 200 || o.Slots != 1 || o.Timeout != 180*time.Second {
		t.Errorf("%+v: %v", o, err)
	}
	o = Options{Ollama: "x"}
	if err := o.fill(); err != nil || o.Calls != 1500 {
		t.Errorf("%+v: %v", o, err)
	}
}

func TestFindOllama(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := func(path, want string) {
		t.Helper()
		err := Run(t.Context(), Options{Ollama: path, Out: io.Discard})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "make demo") {
			t.Errorf("%s: %v", path, err)
		}
	}
	f(filepath.Join(dir, "none"), "cannot be found")
	f(write("plain", 0o600), "not executable")
	f(write("real", 0o700), "no simulated engine")
}

func TestOwnStage(t *testing.T) {
	ollama := ollamatest.New(ollamatest.Options{Models: []ollamatest.Model{{Name: "qwen3:4b"}, {Name: "bge-m3"}}})
	defer ollama.Close()
	server := httptest.NewServer(ollama)
	defer server.Close()
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	corral := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer corral.Close()
	closed := httptest.NewServer(nil)
	closed.Close()

	f := func(url, model, embed string, want ...string) {
		t.Helper()
		err := Run(t.Context(), Options{URL: url, Model: model, EmbedModel: embed, Out: io.Discard})
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s %s %s: %v", url, model, embed, err)
			}
		}
	}
	f("ftp://x", "m", "", "is not an address")
	f("http://", "m", "", "is not an address")
	f(closed.URL, "m", "", "no Ollama answers", "ollama serve")
	f(corral.URL, "m", "", "is a Corral")
	f(nothing.URL, "m", "", "404")
	f(server.URL, "", "", "--model", "bge-m3:latest, qwen3:4b")
	f(server.URL, "llama3.1:8b", "", "llama3.1:8b is not on", "bge-m3:latest, qwen3:4b", "ollama pull llama3.1:8b")
	f(server.URL, "qwen3:4b", "nomic-embed-text", "nomic-embed-text is not on")

	var out bytes.Buffer
	o := Options{URL: strings.TrimPrefix(server.URL, "http://") + "/v1/", Model: "Qwen3:4b", EmbedModel: "bge-m3", Slots: 4, Out: &out}
	st, err := ownStage(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if st.generate[0] != server.URL || st.engines != nil || !strings.Contains(out.String(), "OLLAMA_NUM_PARALLEL") {
		t.Errorf("%+v, said: %s", st, &out)
	}
	c := configOf(t, st.yaml)
	if len(c.Instances) != 1 || c.Instances[0].Slots != 4 || c.Instances[0].URL.String() != server.URL {
		t.Errorf("configured: %+v", c.Instances)
	}
}

// configOf is what Corral makes of a stage's configuration.
func configOf(t *testing.T, yaml string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "corral.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSimulatedStageIsConfigured(t *testing.T) {
	servers, weights, err := cast(t.TempDir())
	if err != nil || !strings.HasPrefix(weights, "sha256-") {
		t.Fatal(weights, err)
	}
	for i, s := range servers {
		s.ollama = &ollamatest.Ollama{URL: "http://127.0.0.1:" + string(rune('1'+i))}
	}
	st := &stage{engines: &engines{}}
	st.name(servers)
	c := configOf(t, st.yaml)
	if len(c.Instances) != 3 || len(st.generate) != 2 || st.embed != "http://127.0.0.1:3" || len(st.engines.files) != 3 {
		t.Fatalf("%+v of %+v", c.Instances, st)
	}
	if a, e := c.Instances[0], c.Instances[2]; a.Slots != 4 || a.HasRole("embed") || !e.HasRole("embed") || e.HasRole("generate") {
		t.Errorf("%+v", c.Instances)
	}
	if st.direct(&call{nth: 3}) != "http://127.0.0.1:2" || st.direct(&call{nth: 3, embeds: true}) != st.embed {
		t.Error("calls are not split over the servers")
	}
}

func TestEnvironments(t *testing.T) {
	env := []string{"PATH=/bin", "OLLAMA_HOST=x", "OLLAMA_MODELS=y", "OLLAMA_MAX_QUEUE=3", "CORRAL_ENGINE_OOM=1", "CORRAL_LISTEN=z"}
	if got, want := plainEnv(env), []string{"OLLAMA_MAX_QUEUE=", "CORRAL_ENGINE_OOM="}; !slices.Equal(got, want) {
		t.Errorf("plainEnv: %q", got)
	}
	if got, want := corralEnv(env), []string{"PATH=/bin", "OLLAMA_MODELS=y", "OLLAMA_MAX_QUEUE=3"}; !slices.Equal(got, want) {
		t.Errorf("corralEnv: %q", got)
	}
}

func TestEngines(t *testing.T) {
	dir := t.TempDir()
	e := &engines{files: []string{filepath.Join(dir, "a"), filepath.Join(dir, "none")}}
	write := func(text string) {
		if err := os.WriteFile(e.files[0], []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	one := `{"kind":"generate","outcome":"done","tokens":60}` + "\n" + `{"kind":"embed","outcome":"cancelled"}` + "\n"
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		write(one)
		time.AfterFunc(restTime/2, func() { write(one + `{"kind":"generate","outcome":"cancelled","tokens":7,"wasted":7}` + "\n") })
		w, err := e.atRest(t.Context())
		if err != nil || w != (work{tokens: 67, cutOff: 1}) {
			t.Errorf("%+v, %v", w, err)
		}
		if took := time.Since(start); took < restTime*3/2 {
			t.Errorf("at rest after %s", took)
		}
		if d := w.minus(work{tokens: 60}); d != (work{tokens: 7, cutOff: 1}) {
			t.Errorf("%+v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := e.atRest(ctx); err == nil {
			t.Error("no error")
		}
	})
	write("{")
	if _, err := e.read(); err == nil {
		t.Error("no error from a broken line")
	}
}
