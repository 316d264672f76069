//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sdks are the programs of test/sdk, one a language.
var sdks = map[string]func(t *testing.T, base string) *exec.Cmd{
	"go":     goSDK,
	"python": pythonSDK,
	"js":     jsSDK,
}

func goSDK(t *testing.T, base string) *exec.Cmd {
	cmd := inGroup(t, exec.Command("go", "run", ".", base))
	cmd.Dir = filepath.Join(root, "test", "sdk", "go")
	return cmd
}

func pythonSDK(t *testing.T, base string) *exec.Cmd {
	source := filepath.Join(root, "test", "sdk", "python")
	dir := environment(t, "sdk-python", []string{filepath.Join(source, "requirements.txt")}, func(dir string) [][]string {
		return [][]string{
			{"python3", "-m", "venv", "venv"},
			{filepath.Join(dir, "venv", "bin", "python"), "-m", "pip", "install", "--no-deps", "-r", "requirements.txt"},
		}
	})
	return inGroup(t, exec.Command(filepath.Join(dir, "venv", "bin", "python"), "-B", filepath.Join(source, "clients.py"), base))
}

func jsSDK(t *testing.T, base string) *exec.Cmd {
	source := filepath.Join(root, "test", "sdk", "js")
	var pins []string
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "clients.mjs"} {
		pins = append(pins, filepath.Join(source, name))
	}
	dir := environment(t, "sdk-js", pins, func(string) [][]string { return [][]string{{"npm", "ci"}} })
	return inGroup(t, exec.Command("node", filepath.Join(dir, "clients.mjs"), base))
}

// tooled makes a model that takes tools: its template says how calls are written.
const tooled = `{"model":"tooled","from":"m","stream":false,"template":` +
	`"{{ if .Tools }}{{ range .Tools }}{\"type\": \"function\", \"function\": {{ .Function }}}{{ end }}Return {\"name\": function name, \"parameters\": dictionary}.{{ end }}` +
	`{{ range .Messages }}{{ .Role }}: {{ .Content }}{{ range .ToolCalls }}{\"name\": \"{{ .Function.Name }}\", \"parameters\": {{ .Function.Arguments }}}{{ end }}\n{{ end }}"}`

// sdkSays is what the answer to a feature must have in it, for every client.
var sdkSays = map[string]string{
	"chat": "hello", "chat through /v1": "hello", "complete": "hello", "stream": "hello", "vision": "hello", "responses": "hello",
	"tools": "Rome", "json": `"x"`, "schema": `"x"`, "embeddings": ".", "error": "raises ", "list": "m:latest", "ps": "m:latest", "show": "", "cancel": "cancelled",
}

// TestSDK: the official clients, and libraries on top of them, get from Corral what they get from Ollama (make sdk).
func TestSDK(t *testing.T) {
	if os.Getenv("CORRAL_E2E_SDK") == "" {
		t.Skip("make sdk runs it")
	}
	for _, language := range slices.Sorted(maps.Keys(sdks)) {
		t.Run(language, func(t *testing.T) {
			alone := newOllama(t, "alone", "", nil, "m", "emb")
			a, b, e := newOllama(t, "a", "", nil, "m"), newOllama(t, "b", "", nil, "m"), newOllama(t, "e", "", nil, "emb")
			c := newCorral(t, configOf(a, b, e), nil)
			c.awaitUp(t, 3)
			for _, base := range []string{alone.URL, c.URL} {
				if r := ask(t, base, http.MethodPost, "/api/create", tooled); r.code != http.StatusOK {
					t.Fatalf("create a model that takes tools: %d %s", r.code, r.body)
				}
			}
			direct, through := tried(t, sdks[language](t, alone.URL)), tried(t, sdks[language](t, c.URL))
			if len(direct) == 0 {
				t.Fatal("nothing was tried")
			}
			for _, what := range slices.Sorted(maps.Keys(direct)) {
				_, feature, _ := strings.Cut(what, ": ")
				want, known := sdkSays[feature]
				switch got := through[what]; {
				case !known || !strings.Contains(direct[what], want):
					t.Errorf("%s, direct: %s, want %q in it", what, direct[what], want)
				case got != direct[what]:
					t.Errorf("%s\n through %s\n direct  %s", what, got, direct[what])
				}
			}
			t.Logf("%d things tried", len(direct))
			c.awaitQueue(t, 0, 0) // what was cancelled is
		})
	}
}

// tried is what a program of test/sdk prints: client and feature, and what came of it.
func tried(t *testing.T, p *exec.Cmd) map[string]string {
	t.Helper()
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	p.Stderr = &complaints
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var line struct{ Client, Feature, Result string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%s: %s", err, lines.Text())
			continue
		}
		all[fmt.Sprintf("%s: %s", line.Client, line.Feature)] = line.Result
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", p.Path, err, complaints.String())
	}
	return all
}
