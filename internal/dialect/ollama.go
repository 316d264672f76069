package dialect

// ollamaError is the error of /api/*: of an answer and of a stream's line.
type ollamaError struct {
	Error string `json:"error"`
}

// lines follows an NDJSON stream until the line that ends it: an object with
// done: true or with an error. Only names of the outermost object count: a tool
// call carries its arguments as an object, and `done` is a favourite name there.
type lines struct {
	depth    int32
	inString bool
	escaped  bool
	inValue  bool // past the colon of a member of the outermost object
	ends     bool // this line is the last one
	failed   bool // and it is an error
	keyLen   uint8
	key      [5]byte // first bytes of the member's name
}

// idle tells that the next byte starts a line.
func (l *lines) idle() bool { return l.depth == 0 && !l.inString }

// naming tells that a string, now, is a name in the outermost object.
func (l *lines) naming() bool { return l.depth == 1 && !l.inValue }

// write reads p and tells whether the last line has gone by whole.
func (l *lines) write(p []byte) (complete bool) {
	for i := 0; i < len(p); i++ {
		if l.inString && !l.escaped && !l.naming() {
			if i = plainRun(p, i); i == len(p) {
				break
			}
		}
		c := p[i]
		switch {
		case l.inString:
			l.text(c)
		case c == '"':
			l.inString = true
			if l.naming() {
				l.keyLen = 0
			}
		case c == '{' || c == '[':
			l.open()
		case c == '}' || c == ']':
			if l.depth--; l.depth <= 0 {
				if l.ends {
					return true
				}
				*l = lines{}
			}
		case l.depth == 1:
			l.outermost(c)
		}
	}
	return false
}

// text takes a byte of a string.
func (l *lines) text(c byte) {
	switch {
	case l.escaped:
		l.escaped = false
	case c == '\\':
		l.escaped = true
	case c == '"':
		l.inString = false
		return
	}
	if l.naming() && l.keyLen <= uint8(len(l.key)) {
		if int(l.keyLen) < len(l.key) {
			l.key[l.keyLen] = c
		}
		l.keyLen++ // one more than fits means: longer
	}
}

func (l *lines) open() {
	if l.depth++; l.depth == 1 {
		l.inValue = false
	}
}

// outermost takes a byte between the strings of the outermost object.
func (l *lines) outermost(c byte) {
	switch c {
	case ':':
		l.inValue = true
		if l.named("error") {
			l.ends, l.failed = true, true
		}
	case ',':
		l.inValue = false
	case 't': // true
		if l.inValue && l.named("done") {
			l.ends = true
		}
	}
}

func (l *lines) named(name string) bool {
	return int(l.keyLen) == len(name) && string(l.key[:len(name)]) == name
}
