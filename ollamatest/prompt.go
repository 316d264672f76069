package ollamatest

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// CountTokens is how many tokens a text has: one per four bytes, rounded up. Engine, Server, llama-server and
// simulator all count so.
func CountTokens(text string) int { return (len(text) + 3) / 4 }

// Tokenize cuts a text into CountTokens tokens, four bytes each, in a form that Detokenize reverses.
func Tokenize(text string) []int {
	tokens := make([]int, 0, CountTokens(text))
	for ; len(text) > 0; text = text[min(4, len(text)):] {
		var b [4]byte
		copy(b[:], text)
		tokens = append(tokens, int(binary.LittleEndian.Uint32(b[:])))
	}
	return tokens
}

// Detokenize reverses Tokenize.
func Detokenize(tokens []int) string {
	b := make([]byte, 0, 4*len(tokens))
	for _, t := range tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return strings.TrimRight(string(b), "\x00")
}

// tokenize is Tokenize with the vocabulary of a model: other weights read another text from the same tokens.
func (m *Model) tokenize(text string) []int { return m.vocabulary(Tokenize(text)) }

// detokenize reverses tokenize.
func (m *Model) detokenize(tokens []int) string { return Detokenize(m.vocabulary(tokens)) }

// vocabulary maps tokens of Tokenize to those of the model and back.
func (m *Model) vocabulary(tokens []int) []int {
	key := int(uint32(hash(m.Weights)))
	own := make([]int, len(tokens))
	for i, t := range tokens {
		own[i] = t ^ key
	}
	return own
}

// Directives say what one request costs and how it ends. They stand in its prompt; the zero value leaves
// everything to the engine's settings.
type Directives struct {
	Tokens  int           // length of the reply; 0: the engine's default
	Prefill time.Duration // time of the whole prompt; 0: the engine's pace, negative: none
	Each    time.Duration // time per token; 0: the engine's pace, negative: none
	Embed   time.Duration // time of one embedding; 0: the engine's pace, negative: none
	Say     string        // how the reply begins
	Fault   Fault
}

// ParseDirectives reads the last "[[…]]" of a prompt, a list of words between spaces:
//
//	tokens=60 prefill=400ms each=5ms embed=100ms   durations as Go writes them
//	say=alice-7                                    the reply begins with this word
//	crash=3 fail=0 stall=2 cut=4 reset=5           a fault after so many tokens; without a number: 0
//
// Words that it does not know are ignored.
func ParseDirectives(prompt string) Directives {
	var d Directives
	start := strings.LastIndex(prompt, "[[")
	if start < 0 {
		return d
	}
	block, _, closed := strings.Cut(prompt[start+2:], "]]")
	if !closed {
		return d
	}
	for word := range strings.FieldsSeq(block) {
		key, value, _ := strings.Cut(word, "=")
		d.set(key, value)
	}
	return d
}

func (d *Directives) set(key, value string) {
	switch key {
	case "tokens":
		d.Tokens, _ = strconv.Atoi(value)
	case "prefill":
		d.Prefill = parsePace(value)
	case "each":
		d.Each = parsePace(value)
	case "embed":
		d.Embed = parsePace(value)
	case "say":
		d.Say = value
	default:
		if kind, ok := faultNames[key]; ok {
			after, _ := strconv.Atoi(value)
			d.Fault = Fault{Kind: kind, After: after}
		}
	}
}

// parsePace reads a duration; an explicit zero becomes -1, which means "takes no time".
func parsePace(value string) time.Duration {
	d, err := time.ParseDuration(value)
	if err == nil && d == 0 {
		return -1
	}
	return d
}

// Reply is a scripted answer: Len pieces, each a short word with the space before it.
type Reply struct {
	Len  int
	head []string
	seed uint64
	json bool
}

// NewReply is the answer to a prompt: text where it is not empty, else d.Say and words drawn from a hash of the
// prompt, d.Tokens (or n) of them. With asJSON the words are wrapped in an object, {"reply": "…"}.
func NewReply(prompt, text string, d Directives, n int, asJSON bool) Reply {
	r := Reply{Len: n}
	if d.Tokens > 0 {
		r.Len = d.Tokens
	}
	if text != "" {
		r.head = splitPieces(text)
		r.Len = len(r.head)
		return r
	}
	r.seed, r.json = hash(prompt), asJSON
	if d.Say != "" {
		r.head = []string{d.Say}
	}
	return r
}

// Piece is the i-th token of the reply, i in [0, Len).
func (r Reply) Piece(i int) string {
	var piece string
	if i < len(r.head) {
		piece = r.head[i]
	} else {
		x := (r.seed + uint64(i)) * 0x9E3779B97F4A7C15
		piece = words[x>>59]
		if i > 0 {
			piece = " " + piece
		}
	}
	if r.json && i == 0 {
		piece = `{"reply": "` + piece
	}
	if r.json && i == r.Len-1 {
		piece += `"}`
	}
	return piece
}

// Text is the first n pieces in one string.
func (r Reply) Text(n int) string {
	var b strings.Builder
	for i := range min(n, r.Len) {
		b.WriteString(r.Piece(i))
	}
	return b.String()
}

// words has 32 entries, as many as five bits of a hash can name.
var words = [32]string{
	"oak", "the", "of", "rain", "and", "sea", "to", "stone", "in", "a", "hill", "wind", "is", "river", "on", "it",
	"ash", "as", "fern", "by", "or", "moss", "at", "dune", "up", "so", "kelp", "we", "lake", "an", "reed", "be",
}

// splitPieces cuts a text before each space, so that joining the pieces gives it back.
func splitPieces(text string) []string {
	var pieces []string
	start := 0
	for i := 1; i < len(text); i++ {
		if text[i] == ' ' && text[i-1] != ' ' {
			pieces = append(pieces, text[start:i])
			start = i
		}
	}
	return append(pieces, text[start:])
}

// Vector is the embedding of a text: dims values in [-1, 1], a deterministic function of weights and text, not
// normalised.
func Vector(weights, text string, dims int) []float32 {
	x := hash(weights + "\x00" + text)
	v := make([]float32, dims)
	for i := range v {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		v[i] = float32(int32(x>>32)) / (1 << 31)
	}
	return v
}

func hash(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64() | 1 // never 0: xorshift would stay there
}
