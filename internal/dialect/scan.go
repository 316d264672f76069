package dialect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// maxDepth is encoding/json's limit on nesting; deeper text is an error there.
const maxDepth = 10000

// scanner walks JSON text and builds nothing. It accepts exactly the texts that
// encoding/json accepts (FuzzParse proves it), at several times its speed:
// prompts are long strings, and those go by eight bytes at a time.
type scanner struct {
	b []byte
	i int // next byte to read
}

// member is one name and value of an object, as offsets into the scanner's text.
type member struct {
	start    int // opening quote of the name
	nameEnd  int // after its closing quote
	valStart int
	end      int // after the value
}

// name returns m's name without its quotes, escapes resolved.
func (s *scanner) name(m member) []byte {
	raw := s.b[m.start+1 : m.nameEnd-1]
	if bytes.IndexByte(raw, '\\') >= 0 {
		return []byte(unquote(s.b[m.start:m.nameEnd]))
	}
	return raw
}

func (s *scanner) val(m member) []byte { return s.b[m.valStart:m.end] }

// peek returns the next byte, or 0 (which no JSON text contains) at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.b) && isSpace(s.b[s.i]) {
		s.i++
	}
}

// value passes over one value that starts at the next byte. depth is the
// number of containers around it.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		return s.str()
	case '{':
		return s.object(depth, nil)
	case '[':
		_, ok := s.array(depth)
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

// object passes over an object whose brace is the next byte and shows every
// member to visit (which may be nil), in order.
func (s *scanner) object(depth int, visit func(member)) bool {
	if depth++; depth > maxDepth {
		return false
	}
	s.i++
	s.space()
	if s.peek() == '}' {
		s.i++
		return true
	}
	for {
		m := member{start: s.i}
		if s.peek() != '"' || !s.str() {
			return false
		}
		m.nameEnd = s.i
		s.space()
		if s.peek() != ':' {
			return false
		}
		s.i++
		s.space()
		m.valStart = s.i
		if !s.value(depth) {
			return false
		}
		m.end = s.i
		if visit != nil {
			visit(m)
		}
		if more, ok := s.next('}'); !more {
			return ok
		}
	}
}

// array passes over an array whose bracket is the next byte and counts its
// elements.
func (s *scanner) array(depth int) (n int, ok bool) {
	if depth++; depth > maxDepth {
		return 0, false
	}
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
		return 0, true
	}
	for {
		if !s.value(depth) {
			return n, false
		}
		n++
		if more, ok := s.next(']'); !more {
			return n, ok
		}
	}
}

// next passes over what follows an element: a comma (more), or end.
func (s *scanner) next(end byte) (more, ok bool) {
	s.space()
	switch s.peek() {
	case ',':
		s.i++
		s.space()
		return true, true
	case end:
		s.i++
		return false, true
	}
	return false, false
}

// str passes over a string whose opening quote is the next byte. Invalid UTF-8
// is let through, as encoding/json does.
func (s *scanner) str() bool {
	i := s.i + 1
	for {
		i = plainRun(s.b, i)
		if i == len(s.b) || s.b[i] < 0x20 {
			return false
		}
		if s.b[i] == '"' {
			s.i = i + 1
			return true
		}
		n := escapeLen(s.b[i:])
		if n == 0 {
			return false
		}
		i += n
	}
}

// plainRun returns the index of the first byte at or after i that is not plain
// string text (a quote, a backslash or a control character), or len(b).
func plainRun(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			return i
		}
	}
	return i
}

// special marks in their high bits the bytes of w that are a quote, a backslash
// or below 0x20: the "haszero" and "hasless" tricks of Anderson's Bit Twiddling
// Hacks. A borrow can mark bytes above a real hit, never below: the lowest mark
// is right.
func special(w uint64) uint64 {
	const lo, hi = 0x0101010101010101, 0x8080808080808080
	q := w ^ lo*'"'
	e := w ^ lo*'\\'
	return ((q-lo)&^q | (e-lo)&^e | (w-lo*0x20)&^w) & hi
}

// escapeLen returns the length of the escape that b starts with, 0 if invalid.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && isHex(b[2]) && isHex(b[3]) && isHex(b[4]) && isHex(b[5]) {
			return 6
		}
	}
	return 0
}

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// number passes over -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return true
}

// digits passes over one digit or more.
func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > from
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func isHex(c byte) bool {
	return c-'0' <= 9 || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// unquote returns the text of a valid JSON string, quotes included in raw.
func unquote(raw []byte) string {
	for _, c := range raw[1 : len(raw)-1] {
		if c == '\\' || c >= 0x80 {
			var s string
			_ = json.Unmarshal(raw, &s) // raw was scanned: it is a valid string
			return s
		}
	}
	return string(raw[1 : len(raw)-1])
}
