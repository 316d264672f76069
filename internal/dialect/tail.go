package dialect

import "bytes"

// Tail watches a streamed answer go by and tells whether it came to its end.
// Ollama says nothing when a stream under /v1 breaks off: the missing end is the
// only sign. Chunks may be cut anywhere. Use it for bodies that really are
// streams; get one from Route.Tail. It is not safe for concurrent use.
type Tail struct {
	format   format
	complete bool

	lines lines // NDJSON

	// SSE: the line that is not over yet, and the event it is in.
	inEvent bool // a field of an event has gone by, its blank line has not
	ending  bool // the event ends the stream; complete at its blank line
	failed  bool // the event that ends it is an error
	lineLen int
	head    [headLen]byte // the line's first bytes
}

// headLen holds the longest line that matters and one byte more, to tell longer
// lines from it.
const headLen = len("event: response.incomplete") + 2

type format uint8

const (
	formatNone format = iota
	formatNDJSON
	formatSSE
)

// Tail returns a watcher for one streamed answer on this route. On a route that
// does not stream it is complete from the start.
func (r Route) Tail() *Tail {
	switch r.StreamType {
	case ndjson:
		return &Tail{format: formatNDJSON}
	case eventStream:
		return &Tail{format: formatSSE}
	default:
		return &Tail{complete: true}
	}
}

// Complete tells whether the end has gone by whole: an NDJSON object with
// done: true or an error; `data: [DONE]`; an event message_stop, error or
// response.completed, .failed or .incomplete with its blank line; a data line
// with an OpenAI error. Text inside of strings and tool arguments never counts.
func (t *Tail) Complete() bool { return t.complete }

// Failed tells whether a complete stream ended with the instance's own error.
func (t *Tail) Failed() bool { return t.complete && (t.failed || t.lines.failed) }

// AtBoundary tells whether all bytes so far are whole NDJSON objects or whole
// server-sent events, so that an event of one's own may be appended.
func (t *Tail) AtBoundary() bool {
	if t.format == formatNDJSON {
		return t.lines.idle()
	}
	return t.lineLen == 0 && !t.inEvent
}

// Write takes the next bytes of the stream. It keeps none of p.
func (t *Tail) Write(p []byte) {
	switch {
	case t.complete || len(p) == 0:
	case t.format == formatNDJSON:
		t.writeNDJSON(p)
	default:
		t.writeSSE(p)
	}
}

// writeNDJSON needs no closer look at a whole line with Ollama's usual ending.
// The comma before it shows that its first quote opens a name, and the line's
// last brace closes the outermost object, so this is the `done` that counts.
func (t *Tail) writeNDJSON(p []byte) {
	for len(p) > 0 && !t.complete {
		line := p
		i := bytes.IndexByte(p, '\n')
		if i >= 0 {
			line = p[:i]
		}
		p = p[len(line):]
		if i >= 0 {
			p = p[1:]
		}
		if i < 0 || !t.lines.idle() || !bytes.HasSuffix(line, []byte(`,"done":false}`)) {
			t.complete = t.lines.write(line)
		}
	}
}

func (t *Tail) writeSSE(p []byte) {
	for !t.complete && len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			t.keep(p)
			return
		}
		if t.lineLen == 0 {
			t.line(p[:i])
		} else {
			t.keep(p[:i])
			t.line(t.head[:min(t.lineLen, headLen)])
			t.lineLen = 0
		}
		p = p[i+1:]
	}
}

// keep adds bytes to the line that is not over yet.
func (t *Tail) keep(p []byte) {
	if t.lineLen < headLen {
		copy(t.head[t.lineLen:], p)
	}
	t.lineLen += len(p)
}

// line takes a whole line, or its first headLen bytes.
func (t *Tail) line(line []byte) {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if len(line) == 0 {
		t.complete = t.ending
		t.inEvent = false
		return
	}
	name, value, _ := bytes.Cut(line[:min(len(line), headLen)], []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	t.inEvent = t.inEvent || len(name) > 0 // a comment is no field
	switch string(name) {
	case "data":
		if string(value) == "[DONE]" {
			t.complete = true
		} else if bytes.HasPrefix(value, []byte(`{"error":`)) {
			t.ending, t.failed = true, true
		}
	case "event":
		t.ending, t.failed = endsStream(value)
	}
}

// endsStream tells whether an event is the last of its stream, and an error.
func endsStream(event []byte) (ends, failed bool) {
	switch string(event) {
	case "message_stop", "response.completed", "response.incomplete":
		return true, false
	case "error", "response.failed":
		return true, true
	}
	return false, false
}
