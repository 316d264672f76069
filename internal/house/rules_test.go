package house

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pure packages decide. They are told what time it is, and never ask.
var pure = in("lane", "placement", "dispatch", "dialect")

// shell is the one file of a pure package that may look at the clock: it blocks callers and tells the core `now`.
const shell = "internal/dispatch/acquire.go"

// clock is what reads or waits for the wall clock.
var clock = map[string][]string{
	"time":    {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"context": {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"},
}

// impure lists what a file of a pure package must not do. Its tests may use the clock, in a bubble.
func impure(s *source) []string {
	var problems []string
	for _, name := range s.importPaths() {
		if name == "net/http" || strings.HasPrefix(name, "net/http/") {
			problems = append(problems, s.path+" imports "+name+": a pure package knows no HTTP")
		}
	}
	if s.path == shell || s.isTest() {
		return problems
	}
	for pkg, names := range clock {
		if s.importName(pkg) == "." {
			problems = append(problems, s.path+" imports "+pkg+" with a dot, which hides uses of the clock")
		}
		s.uses(pkg, names, func(n *ast.SelectorExpr) {
			problems = append(problems, fmt.Sprintf("%s: %s.%s in a pure package: take `now` as a parameter",
				s.at(n), pkg, n.Sel.Name))
		})
	}
	return problems
}

func TestPurePackages(t *testing.T) {
	for _, s := range load(t).sources {
		if slices.Contains(pure, s.dir()) {
			report(t, impure(s))
		}
	}
}

const (
	maxFile         = 500 // lines
	maxFunction     = 60  // lines between the braces
	maxTestFunction = 120 // tables are long
)

// tooLong lists what has grown past its length.
func tooLong(s *source) []string {
	var problems []string
	if n := s.lines; n > maxFile {
		problems = append(problems, fmt.Sprintf("%s has %d lines, %d is the most: split it by noun", s.path, n, maxFile))
	}
	most := maxFunction
	if s.isTest() {
		most = maxTestFunction
	}
	for _, declaration := range s.ast.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		if n := s.line(f.Body.Rbrace) - s.line(f.Body.Lbrace) - 1; n > most {
			problems = append(problems, fmt.Sprintf("%s: %s has %d lines, %d is the most", s.at(f), f.Name.Name, n, most))
		}
	}
	return problems
}

func TestLengths(t *testing.T) {
	for _, s := range load(t).sources {
		report(t, tooLong(s))
	}
}

// bubbleMakers are the functions of a package's tests that run others in a synctest bubble, by folder and name.
func bubbleMakers(sources []*source) map[string]bool {
	makers := map[string]bool{}
	for _, s := range sources {
		s.uses("testing/synctest", []string{"Test"}, func(use *ast.SelectorExpr) {
			for _, declaration := range s.ast.Decls {
				f, ok := declaration.(*ast.FuncDecl)
				if ok && f.Recv == nil && f.Pos() < use.Pos() && use.Pos() < f.End() {
					makers[s.dir()+"."+f.Name.Name] = true
				}
			}
		})
	}
	return makers
}

// realSleeps lists uses of time.Sleep in a test file that is not about virtual time: it neither imports
// testing/synctest nor calls one of its package's functions that make a bubble.
func realSleeps(s *source, makers map[string]bool) []string {
	if !s.isTest() || s.imports("testing/synctest") {
		return nil
	}
	virtual := false
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			name, ok := call.Fun.(*ast.Ident)
			virtual = virtual || ok && makers[s.dir()+"."+name.Name]
		}
		return !virtual
	})
	if virtual {
		return nil
	}
	var problems []string
	s.uses("time", []string{"Sleep"}, func(n *ast.SelectorExpr) {
		problems = append(problems, s.at(n)+": time.Sleep in a test outside a synctest bubble: wait for what you "+
			"expect, time never decides a test")
	})
	return problems
}

func TestTimeDecidesNoTest(t *testing.T) {
	sources := load(t).sources
	makers := bubbleMakers(sources)
	for _, s := range sources {
		report(t, realSleeps(s, makers))
	}
}

// foreign finds places that exist on one machine only, and package registries: clients know those by themselves.
// The pieces are joined here so that this file does not find itself.
var foreign = regexp.MustCompile(`(?m)(?:^|[^\w.~})])/(?:` + "work|root|farm" + `)/|` + strings.Join([]string{
	`proxy\.golang` + `\.org`, `sum\.golang` + `\.org`, `registry\.npmjs` + `\.org`, `pypi` + `\.org`,
	`files\.pythonhosted` + `\.org`, `deb\.debian` + `\.org`,
}, "|"))

// foreigners lists the lines of a text that name a machine or a registry.
func foreigners(name string, text []byte) []string {
	var problems []string
	for n, line := range strings.Split(string(text), "\n") {
		if found := foreign.FindString(line); found != "" {
			problems = append(problems, fmt.Sprintf("%s:%d names %q: nothing committed knows a machine or a registry",
				name, n+1, strings.TrimSpace(found)))
		}
	}
	return problems
}

func TestNoMachineIsNamed(t *testing.T) {
	for name, text := range load(t).texts {
		report(t, foreigners(name, text))
	}
}

// TestRulesBite: each rule finds what it forbids, and only that.
func TestRulesBite(t *testing.T) {
	sleep := "package p\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"
	makers := map[string]bool{"p.bubble": true}
	sleeps := func(s *source) []string { return realSleeps(s, makers) }
	machines := func(s *source) []string { return foreigners("x", []byte(s.ast.Doc.Text())) }
	function := "package p\nfunc f() {" + strings.Repeat("\n", 62) + "}\n"
	for i, tt := range []struct {
		rule       func(*source) []string
		path, text string
		want       int
	}{
		{impure, "internal/lane/a.go", sleep, 1},
		{impure, "internal/lane/a_test.go", sleep, 0},
		{impure, shell, sleep, 0},
		{impure, shell, "package p\nimport _ \"net/http/httptest\"\n", 1},
		{impure, "internal/lane/a.go", "package p\nimport clock \"time\"\nvar now = clock.Now\n", 1},
		{impure, "internal/lane/a.go", "package p\nimport . \"time\"\nvar now = Now\n", 1},
		{impure, "internal/lane/a.go", "package p\nimport \"time\"\nvar d time.Duration\n", 0},
		{tooLong, "p/a.go", function, 1},
		{tooLong, "p/a_test.go", function, 0},
		{tooLong, "p/a.go", "package p\n" + strings.Repeat("\n", 499), 0},
		{tooLong, "p/a.go", "package p\n" + strings.Repeat("\n", 500), 1},
		{sleeps, "p/a.go", sleep, 0},
		{sleeps, "p/a_test.go", sleep, 1},
		{sleeps, "q/a_test.go", sleep + "func g() { bubble(f) }\n", 1},
		{sleeps, "p/a_test.go", sleep + "func g() { bubble(f) }\n", 0},
		{sleeps, "p/a_test.go", strings.Replace(sleep, "import", "import _ \"testing/synctest\"\nimport", 1), 0},
		{machines, "p/a.go", "// see /ro" + "ot/notes\npackage p\n", 1},
		{machines, "p/a.go", "// see pypi" + ".org\npackage p\n", 1},
		{machines, "p/a.go", "// see host/root/notes and net/work/x\npackage p\n", 0},
	} {
		s, err := parse(tt.path, []byte(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := tt.rule(s); len(got) != tt.want {
			t.Errorf("case %d, %s: problems %q, want %d", i, tt.path, got, tt.want)
		}
	}
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}
