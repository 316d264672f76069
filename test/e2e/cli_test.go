//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"corral/ollamatest/gguf"
)

// newRegistry serves the seed's model m as an Ollama registry does, under the name library/tiny:latest, and returns how
// `ollama pull --insecure` calls it.
func newRegistry(t *testing.T) (name string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/library/tiny/manifests/latest", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(seedDir, manifests, "m", "latest"))
	})
	mux.HandleFunc("/v2/library/tiny/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeFile(w, r, filepath.Join(seedDir, "blobs", strings.Replace(r.PathValue("digest"), ":", "-", 1)))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + "/library/tiny:latest"
}

// terminal is one user with an ollama command.
type terminal struct {
	*testing.T
	binary, base, dir string
}

// said is what a command printed and how it ended.
type said struct {
	out, err string
	code     int
}

// ollama runs the command with arguments.
func (u terminal) ollama(args ...string) said {
	u.Helper()
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.binary, args...)
	cmd.Dir = u.dir
	cmd.Env = append(os.Environ(), "OLLAMA_HOST="+u.base, "HOME="+u.dir, "TERM=dumb", "NO_PROXY=*")
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	failed := cmd.Run()
	exit := 0
	if e, ok := errors.AsType[*exec.ExitError](failed); ok {
		exit = e.ExitCode()
	} else if failed != nil {
		u.Fatalf("ollama %q: %v", args, failed)
	}
	return said{plainText(out.String()), plainText(err.String()), exit}
}

var (
	escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]|\r")
	ages    = regexp.MustCompile(`(Less than a|About an?|\d+) (second|minute|hour)s? (ago|from now)`)
	digests = regexp.MustCompile(`((?:file|bad):latest) [0-9a-f]{12}`)
	spaces  = regexp.MustCompile(`[ \t]+`)
)

// plainText is an output without cursor movements and what depends on the time.
func plainText(s string) string {
	s = ages.ReplaceAllString(escapes.ReplaceAllString(s, ""), "<age>")
	return strings.TrimSpace(spaces.ReplaceAllString(s, " "))
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// errorLine is the end of what a failing command says.
func (s said) errorLine() string {
	at := strings.LastIndex(s.err, "Error:")
	if at < 0 {
		return s.err
	}
	return s.err[at:]
}

// TestCLI: the ollama command of both generations does through Corral, with one instance and with two, what it does with
// one Ollama, and prints the same.
func TestCLI(t *testing.T) {
	for _, g := range generations {
		for _, n := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s with %d", g.version, n), func(t *testing.T) { cliLikeDirect(t, g.binary(t), n) })
		}
	}
}

func cliLikeDirect(t *testing.T, binary string, n int) {
	fleet := make([]*ollama, n)
	for i := range fleet {
		fleet[i] = newBinary(t, binary, fmt.Sprintf("n%d", i), "", nil, "m", "emb")
	}
	alone := newBinary(t, binary, "alone", "", nil, "m", "emb")
	c := newCorral(t, configOf(fleet...), nil)
	c.awaitUp(t, n)
	pull := newRegistry(t)
	straight, through := terminal{t, binary, alone.URL, t.TempDir()}, terminal{t, binary, c.URL, t.TempDir()}
	var file bytes.Buffer
	if err := gguf.WriteLlama(&file, gguf.Options{Seed: 77}); err != nil {
		t.Fatal(err)
	}
	for _, u := range []terminal{straight, through} {
		for name, text := range map[string]string{
			"Modelfile": "FROM m\nPARAMETER temperature 0\nPARAMETER seed 7\nPARAMETER num_predict 8\n",
			"Filefile":  "FROM ./tiny.gguf\n",
			"tiny.gguf": file.String(),
		} {
			if err := os.WriteFile(filepath.Join(u.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, args := range [][]string{
		{"list"}, {"show", "m"}, {"show", "nope"}, {"show", "--modelfile", "nope"}, {"ps"},
		{"create", "fixed", "-f", "Modelfile"}, {"list"}, {"run", "fixed", "[[tokens=2]] hello"}, {"ps"},
		{"create", "file", "-f", "Filefile"}, {"show", "file"}, {"create", "bad", "-f", "absent"},
		{"cp", "m", "copy"}, {"cp", "nope", "x"}, {"list"}, {"run", "copy", "--nope"},
		{"pull", "--insecure", pull}, {"pull", "--insecure", strings.Replace(pull, "tiny", "absent", 1)}, {"list"}, {"show", pull},
		{"stop", "fixed"}, {"stop", "nope"}, {"rm", "copy", "file"}, {"rm", "nope"}, {"list"},
	} {
		want, got := straight.ollama(args...), through.ollama(args...)
		want.err, got.err = want.errorLine(), got.errorLine()
		if got.code == 0 {
			want.err, got.err = "", "" // progress
		}
		if args[0] == "list" { // the order of what was made within a second is not said
			want.out, got.out = sorted(want.out), sorted(got.out)
			// v0.17 writes the path of its folder into what it makes from a file, and so into the digest.
			want.out, got.out = digests.ReplaceAllString(want.out, "$1 <id>"), digests.ReplaceAllString(got.out, "$1 <id>")
		}
		if args[0] == "show" {
			want.out, got.out = blobPath.ReplaceAllString(want.out, "<blobs>/"), blobPath.ReplaceAllString(got.out, "<blobs>/")
		}
		if got != want {
			t.Errorf("ollama %q\n through %+v\n direct  %+v", args, got, want)
		}
	}
	eventually(t, func() error { // stop returns before Ollama has unloaded
		if s := through.ollama("ps"); strings.Contains(s.out, "fixed") {
			return fmt.Errorf("still loaded: %s", s.out)
		}
		return nil
	})
	for _, o := range fleet { // what was pulled and created is everywhere
		if tags := ask(t, o.URL, http.MethodGet, "/api/tags", ""); !strings.Contains(tags.body, "library/tiny") || !strings.Contains(tags.body, `"fixed:latest"`) {
			t.Errorf("%s has only %s", o.name, tags.body)
		}
	}
}

// TestCLIPullFailsOnOne: when one of two instances can not keep what is pulled, the command fails, names that one and
// says why; the other one has the model, and a second pull finishes the work.
func TestCLIPullFailsOnOne(t *testing.T) {
	good, bad := newOllama(t, "good", "", nil, "m"), newOllama(t, "bad", "", nil, "m")
	c := newCorral(t, configOf(good, bad), nil)
	c.awaitUp(t, 2)
	pull := newRegistry(t)
	user := terminal{t, ollamaBin, c.URL, t.TempDir()}
	host := strings.TrimPrefix(strings.TrimSuffix(pull, "/library/tiny:latest"), "http://")
	block := filepath.Join(filepath.Dir(bad.log.Name()), "models", "manifests", host)
	if err := os.WriteFile(block, nil, 0o600); err != nil { // where a folder should be: it stops root too
		t.Fatal(err)
	}
	s := user.ollama("pull", "--insecure", pull)
	if line := s.errorLine(); s.code == 0 || !strings.Contains(line, "bad") || !strings.Contains(line, "good") {
		t.Errorf("exit %d: %s", s.code, line)
	}
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	if s := user.ollama("pull", "--insecure", pull); s.code != 0 {
		t.Errorf("again: %d %s", s.code, s.errorLine())
	}
	for _, o := range []*ollama{good, bad} {
		if tags := ask(t, o.URL, http.MethodGet, "/api/tags", ""); !strings.Contains(tags.body, "library/tiny") {
			t.Errorf("%s has only %s", o.name, tags.body)
		}
	}
}
