package dialect

import "strings"

const (
	defaultHost      = "registry.ollama.ai"
	defaultNamespace = "library"
	defaultTag       = "latest"
)

// source is where a name says its model runs.
type source uint8

const (
	anywhere source = iota
	local
	cloud
	conflict // a suffix upon a suffix: no Ollama takes it
)

// CanonicalModel returns the one spelling of all names that Ollama takes for the
// same model: lower case (its lookup ignores case), with a tag, without default
// host and namespace, without a `:local` suffix. A cloud suffix stays: it is
// part of the tag in /api/tags, and no local model. Names that Ollama calls invalid
// come back trimmed and in lower case.
func CanonicalModel(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	switch base, src := cutSource(name); src {
	case local:
		name = base
	case conflict:
		return name
	}
	slash := strings.LastIndexByte(name, '/')
	path := name
	tagged := strings.LastIndexByte(name, ':') > slash
	if tagged {
		path = name[:strings.LastIndexByte(name, ':')]
	}
	short := shortPath(path)
	switch {
	case !tagged:
		return short + ":" + defaultTag
	case len(short) == len(path):
		return name // canonical already: no copy
	default:
		return short + name[len(path):]
	}
}

// shortPath cuts scheme, default host and default namespace off
// [scheme://][host/][namespace/]model.
func shortPath(path string) string {
	if _, rest, ok := strings.Cut(path, "://"); ok && strings.Count(rest, "/") == 2 {
		path = strings.TrimPrefix(rest, "/") // a bare scheme gets the default host
	}
	if rest, ok := strings.CutPrefix(path, defaultHost+"/"); ok && strings.Count(rest, "/") == 1 {
		path = rest
	}
	if rest, ok := strings.CutPrefix(path, defaultNamespace+"/"); ok && !strings.Contains(rest, "/") {
		path = rest
	}
	return path
}

// IsCloud tells whether name sends the request to ollama.com: tag `cloud`, or
// one that ends in `-cloud`. Such a request takes no local slot.
func IsCloud(name string) bool {
	_, src := cutSource(strings.TrimSpace(name))
	return src == cloud
}

// cutSource splits a name at the suffix that says where its model runs.
func cutSource(name string) (base string, src source) {
	base, src = cutSuffix(name)
	if src == anywhere {
		return name, anywhere
	}
	if _, twice := cutSuffix(base); twice != anywhere {
		return name, conflict
	}
	return base, src
}

func cutSuffix(name string) (base string, src source) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return name, anywhere
	}
	tag := strings.TrimSpace(name[i+1:])
	switch {
	case strings.EqualFold(tag, "cloud"):
		return name[:i], cloud
	case strings.EqualFold(tag, "local"):
		return name[:i], local
	}
	const dash = "-cloud"
	if at := len(tag) - len(dash); at >= 0 && strings.EqualFold(tag[at:], dash) && !strings.Contains(tag, "/") {
		return name[:i+1] + tag[:at], cloud
	}
	return name, anywhere
}

// ValidModel tells whether Ollama takes name for a model's name, wherever the model runs.
func ValidModel(name string) bool {
	base, src := cutSource(strings.TrimSpace(name))
	return src != conflict && validName(base)
}

// validName tells whether Ollama takes base (source suffix cut off) for a model
// name; it answers 400 otherwise.
func validName(base string) bool {
	rest := base
	if colon := strings.LastIndexByte(base, ':'); colon > strings.LastIndexByte(base, '/') {
		if !validPart(base[colon+1:], 80, ".") {
			return false
		}
		rest = base[:colon]
	}
	rest, model, more := cutLast(rest)
	if !validPart(model, 80, ".") {
		return false
	}
	if !more {
		return true
	}
	host, namespace, more := cutLast(rest)
	if !validPart(namespace, 80, "") {
		return false
	}
	if !more {
		return true
	}
	if _, after, ok := strings.Cut(host, "://"); ok {
		return after == "" || validPart(after, 350, ".:")
	}
	return validPart(host, 350, ".:")
}

func cutLast(s string) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

// validPart tells whether a part of a name is 1 to most bytes of letters, digits,
// underscores and, after the first, dashes and the bytes in extra.
func validPart(s string, most int, extra string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		word := c == '_' || c-'0' <= 9 || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !word && (i == 0 || c != '-' && strings.IndexByte(extra, c) < 0) {
			return false
		}
	}
	return true
}
