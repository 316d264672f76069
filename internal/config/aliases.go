package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// aliasSettings is an alias as it was written.
type aliasSettings struct {
	name, model        value
	numCtx, numPredict value
	think, keepAlive   value
	fallbacks          []fallbackSettings
}

type fallbackSettings struct{ to, after value }

// aliases reads name: model pairs, or name: {model: …, …}.
func (t *tree) aliases(n ast.Node, label string, into *[]aliasSettings) error {
	entries, err := t.entries(n, label)
	if err != nil {
		return err
	}
	for _, e := range entries {
		key, err := t.key(e, label)
		if err != nil {
			return err
		}
		s := aliasSettings{name: key}
		if !aliasPattern.MatchString(key.text) {
			return key.at.fail(aliasRemedy, "not a name for an alias")
		}
		if s.model, err = t.alias(e.Value, label+"."+key.text, &s); err != nil {
			return err
		}
		*into = append(*into, s)
	}
	return nil
}

// alias reads what an alias stands for and returns its model.
func (t *tree) alias(n ast.Node, label string, s *aliasSettings) (model value, err error) {
	if !isMapping(t.resolve(n)) {
		return t.scalar(n, label)
	}
	err = t.fields(n, "aliases[]", label, map[string]func(ast.Node, string) error{
		"model":       t.scalarInto(&model),
		"num_ctx":     t.scalarInto(&s.numCtx),
		"num_predict": t.scalarInto(&s.numPredict),
		"think":       t.scalarInto(&s.think),
		"keep_alive":  t.scalarInto(&s.keepAlive),
		"fallback":    func(n ast.Node, label string) error { return t.fallbacks(n, label, &s.fallbacks) },
	})
	if err == nil && !model.set {
		model.at = t.at(n).named("%s", label)
	}
	return model, err
}

// fallbacks reads a model, a {to, after}, or a list of these.
func (t *tree) fallbacks(n ast.Node, label string, into *[]fallbackSettings) error {
	nodes := []ast.Node{n}
	if list, ok := t.resolve(n).(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	for _, n := range nodes {
		var f fallbackSettings
		var err error
		if isMapping(t.resolve(n)) {
			err = t.fields(n, "fallback", label, map[string]func(ast.Node, string) error{
				"to":    t.scalarInto(&f.to),
				"after": t.scalarInto(&f.after),
			})
			if !f.to.set {
				f.to.at = t.at(n).named("%s", label)
			}
		} else {
			f.to, err = t.scalar(n, label)
		}
		if err != nil {
			return err
		}
		*into = append(*into, f)
	}
	return nil
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// aliasesOfEntries reads the entries of CORRAL_ALIASES: name=model.
func aliasesOfEntries(entries []value) []aliasSettings {
	var all []aliasSettings
	for _, e := range entries {
		name, model, _ := strings.Cut(e.text, "=")
		all = append(all, aliasSettings{
			name:  value{strings.TrimSpace(name), true, e.at},
			model: value{strings.TrimSpace(model), model != "", e.at},
		})
	}
	return all
}

var (
	aliasPattern = regexp.MustCompile(`^[A-Za-z0-9._:/@*?-]{1,120}$`)
	modelPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._:/@-]{0,250}$`)
)

const (
	aliasRemedy = `Use a model's name, such as gpt-4o; * stands for any text and ? for one character: "claude-*".`
	modelRemedy = "Name the model that runs, as `ollama list` shows it: llama3.1:8b."
	maxTokens   = 10_000_000
)

// buildAliases checks the aliases one by one and against each other.
func buildAliases(all []aliasSettings, c *Config) error {
	for _, s := range all {
		a, err := buildAlias(s)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(c.Aliases, func(b Alias) bool { return sameName(a.Name, b.Name) }) {
			return s.name.at.fail("Keep one of the two; upper and lower case are the same, and so is :latest.", "%s is an alias already", quoted(a.Name))
		}
		c.Aliases = append(c.Aliases, a)
	}
	for _, s := range all {
		for _, to := range append([]value{s.model}, targets(s.fallbacks)...) {
			// One that leads to itself gives a model its defaults: it is there to be named.
			chained := func(b Alias) bool { return sameName(b.Name, to.text) && !sameName(b.Name, b.Model) }
			if slices.ContainsFunc(c.Aliases, chained) {
				return to.at.fail("Name the model that runs: an alias does not lead to another.", "%s is an alias itself", quoted(to.text))
			}
		}
	}
	return nil
}

func targets(fallbacks []fallbackSettings) []value {
	var to []value
	for _, f := range fallbacks {
		to = append(to, f.to)
	}
	return to
}

// sameName compares names as Ollama does.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(strings.ToLower(a), ":latest"), strings.TrimSuffix(strings.ToLower(b), ":latest"))
}

func buildAlias(s aliasSettings) (Alias, error) {
	a := Alias{Name: strings.ToLower(s.name.text)}
	if !aliasPattern.MatchString(s.name.text) {
		return a, s.name.at.fail(aliasRemedy, "%s is not a name for an alias", quoted(s.name.text))
	}
	steps := []func() error{
		func() error { return buildModel(s.model, &a.Model) },
		func() error { return buildNumber(s.numCtx, 1, maxTokens, &a.NumCtx) },
		func() error { return buildNumPredict(s.numPredict, &a.NumPredict) },
		func() error { return buildThink(s.think, &a.Think) },
		func() error { return buildKeepAlive(s.keepAlive, &a.KeepAlive) },
		func() (err error) { a.Fallbacks, err = buildFallbacks(s.fallbacks); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return a, err
		}
	}
	return a, nil
}

func buildModel(v value, into *string) error {
	if !v.set || v.text == "" {
		return v.at.fail(modelRemedy, "no model is named")
	}
	if !modelPattern.MatchString(v.text) {
		return v.at.fail(modelRemedy, "not a model's name") // unquoted: a misplaced header would show
	}
	*into = v.text
	return nil
}

func buildNumPredict(v value, into *int) error {
	if err := buildNumber(v, -2, maxTokens, into); err != nil || !v.set || *into != 0 {
		return err
	}
	return v.at.fail("Leave it out, or write how many tokens an answer may have; -1 means without end.", "an answer of no tokens is none")
}

func buildThink(v value, into *string) error {
	levels := []string{"true", "false", "low", "medium", "high"}
	if v.set && !slices.Contains(levels, v.text) {
		return v.at.fail("Write true, false, low, medium or high.", "%s does not say how to think", quoted(v.text))
	}
	*into = v.text
	return nil
}

func buildKeepAlive(v value, into *string) error {
	if !v.set {
		return nil
	}
	_, notDuration := time.ParseDuration(v.text)
	if _, err := strconv.Atoi(v.text); err != nil && notDuration != nil {
		return v.at.fail("Write a duration such as 10m, a number of seconds, or -1 for ever.", "%s is not a duration", quoted(v.text))
	}
	*into = v.text
	return nil
}

func buildFallbacks(all []fallbackSettings) ([]Fallback, error) {
	var built []Fallback
	last := time.Duration(0)
	for _, s := range all {
		var f Fallback
		if err := buildModel(s.to, &f.To); err != nil {
			return nil, err
		}
		if s.after.set {
			d, err := time.ParseDuration(s.after.text)
			switch {
			case err != nil || d <= 0 || d > 24*time.Hour:
				return nil, s.after.at.fail("Write a duration such as 10s, or leave `after` out to fall back only when the model is absent.", "%s is not a time to wait, more than 0 and at most 24h", quoted(s.after.text))
			case d <= last:
				return nil, s.after.at.fail("Let every further fallback come later, counted from the request's arrival.", "%s is not after %s, when the one before it takes over", d, last)
			}
			f.After, last = d, d
		}
		built = append(built, f)
	}
	return built, nil
}

// aliasChanges says what differs, by name.
func aliasChanges(old, new []Alias) []string {
	find := func(all []Alias, name string) int {
		return slices.IndexFunc(all, func(a Alias) bool { return a.Name == name })
	}
	var changes []string
	for _, a := range new {
		if i := find(old, a.Name); i < 0 {
			changes = append(changes, fmt.Sprintf("alias %s added: %s", a.Name, a))
		} else if !old[i].Equal(a) {
			changes = append(changes, fmt.Sprintf("alias %s changed: %s -> %s", a.Name, old[i], a))
		}
	}
	for _, a := range old {
		if find(new, a.Name) < 0 {
			changes = append(changes, "alias "+a.Name+" removed")
		}
	}
	return changes
}

// String is what the alias stands for, in one line.
func (a Alias) String() string {
	parts := []string{a.Model}
	add := func(key, value string, set bool) {
		if set {
			parts = append(parts, key+" "+value)
		}
	}
	add("num_ctx", strconv.Itoa(a.NumCtx), a.NumCtx != 0)
	add("num_predict", strconv.Itoa(a.NumPredict), a.NumPredict != 0)
	add("think", a.Think, a.Think != "")
	add("keep_alive", a.KeepAlive, a.KeepAlive != "")
	for _, f := range a.Fallbacks {
		if f.After > 0 {
			add("else", f.To+" after "+f.After.String(), true)
			continue
		}
		add("else", f.To, true)
	}
	return strings.Join(parts, ", ")
}
