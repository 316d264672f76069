package config

import (
	"regexp"
	"strings"
)

// maskedLine is a source line and which of its characters are hidden.
type maskedLine struct {
	text []rune
	hide []bool
}

// String returns the line with every hidden run as "[hidden]".
func (l maskedLine) String() string {
	var b strings.Builder
	for i, r := range l.text {
		switch {
		case !l.hide[i]:
			b.WriteRune(r)
		case i == 0 || !l.hide[i-1]:
			b.WriteString(hidden)
		}
	}
	return b.String()
}

// column returns where the 1-based column of the source line is in String.
func (l maskedLine) column(col int) int {
	at := 0
	for i := range l.text {
		switch {
		case !l.hide[i]:
			at++
		case i == 0 || !l.hide[i-1]:
			at += len(hidden)
		}
		if i+1 >= col {
			if l.hide[i] {
				return at - len(hidden) + 1
			}
			return at
		}
	}
	return at + col - len(l.text)
}

func (l maskedLine) cover(from, to int) {
	for i := max(0, from); i < min(to, len(l.text)); i++ {
		l.hide[i] = true
	}
}

// masker finds secrets in source lines. It must work on files that are no valid YAML, so it reads
// the text itself, shows only the values of known keys that hold no secrets, and once it is unsure
// what it reads it hides the rest of the file.
type masker struct {
	block []blockKey
	flow  []flowFrame
	lost  bool
	pem   bool // inside of a -----BEGIN … -----END block
}

type blockKey struct {
	indent int
	kind   kind
}

// hideSecrets masks the values of headers, unknown keys, credentials in URLs and inline PEM.
func hideSecrets(lines []string) []maskedLine {
	var m masker
	masked := make([]maskedLine, len(lines))
	for i, line := range lines {
		text := []rune(line)
		masked[i] = maskedLine{text, make([]bool, len(text))}
		m.line(masked[i])
		m.pem = m.pem || strings.Contains(line, "-----BEGIN") && !strings.Contains(line, "-----END")
	}
	return masked
}

// line masks one line and keeps what the next one needs to know.
func (m *masker) line(l maskedLine) {
	i := skipBlank(l.text, 0)
	switch {
	case m.lost || m.pem:
		l.cover(i, len(l.text))
		m.pem = m.pem && !strings.Contains(string(l.text), "-----END")
		return
	case len(m.flow) > 0:
		m.scanFlow(l, i)
		return
	}
	item := false
	for i+1 < len(l.text) && l.text[i] == '-' && isBlank(l.text[i+1]) {
		item = true
		i = skipBlank(l.text, i+1)
	}
	if i >= len(l.text) || string(l.text[i:]) == "---" {
		return
	}
	if l.text[i] == '#' {
		hideComment(l, i)
		return
	}
	for len(m.block) > 0 && m.block[len(m.block)-1].indent >= i {
		m.block = m.block[:len(m.block)-1]
	}
	parent := kindContainer
	if len(m.block) > 0 {
		parent = m.block[len(m.block)-1].kind
	}
	m.content(l, i, parent, item)
}

// content masks what follows a line's indentation: a key and its value, or a part of
// parent's value; item says that a dash came before.
func (m *masker) content(l maskedLine, i int, parent kind, item bool) {
	key, value, ok := blockKeyAt(l.text, i)
	switch {
	case ok && parent != kindHidden && showableIn(parent, key):
		k := childKind(parent, key)
		m.block = append(m.block, blockKey{i, k})
		m.value(l, skipProperties(l.text, value, k), k)
	case ok:
		m.block = append(m.block, blockKey{i, kindHidden})
		l.cover(i, len(l.text))
	case l.text[i] == '{' || l.text[i] == '[':
		m.value(l, i, parent)
	case parent == kindContainer:
		// A forgotten colon: "listen 127.0.0.1".
		word, _, _ := strings.Cut(string(l.text[i:]), " ")
		if k := kindOf(word); k == kindText || k == kindURL || k == kindPath {
			hideLeaf(l, i, len(l.text), k)
		} else if k != kindContainer {
			l.cover(i, len(l.text))
		}
	case parent == kindPath || !item: // more of a text that should have ended
		l.cover(i, len(l.text))
	default:
		hideLeaf(l, i, len(l.text), parent)
	}
}

// value masks a value that starts at i and belongs to a key of kind k.
func (m *masker) value(l maskedLine, i int, k kind) {
	if i >= len(l.text) {
		return
	}
	if l.text[i] == '{' || l.text[i] == '[' {
		m.flow = append(m.flow, flowFrame{open: l.text[i], parent: k, value: k})
		m.scanFlow(l, i+1)
		return
	}
	hideLeaf(l, i, len(l.text), k)
}

// childKind returns the kind of a key inside a value of kind parent.
func childKind(parent kind, key string) kind {
	switch parent {
	case kindContainer, kindModel:
		return kindOf(key)
	case kindNames:
		return kindModel
	}
	return kindHidden
}

var (
	// blockKeyPattern finds "key:" at the start of a text, quoted or plain.
	blockKeyPattern = regexp.MustCompile(`^(?:"([^"\\]*)"|'([^']*)'|([^\s"'#&*!|>%@{}\[\],?-][^:#{}\[\],"']*?))[ \t]*:(?:[ \t]+|$)`)
	// showablePattern is what a key looks like: a secret that slipped into its place has digits or is longer.
	showablePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,29}$`)
	// properties are anchors and tags in front of a value.
	propertyPattern = regexp.MustCompile(`^(?:[&!][A-Za-z_-]*[0-9]?[ \t]+)+`)
	// referencePattern is a secret kept elsewhere: its place may be shown.
	referencePattern = regexp.MustCompile(`^["']?(?:file|env):[^\s"']+["']?`)
	// modelLeaf is a model's name as a whole value: what is more may be a header that lost its place.
	modelLeaf       = regexp.MustCompile(`^["']?[A-Za-z0-9._:/-]*["']?\s*$`)
	delicateComment = regexp.MustCompile(`(?i)authorization|bearer|basic|token|secret|passw|api.?key|cookie|credential`)
)

func showableKey(key string) bool { return showablePattern.MatchString(key) }

// showableIn says whether a key may be shown inside a value of kind parent.
func showableIn(parent kind, key string) bool {
	return showableKey(key) || parent == kindNames && aliasPattern.MatchString(key)
}

// blockKeyAt returns the key that starts at i and where its value starts.
func blockKeyAt(text []rune, i int) (key string, value int, ok bool) {
	rest := string(text[i:])
	m := blockKeyPattern.FindStringSubmatch(rest)
	if m == nil {
		return "", 0, false
	}
	return m[1] + m[2] + m[3], i + len([]rune(m[0])), true
}

// skipProperties skips what stands before a value of kind k; in a secret's place it is hidden too.
func skipProperties(text []rune, i int, k kind) int {
	if k == kindHidden {
		return i
	}
	return i + len([]rune(propertyPattern.FindString(string(text[min(i, len(text)):]))))
}

// hideLeaf masks the text [from, to) of a value of kind k.
func hideLeaf(l maskedLine, from, to int, k kind) {
	text := string(l.text[from:to])
	at := func(byteOffset int) int { return from + len([]rune(text[:byteOffset])) }
	switch {
	case strings.Contains(text, "-----BEGIN"):
		l.cover(from, to)
		return
	case k == kindURL:
		from, until := credentials(text)
		l.cover(at(from), at(until))
		if i := strings.IndexByte(text, '?'); i >= 0 {
			l.cover(at(i+1), to)
		}
	case k == kindModel && !modelLeaf.MatchString(text):
		l.cover(from, to)
		return
	case k != kindText && k != kindPath && k != kindModel:
		ref := referencePattern.FindString(text)
		rest := at(len(ref))
		if skipBlank(l.text[:to], rest) < to {
			l.cover(rest, to)
		}
		return
	}
	// A text that seems to hold a key is more than one value: a quote or a line break is missing.
	if i := strings.Index(text, ": "); i >= 0 {
		l.cover(at(i+2), to)
	}
	if i := strings.IndexAny(text, "{}"); i >= 0 {
		l.cover(at(i), to)
	}
	if i := strings.Index(text, " #"); i >= 0 {
		hideComment(l, at(i+1))
	}
}

// hostPattern is what may follow the scheme, or the @, of a URL that holds nothing else than an address.
var hostPattern = regexp.MustCompile(`^(?:\[[0-9A-Fa-f:.%]*\]|[0-9A-Fa-f:]+|[^\s:/@"']*)(?::[0-9*]{0,5})?(?:/[^\s:@"']*)?["']?\s*(?:#.*)?$`)

// credentials returns the part of a URL's text that is user and password, or may be.
func credentials(text string) (from, to int) {
	if i := strings.Index(text, "://"); i >= 0 {
		from = i + len("://")
	} else if strings.IndexAny(text, `"'`) == 0 {
		from = 1
	}
	address, _, _ := strings.Cut(text, "?")
	to = max(from, strings.LastIndexByte(text, '@'))
	rest := strings.TrimPrefix(address[min(to, len(address)):], "@")
	if !hostPattern.MatchString(rest) {
		return from, len(text)
	}
	return from, to
}

// hideComment masks a comment that may be a setting with a secret, switched off: plain words are shown.
func hideComment(l maskedLine, from int) {
	text := string(l.text[from:])
	if strings.ContainsAny(text, ":=@{0123456789") || delicateComment.MatchString(text) {
		l.cover(from+1, len(l.text))
	}
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

func skipBlank(text []rune, i int) int {
	for i < len(text) && isBlank(text[i]) {
		i++
	}
	return i
}
