package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "corral/"

// source is one Go file.
type source struct {
	path  string // from the root of the repository, with slashes
	lines int
	ast   *ast.File
	set   *token.FileSet
}

// parse reads one Go file, whatever its build tags.
func parse(name string, text []byte) (*source, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return &source{path: name, lines: bytes.Count(text, []byte("\n")), ast: tree, set: set}, err
}

func (s *source) dir() string              { return path.Dir(s.path) }
func (s *source) isTest() bool             { return strings.HasSuffix(s.path, "_test.go") }
func (s *source) line(pos token.Pos) int   { return s.set.Position(pos).Line }
func (s *source) at(n ast.Node) string     { return fmt.Sprintf("%s:%d", s.path, s.line(n.Pos())) }
func (s *source) imports(name string) bool { return s.importName(name) != "" }

// importPaths are the packages that the file imports.
func (s *source) importPaths() []string {
	var paths []string
	for _, spec := range s.ast.Imports {
		paths = append(paths, unquote(spec))
	}
	return paths
}

// importName is what the file calls an imported package: "time", an alias, ".", or "" when it is not imported.
func (s *source) importName(name string) string {
	for _, spec := range s.ast.Imports {
		switch {
		case unquote(spec) != name:
		case spec.Name != nil:
			return spec.Name.Name
		default:
			return path.Base(name)
		}
	}
	return ""
}

// uses calls found for every mention of one of a package's names, such as time.Now.
func (s *source) uses(pkg string, names []string, found func(*ast.SelectorExpr)) {
	local := s.importName(pkg)
	ast.Inspect(s.ast, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := selector.X.(*ast.Ident)
		if ok && local != "" && x.Name == local {
			for _, name := range names {
				if selector.Sel.Name == name {
					found(selector)
				}
			}
		}
		return true
	})
}

func unquote(spec *ast.ImportSpec) string {
	name, _ := strconv.Unquote(spec.Path.Value)
	return name
}

// repo is every Go file of the repository, and every other text file.
type repo struct {
	sources []*source
	texts   map[string][]byte // by path
}

// loaded reads the repository once for all tests.
var loaded = sync.OnceValues(func() (*repo, error) {
	root, err := os.Getwd()
	for err == nil {
		if _, err = os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if parent := filepath.Dir(root); parent != root {
			root, err = parent, nil
		}
	}
	if err != nil {
		return nil, err
	}
	r := &repo{texts: map[string][]byte{}}
	files := os.DirFS(root)
	return r, fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && unwatched(name):
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		return r.add(files, name)
	})
})

// unwatched are folders that are not committed.
func unwatched(dir string) bool {
	switch base := path.Base(dir); {
	case dir == ".", base == ".ci", base == ".github":
		return false
	case strings.HasPrefix(base, "."), base == "node_modules", base == "__pycache__":
		return true
	default:
		return dir == "bin" || dir == "dist"
	}
}

func (r *repo) add(files fs.FS, name string) error {
	text, err := fs.ReadFile(files, name)
	if err != nil || bytes.IndexByte(text, 0) >= 0 {
		return err
	}
	r.texts[name] = text
	if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
		return nil
	}
	s, err := parse(name, text)
	if err != nil {
		return err
	}
	r.sources = append(r.sources, s)
	return nil
}

func load(t *testing.T) *repo {
	t.Helper()
	r, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return r
}
