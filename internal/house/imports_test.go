package house

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"testing"
)

// room is what a package may import from this module.
type room struct {
	may   []string
	tests []string // what its tests may import on top
}

// house is the whole floor plan. Arrows run one way: lane <- placement <- dispatch <- fleet; dialect, lane <-
// relay; dispatch, relay <- call <- gateway; server wires everything together. Packages without a row fail.
var house = map[string]room{
	"internal/lane":      {},
	"internal/placement": {may: in("lane")},
	"internal/dispatch":  {may: in("lane", "placement")},
	"internal/dialect":   {},
	"internal/config":    {},
	"internal/tenant":    {},
	"internal/relay":     {may: in("dialect", "lane")},
	"internal/fleet":     {may: in("config", "dialect", "dispatch", "lane", "relay")},
	"internal/call":      {may: in("dialect", "dispatch", "lane", "relay")},
	"internal/manage":    {may: in("config", "dialect", "fleet", "relay")},
	"internal/gateway": {
		may:   in("call", "config", "dialect", "dispatch", "fleet", "lane", "manage", "relay", "tenant"),
		tests: in("observe"),
	},
	"internal/observe": {may: in("call", "dispatch", "fleet", "lane")},
	"internal/server": {may: in("call", "config", "dialect", "dispatch", "fleet", "gateway", "lane", "manage", "observe",
		"placement", "relay", "tenant")},
	// The demo runs corral and ollama as processes, as a user does, so it needs no other room.
	"internal/demo":  {may: []string{"ollamatest", "ollamatest/gguf"}, tests: in("config")},
	"internal/house": {},

	"cmd/corral": {may: in("config", "demo", "observe", "server")},

	// What plays Ollama knows nothing of Corral, else both could share a misunderstanding.
	"ollamatest":              {may: []string{"ollamatest/gguf"}},
	"ollamatest/gguf":         {},
	"ollamatest/llama-server": {may: []string{"ollamatest", "ollamatest/gguf"}},

	// These see Corral from outside only: a binary and its ports.
	"test/bench":  {may: []string{"ollamatest", "ollamatest/gguf"}},
	"test/e2e":    {may: []string{"ollamatest", "ollamatest/gguf"}},
	"test/sdk/go": {}, // a module of its own: its clients are nobody else's dependencies
}

// in turns names of rooms into paths.
func in(rooms ...string) []string {
	paths := make([]string, len(rooms))
	for i, name := range rooms {
		paths[i] = path.Join("internal", name)
	}
	return paths
}

// mayImport says whether the table lets a file import a package of this module.
func mayImport(s *source, to string) bool {
	r := house[s.dir()]
	if slices.Contains(r.may, to) {
		return true
	}
	// Any test may play against a false Ollama; an external test package imports its own package.
	return s.isTest() && (slices.Contains(r.tests, to) || to == s.dir() || to == "ollamatest" || to == "ollamatest/gguf")
}

func TestImports(t *testing.T) {
	for _, s := range load(t).sources {
		if _, ok := house[s.dir()]; !ok {
			t.Errorf("%s: package %s is not in the table `house`: think about which rooms it may import and "+
				"which may import it, then add a row", s.path, s.dir())
			continue
		}
		for _, full := range s.importPaths() {
			to, own := strings.CutPrefix(full, module)
			if own && !mayImport(s, to) {
				t.Errorf("%s imports %s, which the table `house` does not allow %s: move the code, or declare an "+
					"interface where it is used", s.path, to, s.dir())
			}
		}
	}
}

// TestTableHasNoCycle: arrows that run one way are the point of the table itself.
func TestTableHasNoCycle(t *testing.T) {
	const open, done = 1, 2
	state := map[string]int{}
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		for _, to := range house[name].may {
			switch {
			case state[to] == open:
				t.Errorf("the table lets %s and %s import each other", name, to)
			case strings.HasPrefix(to, "cmd/"):
				t.Errorf("the table lets %s import %s: nothing imports a command", name, to)
			case state[to] != done:
				visit(to)
			}
		}
		state[name] = done
	}
	for name := range house {
		if state[name] != done {
			visit(name)
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	docs := map[string]string{}
	for _, s := range load(t).sources {
		if !strings.HasSuffix(s.ast.Name.Name, "_test") {
			docs[s.dir()] = cmp.Or(docs[s.dir()], s.ast.Doc.Text())
		}
	}
	for dir, doc := range docs {
		first, _, _ := strings.Cut(doc, " ")
		// A command's doc may begin with the command itself, as in the standard library.
		if first != "Package" && first != "Command" && !strings.EqualFold(first, path.Base(dir)) {
			t.Errorf("%s: no file says what the package is for: begin one with `// Package %s ...`", dir, path.Base(dir))
		}
	}
}
