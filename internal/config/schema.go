package config

import "slices"

// kind says how the value of a key is drawn in an excerpt.
type kind int

const (
	kindHidden    kind = iota // hidden, keys below it too
	kindHeaders               // the values of its keys are hidden
	kindContainer             // has keys, is no text itself
	kindNames                 // its keys are names of models, what they have is kindModel
	kindModel                 // a model's name, or a container that has it
	kindText                  // shown
	kindURL                   // shown without user, password and query
	kindPath                  // one line is shown; further ones are the PEM text that should have been in a file
)

// section is one mapping of the file: its keys, in the order of the documentation.
type section struct {
	name string // as it is called in messages; "" = the file's top level
	keys []sectionKey
}

type sectionKey struct {
	name string
	kind kind
}

// sections is the shape of corral.yaml.
func sections() []section {
	return []section{
		{"", []sectionKey{{"listen", kindText}, {"tls", kindContainer}, {"hosts", kindText}, {"origins", kindURL},
			{"instances", kindContainer}, {"aliases", kindNames}, {"queue", kindContainer}}},
		{"instances[]", []sectionKey{{"name", kindText}, {"url", kindURL}, {"roles", kindText},
			{"slots", kindText}, {"limit", kindText}, {"models", kindText}, {"max_model", kindText},
			{"headers", kindHeaders}, {"ca", kindPath}, {"client_cert", kindContainer}}},
		{"client_cert", []sectionKey{{"cert", kindPath}, {"key", kindPath}}},
		{"tls", []sectionKey{{"cert", kindPath}, {"key", kindPath}}},
		{"aliases[]", []sectionKey{{"model", kindText}, {"num_ctx", kindText}, {"num_predict", kindText},
			{"think", kindText}, {"keep_alive", kindText}, {"fallback", kindModel}}},
		{"fallback", []sectionKey{{"to", kindText}, {"after", kindText}}},
		{"queue", []sectionKey{{"max_waiting", kindText}, {"max_bytes", kindText}, {"max_body", kindText}}},
	}
}

// keysOf returns the keys of the named section.
func keysOf(name string) []string {
	var keys []string
	for _, s := range sections() {
		if s.name == name {
			for _, k := range s.keys {
				keys = append(keys, k.name)
			}
		}
	}
	return keys
}

// homeOf returns the section that key belongs to.
func homeOf(key string) (string, bool) {
	for _, s := range sections() {
		if slices.ContainsFunc(s.keys, func(k sectionKey) bool { return k.name == key }) {
			return s.name, true
		}
	}
	return "", false
}

// kindOf returns how the value of a key is drawn. A misspelt key is drawn as the one it was meant
// to be, because `header:` holds secrets as much as `headers:` does; one that resembles nothing hides.
func kindOf(key string) kind {
	var names []string
	kinds := map[string]kind{}
	for _, s := range sections() {
		for _, k := range s.keys {
			names = append(names, k.name)
			kinds[k.name] = k.kind
		}
	}
	if k, ok := kinds[key]; ok {
		return k
	}
	return kinds[nearest(key, names)] // kindHidden when there is none
}
