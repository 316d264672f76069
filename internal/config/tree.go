package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// value is a scalar as it was written, and where.
type value struct {
	text string
	set  bool
	at   place
}

const (
	maxFile  = 1 << 20 // bytes
	maxDepth = 100     // open brackets, or dashes in a row
)

// tree reads the syntax tree of a document. The settings are taken from the tree and not through
// goccy's decoder because that one converts before it looks at the wanted type: a token 0123 becomes
// the text "83" and 1.5 slots become 1.
type tree struct {
	doc     *document
	anchors map[string]ast.Node
}

// parseTree returns the document's tree and its root, nil for an empty document.
func parseTree(doc *document) (t *tree, root ast.Node, err error) {
	t = &tree{doc: doc, anchors: map[string]ast.Node{}}
	if e := t.refuseText(); e != nil {
		return nil, nil, e
	}
	defer func() {
		// The parser is fed by people: a bug in it must not take the running gateway down at a reload.
		if r := recover(); r != nil {
			root, err = nil, t.at(nil).fail("Check the file with another YAML tool.", "not readable as YAML")
		}
	}()
	file, err := parser.ParseBytes([]byte(doc.src), 0)
	if err != nil {
		return nil, nil, t.syntaxError(err)
	}
	for i, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		if root != nil && i > 0 {
			return nil, nil, t.at(d.Body).fail("Join the parts into one and remove the --- lines.", "more than one document in the file")
		}
		root = d.Body
	}
	if root != nil {
		ast.Walk(t, root)
	}
	return t, root, nil
}

// refuseText refuses texts that the parser should not see.
func (t *tree) refuseText() error {
	src := t.doc.src
	if len(src) > maxFile {
		return t.at(nil).fail("Check that this is the right file.", "larger than 1 MiB")
	}
	if valid := strings.ToValidUTF8(src, "\x00"); valid != src {
		i := 0
		for i < len(src) && src[i] == valid[i] {
			i++
		}
		return t.atOffset(i).fail("Save the file as UTF-8.", "not UTF-8 text")
	}
	if i := tooDeep(src); i >= 0 {
		return t.atOffset(i).fail("Check the brackets.", "nested too deep")
	}
	return nil
}

// tooDeep returns where more than maxDepth levels are open, or -1. The parser is recursive, and an
// overflow of the stack can not be recovered from.
func tooDeep(src string) int {
	depth := 0
	for i := range len(src) {
		switch src[i] {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		if depth > maxDepth {
			return i
		}
	}
	return max(strings.Index(src, strings.Repeat("- ", maxDepth)), strings.Index(src, strings.Repeat("? ", maxDepth)))
}

// atOffset returns the place of a byte.
func (t *tree) atOffset(i int) place {
	before := t.doc.src[:i]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return place{doc: t.doc, line: strings.Count(before, "\n") + 1, col: utf8.RuneCountInString(line) + 1}
}

// Visit implements [ast.Visitor]: it collects anchors.
func (t *tree) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		t.anchors[a.Name.String()] = a.Value
	}
	return t
}

var (
	quotedPattern    = regexp.MustCompile(`\s*"(?:\\.|[^"\\]){2,}"`)
	duplicatePattern = regexp.MustCompile(`^mapping key .* already defined at \[(\d+):\d+\]$`)
)

// syntaxError turns the parser's error into ours. The texts that it quotes from the file are left
// out, because they may be secrets.
func (t *tree) syntaxError(err error) *Error {
	var syntax yaml.Error
	if !errors.As(err, &syntax) {
		return t.at(nil).fail("Check the file with another YAML tool.", "not readable as YAML")
	}
	p := t.atToken(syntax.GetToken())
	if m := duplicatePattern.FindStringSubmatch(syntax.GetMessage()); m != nil {
		return p.fail("Keep one of the two.", "this key is given twice, first on line %s", m[1])
	}
	message := quotedPattern.ReplaceAllString(syntax.GetMessage(), "")
	return p.fail("Check indentation, quotes and brackets here and on the line above.", "%s", message)
}

// at returns the place of a node; of nil, the file as a whole.
func (t *tree) at(n ast.Node) place {
	if n == nil {
		return place{doc: t.doc}
	}
	return t.atToken(n.GetToken())
}

func (t *tree) atToken(tk *token.Token) place {
	if tk == nil || tk.Position == nil {
		return place{doc: t.doc}
	}
	return place{doc: t.doc, line: tk.Position.Line, col: tk.Position.Column}
}

// resolve follows anchors, aliases and tags to the node itself; null gives nil.
func (t *tree) resolve(n ast.Node) ast.Node {
	for range maxDepth {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.TagNode:
			n = v.Value
		case *ast.AliasNode:
			if v.Value == nil {
				return nil
			}
			n = t.anchors[v.Value.String()]
			if n == nil {
				return v // an alias without anchor: of no type that is wanted
			}
		case *ast.NullNode:
			return nil
		default:
			return n
		}
	}
	return n
}

// entries returns a mapping's entries in order, none for null.
func (t *tree) entries(n ast.Node, label string) ([]*ast.MappingValueNode, error) {
	switch v := t.resolve(n).(type) {
	case nil:
		return nil, nil
	case *ast.MappingNode:
		return v.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}, nil
	default:
		return nil, t.at(n).named("%s", label).fail("Write key: value pairs, indented below it.", "%s where keys and values are wanted", describe(v))
	}
}

// items returns a list's items, none for null.
func (t *tree) items(n ast.Node, label, remedy string) ([]ast.Node, error) {
	switch v := t.resolve(n).(type) {
	case nil:
		return nil, nil
	case *ast.SequenceNode:
		return v.Values, nil
	default:
		return nil, t.at(n).named("%s", label).fail(remedy, "%s where a list is wanted", describe(v))
	}
}

// scalar returns a text or number as it was written; null is not set.
func (t *tree) scalar(n ast.Node, label string) (value, error) {
	at := t.at(n).named("%s", label)
	switch v := t.resolve(n).(type) {
	case nil:
		return value{at: at}, nil
	case *ast.StringNode:
		return value{v.Value, true, at}, nil
	case *ast.LiteralNode:
		return value{v.Value.Value, true, at}, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return value{v.GetToken().Value, true, at}, nil
	default:
		return value{}, at.fail("Write one value.", "%s where one value is wanted", describe(v))
	}
}

// scalars returns a list of scalars.
func (t *tree) scalars(n ast.Node, label string) ([]value, error) {
	nodes, err := t.items(n, label, fmt.Sprintf("Write it as a list, in brackets: %s: [one, two]", lastKey(label)))
	if err != nil {
		return nil, err
	}
	values := make([]value, 0, len(nodes))
	for i, item := range nodes {
		v, err := t.scalar(item, fmt.Sprintf("%s[%d]", label, i))
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

func lastKey(label string) string { return label[strings.LastIndexByte(label, '.')+1:] }

// describe says what a node is, in a user's words.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AliasNode:
		return "an alias without anchor"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	default:
		return "a single value"
	}
}
