package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden messages of testdata/*.bad.yaml")

// testEnv is what the files of testdata may refer to.
func testEnv() []string { return []string{"TOKEN=Bearer S3cr3tFromEnv"} }

func TestGoodFiles(t *testing.T) {
	for _, path := range glob(t, "testdata/*.good.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := Load(Options{Path: path, Env: testEnv()})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", dump(c))
		})
	}
}

func TestBadFiles(t *testing.T) {
	for _, path := range glob(t, "testdata/*.bad.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, err := Load(Options{Path: path, Env: testEnv()})
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("got %v, want an *Error", err)
			}
			if strings.Contains(err.Error(), "S3cr3t") {
				t.Errorf("the message shows a secret:\n%v", err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// dump writes a configuration as text, secrets hidden.
func dump(c *Config) string {
	var b strings.Builder
	b.WriteString("listen " + c.Listen + "\n")
	for _, line := range Changes(&Config{Listen: c.Listen}, c) {
		b.WriteString(line + "\n")
	}
	for _, i := range c.Instances {
		line := []string{"  " + i.Name, i.URL.String(), "[" + list(i.Roles) + "]", "slots", stated(i.Slots),
			"limit", stated(i.Limit), "models", "[" + list(i.Models) + "]"}
		if i.MaxModel > 0 {
			line = append(line, "max_model", bounded(i.MaxModel))
		}
		line = append(line, headerDifferences(nil, i.Headers)...)
		b.WriteString(strings.Join(line, " ") + "\n")
	}
	return b.String()
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	return paths
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}

func TestExampleLoads(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "corral.yaml"), string(Example()))
	c, err := Load(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	// It shows the defaults, so it must follow them.
	want := Default()
	if c.Listen != want.Listen || c.Queue != want.Queue || len(c.Instances) != 1 {
		t.Errorf("got %+v", c)
	}
}

// The commented lines of the example must not rot either.
func TestExampleUncommented(t *testing.T) {
	var b strings.Builder
	on := false
	for line := range strings.Lines(string(Example())) {
		on = on || strings.HasPrefix(line, "  # - name: b")
		if on && strings.HasPrefix(line, "  # ") {
			line = "  " + line[4:]
		}
		if strings.HasPrefix(line, "# tls:") || strings.HasPrefix(line, "# hosts:") || strings.HasPrefix(line, "# origins:") || strings.HasPrefix(line, "# aliases:") {
			line = line[2:]
		}
		if strings.HasPrefix(line, "#   ") {
			line = line[2:]
		}
		b.WriteString(line)
	}
	s, err := readFile(newDocument("corral.yaml", []byte(b.String())))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.instances) != 2 || len(s.hosts) != 1 || len(s.origins) != 2 || len(s.aliases) != 3 || !s.tlsKey.set || len(s.instances[1].headers) != 2 {
		t.Errorf("got %+v", s)
	}
}

func TestNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Discovered || c.Path != "" || c.Instances[0].Name != "127.0.0.1:11434" || !c.Instances[0].HasRole(RoleEmbed) {
		t.Errorf("got %+v", c)
	}
	write(t, "corral.yaml", "listen: :1\n")
	if c, err = Load(Options{}); err != nil || c.Listen != ":1" || c.Path != "corral.yaml" {
		t.Errorf("got %+v, %v", c, err)
	}
	write(t, "other.yaml", "listen: :2\n")
	env := []string{"CORRAL_CONFIG=other.yaml"}
	if c, err = Load(Options{Env: env}); err != nil || c.Listen != ":2" {
		t.Errorf("CORRAL_CONFIG: got %+v, %v", c, err)
	}
	if c, err = Load(Options{Path: "corral.yaml", Env: env}); err != nil || c.Listen != ":1" {
		t.Errorf("flag over CORRAL_CONFIG: got %+v, %v", c, err)
	}
	if _, err = Load(Options{Path: "none.yaml"}); err == nil || !strings.HasPrefix(err.Error(), "none.yaml: not readable: no such file") {
		t.Errorf("missing file: got %v", err)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
