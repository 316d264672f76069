//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// generation is a version of Ollama to run these tests with: between v0.24 and v0.30 its engine was exchanged.
type generation struct {
	version string
	binary  func(t *testing.T) string
}

var generations = []generation{
	{"v0.33.0", func(*testing.T) string { return ollamaBin }},
	{"v0.17.4", nativeBin},
}

// nativeBin is an Ollama that computes with an engine of its own. It is built when the first test needs it.
func nativeBin(t *testing.T) string {
	t.Helper()
	path, err := buildNative()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildNative = sync.OnceValues(func() (string, error) {
	script := exec.Command("bash", filepath.Join(root, "scripts", "ollama.sh"), "--engine=native")
	var said bytes.Buffer
	script.Stderr = &said
	path, err := script.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/ollama.sh --engine=native: %w\n%s", err, said.String())
	}
	return strings.TrimSpace(string(path)), nil
})
