package config

import (
	"slices"
	"strings"
	"time"
)

// Alias is a name that clients may ask for, and what it stands for.
type Alias struct {
	Name  string // lower case; may hold the wildcards * and ?
	Model string // what runs

	// Defaults, used where a request does not say otherwise. Ollama's own routes take all of them; the OpenAI
	// and Anthropic ones have no place for NumCtx and KeepAlive.
	NumCtx     int    // tokens, 1..10,000,000; 0 = not stated
	NumPredict int    // tokens, 1..10,000,000; -1 = without end, -2 = until the context is full; 0 = not stated
	Think      string // "true", "false", "low", "medium", "high"; "" = not stated
	KeepAlive  string // a Go duration or a number of seconds, negative = for ever; "" = not stated

	Fallbacks []Fallback // tried in this order
}

// Fallback is a model that takes the place of another.
type Fallback struct {
	To string
	// After is how long a request waits for what comes before; 0 = it takes its place only when that is absent:
	// no instance that can be reached has it.
	After time.Duration
}

// Alias returns what an asked name stands for. An exact name wins over globs, among these the first in the file.
func (c *Config) Alias(asked string) (Alias, bool) {
	asked = strings.ToLower(strings.TrimSpace(asked))
	short := strings.TrimSuffix(asked, ":latest")
	var found *Alias
	for i := range c.Aliases {
		a := &c.Aliases[i]
		switch {
		case !a.Glob():
			if strings.TrimSuffix(a.Name, ":latest") == short {
				return *a, true
			}
		case found == nil && (matchGlob(a.Name, asked) || matchGlob(a.Name, short)):
			found = a
		}
	}
	if found == nil {
		return Alias{}, false
	}
	return *found, true
}

// Models are the names that may run for it, in order.
func (a Alias) Models() []string {
	all := []string{a.Model}
	for _, f := range a.Fallbacks {
		all = append(all, f.To)
	}
	return all
}

// Glob says whether the alias stands for more than one name.
func (a Alias) Glob() bool { return strings.ContainsAny(a.Name, "*?") }

// Equal says whether two aliases are the same in every setting.
func (a Alias) Equal(b Alias) bool {
	return a.Name == b.Name && a.Model == b.Model && a.NumCtx == b.NumCtx && a.NumPredict == b.NumPredict &&
		a.Think == b.Think && a.KeepAlive == b.KeepAlive && slices.Equal(a.Fallbacks, b.Fallbacks)
}
