package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// settings are the values as they were written, before they are checked.
type settings struct {
	listen                        value
	tlsCert, tlsKey               value
	hosts, origins                []value
	instances                     []instanceSettings
	aliases                       []aliasSettings
	maxWaiting, maxBytes, maxBody value
}

type instanceSettings struct {
	at            place // of the instance as a whole
	name, url     value
	slots, limit  value
	maxModel      value
	roles, models []value
	headers       []headerSetting
	ca, cert, key value
}

type headerSetting struct {
	name  value
	value value
}

// readFile takes the settings from a document.
func readFile(doc *document) (settings, error) {
	var s settings
	t, root, err := parseTree(doc)
	if err != nil || root == nil {
		return s, err
	}
	err = t.fields(root, "", "", map[string]func(ast.Node, string) error{
		"listen": t.scalarInto(&s.listen),
		"tls": func(n ast.Node, label string) error {
			return t.fields(n, "tls", label, map[string]func(ast.Node, string) error{
				"cert": t.scalarInto(&s.tlsCert),
				"key":  t.scalarInto(&s.tlsKey),
			})
		},
		"hosts":     t.scalarsInto(&s.hosts),
		"origins":   t.scalarsInto(&s.origins),
		"instances": func(n ast.Node, label string) error { return t.instances(n, label, &s.instances) },
		"aliases":   func(n ast.Node, label string) error { return t.aliases(n, label, &s.aliases) },
		"queue": func(n ast.Node, label string) error {
			return t.fields(n, "queue", label, map[string]func(ast.Node, string) error{
				"max_waiting": t.scalarInto(&s.maxWaiting),
				"max_bytes":   t.scalarInto(&s.maxBytes),
				"max_body":    t.scalarInto(&s.maxBody),
			})
		},
	})
	return s, err
}

func (t *tree) instances(n ast.Node, label string, into *[]instanceSettings) error {
	items, err := t.items(n, label, "Begin each instance with a dash: - url: http://10.0.0.5:11434")
	if err != nil {
		return err
	}
	for i, item := range items {
		instance, err := t.instance(item, fmt.Sprintf("%s[%d]", label, i))
		if err != nil {
			return err
		}
		*into = append(*into, instance)
	}
	return nil
}

func (t *tree) instance(n ast.Node, label string) (instanceSettings, error) {
	s := instanceSettings{at: t.at(n).named("%s", label)}
	err := t.fields(n, "instances[]", label, map[string]func(ast.Node, string) error{
		"name":      t.scalarInto(&s.name),
		"url":       t.scalarInto(&s.url),
		"roles":     t.scalarsInto(&s.roles),
		"slots":     t.scalarInto(&s.slots),
		"limit":     t.scalarInto(&s.limit),
		"models":    t.scalarsInto(&s.models),
		"max_model": t.scalarInto(&s.maxModel),
		"headers":   func(n ast.Node, label string) error { return t.headers(n, label, &s.headers) },
		"ca":        t.scalarInto(&s.ca),
		"client_cert": func(n ast.Node, label string) error {
			return t.fields(n, "client_cert", label, map[string]func(ast.Node, string) error{
				"cert": t.scalarInto(&s.cert),
				"key":  t.scalarInto(&s.key),
			})
		},
	})
	return s, err
}

func (t *tree) headers(n ast.Node, label string, into *[]headerSetting) error {
	entries, err := t.entries(n, label)
	if err != nil {
		return err
	}
	for _, e := range entries {
		key, err := t.key(e, label)
		if err != nil {
			return err
		}
		// The name is not part of the label: a mistyped line may have a secret in its place.
		v, err := t.scalar(e.Value, label)
		if err != nil {
			return err
		}
		*into = append(*into, headerSetting{key, v})
	}
	return nil
}

func (t *tree) scalarInto(into *value) func(ast.Node, string) error {
	return func(n ast.Node, label string) (err error) {
		*into, err = t.scalar(n, label)
		return err
	}
}

func (t *tree) scalarsInto(into *[]value) func(ast.Node, string) error {
	return func(n ast.Node, label string) (err error) {
		*into, err = t.scalars(n, label)
		return err
	}
}

// key returns an entry's key.
func (t *tree) key(e *ast.MappingValueNode, label string) (value, error) {
	at := t.at(e.Key).named("%s", label)
	if label == "" {
		at = t.at(e.Key)
	}
	if e.Key.IsMergeKey() {
		return value{}, at.fail("Write the keys out.", "<< is not supported")
	}
	if s, ok := e.Key.(*ast.StringNode); ok {
		return value{s.Value, true, at}, nil
	}
	return value{e.Key.GetToken().Value, true, at}, nil
}

// fields hands the values of a mapping to the readers of its keys; section is its name in [sections].
func (t *tree) fields(n ast.Node, section, label string, read map[string]func(ast.Node, string) error) error {
	entries, err := t.entries(n, label)
	if err != nil {
		return err
	}
	for _, e := range entries {
		key, err := t.key(e, label)
		if err != nil {
			return err
		}
		f := read[key.text]
		if f == nil {
			return unknownKey(key, section)
		}
		full := key.text
		if label != "" {
			full = label + "." + key.text
		}
		if err := f(e.Value, full); err != nil {
			return err
		}
	}
	return nil
}

// unknownKey suggests the key that was meant.
func unknownKey(key value, section string) *Error {
	what := "unknown key"
	if showableKey(key.text) {
		what = fmt.Sprintf("unknown key %q", key.text)
	}
	if near := nearest(key.text, keysOf(section)); near != "" {
		return key.at.fail(fmt.Sprintf("Did you mean %q?", near), "%s", what)
	}
	if home, ok := homeOf(key.text); ok {
		if home == "" {
			return key.at.fail(fmt.Sprintf("%q belongs at the top level of the file.", key.text), "%s", what)
		}
		return key.at.fail(fmt.Sprintf("%q belongs below %q.", key.text, home), "%s", what)
	}
	return key.at.fail(fmt.Sprintf("Known here: %s.", list(keysOf(section))), "%s", what)
}
