package dialect

import "bytes"

// dropOptions returns a copy of body without the load options in the set drop
// (one bit per option) in the objects at spans. All occurrences go, so that
// an earlier duplicate does not come back to life. Ollama counts an option that
// is null as set ("num_batch": null means 512, not automatic), and would reload
// the model for it.
func dropOptions(body []byte, spans []span, drop uint8) []byte {
	out := make([]byte, 0, len(body))
	at := 0
	for _, sp := range spans {
		out = append(out, body[at:sp.from]...)
		out = dropMembers(out, body[sp.from:sp.to], func(name []byte) bool {
			o, ok := optionNamed(name)
			return ok && drop&(1<<o) != 0
		})
		at = sp.to
	}
	return append(out, body[at:]...)
}

// dropTop returns a copy of body without the members of that name in its
// outermost object.
func dropTop(body []byte, name string) []byte {
	s := scanner{b: body}
	s.space()
	from := s.i
	s.object(0, nil)
	out := append(make([]byte, 0, len(body)), body[:from]...)
	out = dropMembers(out, body[from:s.i], func(n []byte) bool { return bytes.EqualFold(n, []byte(name)) })
	return append(out, body[s.i:]...)
}

// Named returns a copy of body, the JSON object of a question about a model, that
// asks for another one, which `name` may stand for as well as `model`.
func Named(body []byte, model string) []byte {
	rest := dropTop(dropTop(body, "model"), "name")
	brace := bytes.IndexByte(rest, '{') + 1
	out := append(make([]byte, 0, len(rest)+len(model)+16), rest[:brace]...)
	out = append(append(out, `"model":`...), quote(model)...)
	s := scanner{b: rest, i: brace}
	if s.space(); s.peek() != '}' {
		out = append(out, ',')
	}
	return append(out, rest[brace:]...)
}

// dropMembers appends obj, a valid JSON object, to dst without the members that
// drop names. A member goes with the comma before it, or after it if no
// member is left before it; all other bytes stay.
func dropMembers(dst, obj []byte, drop func(name []byte) bool) []byte {
	s := scanner{b: obj}
	at, prevEnd := 0, 0          // copied up to; end of the member before
	kept, atHead := false, false // a kept member went by; all so far were dropped
	s.object(0, func(m member) {
		if atHead {
			at = m.start
			atHead = false
		}
		switch {
		case !drop(s.name(m)):
			kept = true
		case kept:
			dst = append(dst, obj[at:prevEnd]...)
			at = m.end
		default:
			dst = append(dst, obj[at:m.start]...)
			at = m.end
			atHead = true
		}
		prevEnd = m.end
	})
	return append(dst, obj[at:]...)
}
