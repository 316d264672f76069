package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"corral/ollamatest"
	"corral/ollamatest/gguf"
)

// Names of the models, those that people use.
const (
	chatModel  = "llama3.1:8b"
	embedModel = "nomic-embed-text"
)

// numParallel is OLLAMA_NUM_PARALLEL of the servers for language.
const numParallel = 4

// serverPatience bounds the start of a server; it takes 0.1 s, and 30 s where Ollama looks for GPUs in vain.
const serverPatience = 90 * time.Second

// server is one Ollama of the simulated stage.
type server struct {
	name, role string
	stats, log string // files
	model      string
	gguf       []byte
	ollama     *ollamatest.Ollama
}

// simulatedStage starts real Ollama servers with a simulated engine, in a folder of their own.
func simulatedStage(ctx context.Context, o Options, dir string) (*stage, error) {
	binary, err := findOllama(ctx, o.Ollama)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Out, "The engine is simulated: real Ollama servers, but in place of llama.cpp a stand-in with the pace of an 8B model\n"+
		"on a GPU (%d slots of %d tokens/s a server), %d x faster: a second here is a minute there. Your own Ollama is not touched.\n\n",
		numParallel, time.Second/perToken, speed)
	servers, weights, err := cast(dir)
	if err != nil {
		return nil, err
	}
	st := &stage{
		load:    load{model: chatModel, embedModel: embedModel, count: o.Calls, scripted: true, speed: speed, weights: weights},
		client:  clientOptions{timeout: sdkTimeout / speed, speed: speed},
		engines: &engines{},
		close:   func() { stopAll(servers) },
	}
	if err := startAll(ctx, binary, servers); err != nil {
		st.close()
		return nil, err
	}
	st.name(servers)
	return st, nil
}

// findOllama checks an ollama binary and that its engine is the simulated one.
func findOllama(ctx context.Context, path string) (string, error) {
	found, err := exec.LookPath(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("ollama binary %s is not executable: chmod +x it, or run `make demo`, which builds one", path)
	case err != nil && !errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("ollama binary %s cannot be found: run `make demo`, which builds one, or use your own Ollama with --url", path)
	}
	// Ollama looks for its engine from where its file really is.
	if found, err = filepath.EvalSymlinks(found); err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		return "", fmt.Errorf("ollama binary %s: %w", path, err)
	}
	engine := filepath.Join(filepath.Dir(found), "..", "lib", "ollama", "llama-server")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	version, err := exec.CommandContext(ctx, engine, "--version").CombinedOutput()
	if err != nil || !bytes.Contains(version, []byte("(corral)")) {
		return "", fmt.Errorf("ollama binary %s has no simulated engine beside it: run `make demo`, which builds one, or use your own Ollama with --url", path)
	}
	return found, nil
}

// cast are the servers to start, and the id of the weights that embed.
func cast(dir string) ([]*server, string, error) {
	var llama, bert bytes.Buffer
	if err := errors.Join(gguf.WriteLlama(&llama, gguf.Options{}), gguf.WriteBert(&bert, gguf.Options{})); err != nil {
		return nil, "", fmt.Errorf("make the models: %w", err)
	}
	sum := sha256.Sum256(bert.Bytes())
	servers := []*server{
		{name: "a", role: "generate", model: chatModel, gguf: llama.Bytes()},
		{name: "b", role: "generate", model: chatModel, gguf: llama.Bytes()},
		{name: "e", role: "embed", model: embedModel, gguf: bert.Bytes()},
	}
	for _, s := range servers {
		s.stats, s.log = filepath.Join(dir, s.name+".jsonl"), filepath.Join(dir, s.name+".log")
	}
	return servers, "sha256-" + hex.EncodeToString(sum[:]), nil
}

func startAll(ctx context.Context, binary string, servers []*server) error {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	errs := make([]error, len(servers))
	var wait sync.WaitGroup
	for i, s := range servers {
		wait.Go(func() { errs[i] = s.start(ctx, binary) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (s *server) start(ctx context.Context, binary string) error {
	log, err := os.Create(s.log)
	if err != nil {
		return fmt.Errorf("write the log of ollama %s: %w", s.name, err)
	}
	defer log.Close() // the server has its own handle
	env := append(plainEnv(os.Environ()), s.env()...)
	s.ollama, err = ollamatest.StartOllama(ctx, ollamatest.Process{Binary: binary, Env: env, Log: log})
	if err == nil {
		err = ollamatest.CreateModel(ctx, s.ollama.URL, s.model, s.gguf, nil)
	}
	if err != nil {
		text, _ := os.ReadFile(s.log)
		return fmt.Errorf("ollama %s: %w\nthe end of its log:\n%s", s.name, err, text[max(0, len(text)-2000):])
	}
	return nil
}

// env makes the server what the demo says it is.
func (s *server) env() []string {
	return []string{
		"OLLAMA_NUM_PARALLEL=" + strconv.Itoa(numParallel),
		"OLLAMA_KEEP_ALIVE=-1",
		"CORRAL_ENGINE_SPEED=" + strconv.Itoa(speed),
		"CORRAL_ENGINE_BASE=" + perToken.String(),
		"CORRAL_ENGINE_EMBED=" + perText.String(),
		"CORRAL_ENGINE_PREFILL=2000",
		"CORRAL_ENGINE_TOKENS=" + strconv.Itoa((minTokens+maxTokens)/2),
		"CORRAL_ENGINE_STATS=" + s.stats,
	}
}

// plainEnv empties the user's own settings of Ollama, which read an empty value as the default, and of the
// engine. What StartOllama sets itself is left to it.
func plainEnv(env []string) []string {
	var empty []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "OLLAMA_HOST" || name == "OLLAMA_MODELS" || name == "OLLAMA_NO_CLOUD":
		case strings.HasPrefix(name, "OLLAMA_") || strings.HasPrefix(name, "CORRAL_ENGINE_"):
			empty = append(empty, name+"=")
		}
	}
	return empty
}

func stopAll(servers []*server) {
	for _, s := range servers {
		if s.ollama != nil {
			_ = s.ollama.Close()
		}
	}
}

// name tells the stage where its servers are.
func (st *stage) name(servers []*server) {
	var yaml strings.Builder
	yaml.WriteString("instances:\n")
	for _, s := range servers {
		st.engines.files = append(st.engines.files, s.stats)
		slots := ""
		if s.role == "generate" {
			st.generate = append(st.generate, s.ollama.URL)
			slots = fmt.Sprintf(", slots: %d", numParallel)
		} else {
			st.embed = s.ollama.URL
		}
		fmt.Fprintf(&yaml, "  - {name: %s, url: %q, roles: [%s]%s}\n", s.name, s.ollama.URL, s.role, slots)
	}
	st.yaml = yaml.String()
}
