//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// installing keeps two installations of this process apart.
var installing sync.Mutex

// environment is a folder of .cache into which install has put packages. It is made anew when one of the files that
// pin the packages changes.
func environment(t *testing.T, name string, pins []string, install func(dir string) [][]string) string {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	dir := filepath.Join(root, ".cache", name)
	var want []byte
	for _, path := range pins {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, text...)
	}
	stamp := filepath.Join(dir, "installed")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, want) {
		return dir
	}
	t.Logf("installing the packages of %s", name)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range pins {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range install(dir) {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("install: %v: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(stamp, want, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pythonProgram is how a program of testdata/python is run, with its packages.
func pythonProgram(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	dir := environment(t, "e2e-python", []string{filepath.Join("testdata", "python", "requirements.txt")}, func(dir string) [][]string {
		return [][]string{
			{"python3", "-m", "venv", "venv"},
			{filepath.Join(dir, "venv", "bin", "python"), "-m", "pip", "install", "--no-deps", "-r", "requirements.txt"},
		}
	})
	args = append([]string{"-B", filepath.Join(root, "test", "e2e", "testdata", "python", program)}, args...)
	return inGroup(t, exec.Command(filepath.Join(dir, "venv", "bin", "python"), args...))
}

// nodeProgram is how a program of testdata/node is run, with its packages: Node looks for them beside the program.
func nodeProgram(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	source := filepath.Join("testdata", "node")
	var pins []string
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		pins = append(pins, filepath.Join(source, name))
	}
	dir := environment(t, "e2e-node", pins, func(string) [][]string { return [][]string{{"npm", "ci"}} })
	text, err := os.ReadFile(filepath.Join(source, program))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, program), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return inGroup(t, exec.Command("node", append([]string{filepath.Join(dir, program)}, args...)...))
}

// inGroup gives a program a process group that dies with the test, and an environment without proxies.
func inGroup(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	kill := func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
	t.Cleanup(kill)
	return cmd
}
