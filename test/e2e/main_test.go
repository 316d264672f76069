//go:build e2e

// Package e2e runs the built corral in front of real Ollama servers whose engine is ollamatest/llama-server: the
// scheduler, the HTTP layers and the process handling are Ollama's own, replies and times are the tests'.
//
// It needs Go, bash, python3 and node; scripts/ollama.sh builds the Ollama, the clients' packages are installed once
// into .cache. Every port is free when it is taken, every child dies with the tests.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that should happen soon. It is generous: nothing is measured here.
const patience = 60 * time.Second

// What every test may use. They only ask these servers; a test that stops or breaks one starts its own.
var (
	root      string // of the repository
	corralBin string
	ollamaBin string
	seedDir   string // model folder that servers start with a copy of

	direct *ollama // one Ollama with both models: what a client sees without Corral
	langA  *ollama // behind shared: model m
	langB  *ollama // behind shared: model m
	embedE *ollama // behind shared: model emb
	shared *corral // Corral in front of the three
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "corral-e2e-")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(dir)
	defer killChildren()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		killChildren()
		_ = os.RemoveAll(dir)
		os.Exit(130)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the first build of Ollama is in it
	defer cancel()
	if err := prepare(ctx, dir); err != nil {
		return complain(err)
	}
	if err := startShared(ctx, dir); err != nil {
		return complain(err)
	}
	return m.Run()
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}

// prepare builds what is run.
func prepare(ctx context.Context, dir string) (err error) {
	if root, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		return err
	}
	script := exec.CommandContext(ctx, "bash", filepath.Join(root, "scripts", "ollama.sh"))
	script.Stderr = os.Stderr
	path, err := script.Output()
	if err != nil {
		return fmt.Errorf("scripts/ollama.sh: %w", err)
	}
	ollamaBin = strings.TrimSpace(string(path))
	corralBin = filepath.Join(dir, "corral")
	build := exec.CommandContext(ctx, "go", "build", "-o", corralBin, "./cmd/corral")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build corral: %w\n%s", err, out)
	}
	if err := seed(ctx, filepath.Join(dir, "seed")); err != nil {
		return fmt.Errorf("make models: %w", err)
	}
	seedDir = filepath.Join(dir, "seed", "models")
	return nil
}

// startShared starts the fleet that most tests share, and the Ollama that answers without Corral.
func startShared(ctx context.Context, dir string) error {
	for _, start := range []struct {
		into   **ollama
		name   string
		models []string
	}{
		{&direct, "direct", []string{"m", "emb"}},
		{&langA, "a", []string{"m"}}, {&langB, "b", []string{"m"}}, {&embedE, "e", []string{"emb"}},
	} {
		o, err := startOllama(ctx, filepath.Join(dir, start.name), start.models...)
		if err != nil {
			return err
		}
		*start.into = o
	}
	c, err := startCorral(ctx, filepath.Join(dir, "shared"), configOf(langA, langB, embedE), nil)
	if err != nil {
		return err
	}
	shared = c
	return shared.awaitText(ctx, "/readyz", "ready")
}
