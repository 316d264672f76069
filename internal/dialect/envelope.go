package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Envelope is what Corral reads of a request body; all else stays bytes.
type Envelope struct {
	Model  string // as asked, not canonical
	Target string // what the body names: Model, but for an alias (see Route.Edit)
	Stream bool
	// Signature is the canonical JSON object of the load options the request
	// sets (see MergeSignature), plus top-level "shift" on generate and chat;
	// "" if it sets none. Nulls are not part of it; neither are ill-typed values,
	// which Ollama answers with an error before it touches a runner.
	Signature string
	// Empty tells that there is nothing to run: the request only loads the model
	// (or unloads it). Only where Ollama reads it so: no prompt on /api/generate,
	// /api/embeddings and /v1/completions (images and system count for nothing),
	// no messages on /api/chat, no input on /api/embed. The other routes answer
	// such a body with 400.
	Empty         bool
	Unload        bool // Empty and KeepAliveZero
	KeepAliveZero bool // keep_alive is 0, "0", "0s", ...: the model is unloaded after this request
	PromptBytes   int  // size of what must be prefilled, roughly: bytes of the body
	Inputs        int  // number of texts to embed; 0 on the other routes
	// Body is what to send upstream: the slice that was parsed, or a copy of it
	// without the load options that were null, and without a keep_alive of 0 that
	// comes with work: Ollama would unload the model under others, so Corral does
	// it when nobody else uses it.
	Body []byte

	// Text tells that the answer is plain text, of which every byte counts: nothing
	// may come before it to keep the client alive.
	Text bool

	content  []byte // prompt, messages or input as in the body; nil if absent, or not read on this route
	boundary string // of a form's parts; "" in JSON
}

var (
	errSyntax = errors.New("not a JSON value")
	errObject = errors.New("not a JSON object")
)

// Parse reads body as Ollama does (gin's ShouldBindJSON is one encoding/json
// Decode into a struct): names are case-insensitive, the last duplicate wins,
// duplicate `options` merge, bytes after the value are ignored. The error says
// what is wrong; such a body is rejected by every Ollama, so let one of them
// answer in its own words. The reverse does not hold: Parse types only what
// all versions type alike. body is kept in Envelope.Body, never changed.
func (r Route) Parse(body []byte) (Envelope, error) {
	f := fields{route: r, scanner: scanner{b: body}}
	if err := f.read(); err != nil {
		return Envelope{}, fmt.Errorf("parse %s body: %w", r.Path, err)
	}
	e := Envelope{
		Model:         f.model,
		Target:        f.model,
		content:       f.content,
		Stream:        f.stream.or(r.StreamDefault) && r.Streams,
		KeepAliveZero: f.keepAliveZero,
		PromptBytes:   len(body),
		Body:          body,
	}
	e.Empty, e.Inputs = f.work()
	e.Unload = e.Empty && e.KeepAliveZero
	load, nulls := f.loadOptions()
	if nulls != 0 {
		e.Body = dropOptions(body, f.options, nulls)
	}
	if e.KeepAliveZero && !e.Empty {
		e.Body = dropTop(e.Body, "keep_alive")
	}
	e.Signature = load.String()
	return e, nil
}

// tri is an optional bool.
type tri uint8

const (
	unset tri = iota
	no
	yes
)

func (t tri) or(absent bool) bool {
	if t == unset {
		return absent
	}
	return t == yes
}

// span is a piece of a body.
type span struct{ from, to int }

// fields is the top level of a body while it is read.
type fields struct {
	scanner
	route Route
	err   error // first wrong type

	model         string
	stream        tri
	shift         tri
	keepAliveZero bool
	content       []byte // prompt, messages or input as it stands in the body; nil if absent
	options       []span
	optionsSpace  [2]span // backs options: bodies have one
}

// read scans the whole value, so that a syntax error anywhere is an error here.
func (f *fields) read() error {
	f.options = f.optionsSpace[:0]
	f.space()
	switch f.peek() {
	case '{':
		if !f.object(0, f.member) {
			return errSyntax
		}
		return f.err
	case 'n':
		if !f.literal("null") { // binds to an empty struct
			return errSyntax
		}
		return nil
	}
	return errObject
}

func (f *fields) fail(field, want string) {
	if f.err == nil {
		f.err = errors.New(field + " is not " + want)
	}
}

// member takes one top-level field. encoding/json folds names as Unicode does,
// and so does EqualFold.
func (f *fields) member(m member) {
	name, val := f.name(m), f.val(m)
	is := func(want string) bool { return bytes.EqualFold(name, []byte(want)) }
	switch {
	case is("model"):
		f.setModel(val)
	case is(f.route.contentName()):
		f.setContent(val)
	case is("stream") && f.route.Streams:
		f.setStream(val)
	case f.route.Dialect != Ollama:
		// the rest exists under /api only
	case is("options"):
		f.setOptions(val, m)
	case is("keep_alive"):
		f.setKeepAlive(val)
	case is("shift") && f.route.Streams:
		// Older versions do not know it: a wrong type is no error.
		f.shift, _ = boolean(val)
	}
}

// contentName is the field that holds the route's work.
func (r Route) contentName() string {
	switch r.kind {
	case generate, embeddings, completions, images:
		return "prompt"
	case chat, chatCompletions, messages:
		return "messages"
	case embed, openAIEmbeddings, responses:
		return "input"
	default:
		return ""
	}
}

func (f *fields) setModel(val []byte) {
	switch val[0] {
	case '"':
		f.model = unquote(val)
	case 'n': // null leaves a string as it was
	default:
		f.fail("model", "a string")
	}
}

func (f *fields) setContent(val []byte) {
	switch {
	case val[0] != 'n':
		f.content = val
	case f.route.contentName() != "prompt":
		f.content = nil // null clears a slice, and leaves a string as it was
	}
}

func (f *fields) setStream(val []byte) {
	t, ok := boolean(val)
	if !ok {
		f.fail("stream", "a boolean")
		return
	}
	// `stream` is a *bool under /api and in /v1/responses, where null clears it,
	// and a bool elsewhere, where null leaves it as it was.
	if t != unset || f.route.StreamDefault || f.route.kind == responses {
		f.stream = t
	}
}

// boolean reads true, false or null (unset); other values are not ok.
func boolean(val []byte) (t tri, ok bool) {
	switch val[0] {
	case 't':
		return yes, true
	case 'f':
		return no, true
	case 'n':
		return unset, true
	}
	return unset, false
}

func (f *fields) setOptions(val []byte, m member) {
	switch val[0] {
	case '{':
		f.options = append(f.options, span{m.valStart, m.end})
	case 'n':
		f.options = f.options[:0] // null clears the map
	default:
		f.fail("options", "an object")
	}
}

// setKeepAlive reads api.Duration: a number is seconds, a string a Go duration,
// negative ones mean forever. Other types are errors today and were five
// minutes in old versions.
func (f *fields) setKeepAlive(val []byte) {
	f.keepAliveZero = false
	switch c := val[0]; {
	case c == '"':
		d, err := time.ParseDuration(unquote(val))
		if err != nil {
			f.fail("keep_alive", "a duration")
			return
		}
		f.keepAliveZero = d == 0
	case c == '-' || c-'0' <= 9:
		sec, err := strconv.ParseFloat(string(val), 64)
		if err != nil {
			f.fail("keep_alive", "a number of seconds")
			return
		}
		f.keepAliveZero = sec >= 0 && sec*float64(time.Second) < 1
	}
}

// work tells whether there is nothing to run, and counts inputs.
func (f *fields) work() (empty bool, inputs int) {
	blank := f.content == nil || string(f.content) == `""`
	switch f.route.kind {
	case generate, completions:
		return blank, 0
	case chat:
		return f.content == nil || f.items() == 0, 0
	case embeddings:
		if blank {
			return true, 0
		}
		return false, 1
	case embed:
		if blank {
			return true, 0
		}
		n := f.items()
		return n == 0, n
	case openAIEmbeddings:
		if f.content == nil {
			return false, 0
		}
		return false, f.items() // "" is one input here
	default:
		return false, 0
	}
}

// items counts the elements of an array; anything else is one item.
func (f *fields) items() int {
	if f.content[0] != '[' {
		return 1
	}
	s := scanner{b: f.content}
	n, _ := s.array(0)
	return n
}

// loadOptions reads the load options of all `options` objects as the one map
// they end up in. nulls has a bit for each option whose last value is null.
func (f *fields) loadOptions() (load signature, nulls uint8) {
	for _, sp := range f.options {
		s := scanner{b: f.b[sp.from:sp.to]}
		s.object(0, func(m member) {
			// a map's names are matched exactly
			if o, ok := optionNamed(s.name(m)); ok && o != shift {
				load[o] = optionValue(o, s.val(m))
				nulls &^= 1 << o
				if s.val(m)[0] == 'n' {
					nulls |= 1 << o
				}
			}
		})
	}
	if f.shift != unset {
		load[shift] = setting{set: true, n: int64(f.shift - no)}
	}
	return load, nulls
}
