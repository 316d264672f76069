//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"corral/ollamatest"
	"corral/ollamatest/gguf"
)

// ollama is a real Ollama server, with what it and its engines write.
type ollama struct {
	*ollamatest.Ollama
	name  string
	log   *os.File
	stats string // file of its engines' records

	once sync.Once
}

// slots is OLLAMA_NUM_PARALLEL of every Ollama here.
const slots = 2

var children struct {
	sync.Mutex
	kill []func()
}

// atEnd has something killed when the tests end, however they end.
func atEnd(kill func()) {
	children.Lock()
	defer children.Unlock()
	children.kill = append(children.kill, kill)
}

func killChildren() {
	children.Lock()
	defer children.Unlock()
	for _, kill := range slices.Backward(children.kill) {
		kill()
	}
	children.kill = nil
}

// startOllama starts an Ollama in a folder of its own, whose base is its name, with some of the seed's models.
func startOllama(ctx context.Context, dir string, models ...string) (*ollama, error) {
	return startOllamaWith(ctx, dir, "", nil, models...)
}

// startOllamaWith is startOllama with an address, "" for a free port, and environment, KEY=value.
func startOllamaWith(ctx context.Context, dir, addr string, env []string, models ...string) (*ollama, error) {
	return startBinary(ctx, ollamaBin, dir, addr, env, models...)
}

// startBinary is startOllamaWith of an Ollama of any generation.
func startBinary(ctx context.Context, binary, dir, addr string, env []string, models ...string) (*ollama, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := plant(filepath.Join(dir, "models"), models); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "ollama.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	o := &ollama{name: filepath.Base(dir), log: log, stats: filepath.Join(dir, "stats")}
	o.Ollama, err = ollamatest.StartOllama(ctx, ollamatest.Process{
		Binary: binary, Addr: addr, Models: filepath.Join(dir, "models"), Home: filepath.Join(dir, "home"), Log: log,
		Env: append([]string{
			fmt.Sprintf("OLLAMA_NUM_PARALLEL=%d", slots), "OLLAMA_KEEP_ALIVE=-1", "CORRAL_ENGINE_STATS=" + o.stats,
		}, env...),
	})
	if err != nil {
		return nil, fmt.Errorf("ollama %s: %w", o.name, err)
	}
	atEnd(o.kill)
	return o, nil
}

// seed makes the model folder that every Ollama here starts with a copy of: m and other generate, emb embeds. They are
// an hour old and a minute apart, because lists are sorted by age in seconds.
func seed(ctx context.Context, dir string) error {
	o, err := startOllama(ctx, dir)
	if err != nil {
		return err
	}
	defer o.kill()
	for i, name := range modelNames {
		var file bytes.Buffer
		write, options := gguf.WriteLlama, gguf.Options{Seed: uint64(i + 1)}
		if name == "emb" {
			write = gguf.WriteBert
		}
		if err := write(&file, options); err != nil {
			return err
		}
		if err := ollamatest.CreateModel(ctx, o.URL, name, file.Bytes(), nil); err != nil {
			return err
		}
		then := time.Now().Add(time.Duration(i)*time.Minute - time.Hour)
		if err := os.Chtimes(filepath.Join(dir, "models", manifests, name, "latest"), then, then); err != nil {
			return err
		}
	}
	return nil
}

// modelNames are the models of the seed, from the oldest on, and manifests where a model folder keeps their manifests.
var (
	modelNames = []string{"m", "emb", "other"}
	manifests  = filepath.Join("manifests", "registry.ollama.ai", "library")
)

// plant copies models of the seed into a folder, with their ages.
func plant(dir string, models []string) error {
	if len(models) == 0 {
		return nil
	}
	if err := os.CopyFS(dir, os.DirFS(seedDir)); err != nil {
		return err
	}
	for _, name := range modelNames {
		path := filepath.Join(manifests, name, "latest")
		if !slices.Contains(models, name) {
			if err := os.RemoveAll(filepath.Join(dir, manifests, name)); err != nil {
				return err
			}
			continue
		}
		info, err := os.Stat(filepath.Join(seedDir, path))
		if err != nil {
			return err
		}
		if err := os.Chtimes(filepath.Join(dir, path), info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// newOllama starts an Ollama for one test; its folder's name is its own.
func newOllama(t *testing.T, name, addr string, env []string, models ...string) *ollama {
	t.Helper()
	return newBinary(t, ollamaBin, name, addr, env, models...)
}

// newBinary is newOllama of an Ollama of any generation.
func newBinary(t *testing.T, binary, name, addr string, env []string, models ...string) *ollama {
	t.Helper()
	o, err := startBinary(t.Context(), binary, filepath.Join(t.TempDir(), name), addr, env, models...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", o.name, tail(o.log.Name()))
		}
	})
	return o
}

// kill is SIGKILL to the server and its engines.
func (o *ollama) kill() {
	o.once.Do(func() {
		_ = o.Close()
		_ = o.log.Close()
	})
}

// killServer is SIGKILL to the server alone: its engines live on, as they do when a real one is killed.
func (o *ollama) killServer() error { return syscall.Kill(o.PID(), syscall.SIGKILL) }

// addr is host:port.
func (o *ollama) addr() string { return strings.TrimPrefix(o.URL, "http://") }

// loads is how often an engine was started.
func (o *ollama) loads(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(o.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), `msg="starting llama-server"`)
}

// records is what its engines did.
func (o *ollama) records(t *testing.T) []ollamatest.EngineRecord {
	t.Helper()
	text, err := os.ReadFile(o.stats)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []ollamatest.EngineRecord
	for line := range strings.Lines(string(text)) {
		var r ollamatest.EngineRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-12000):])
}
