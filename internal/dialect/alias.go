package dialect

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Edit is what an alias changes of a request: the model that runs, and defaults, which hold where the request does
// not say otherwise. Zero values change nothing.
type Edit struct {
	Model      string
	NumCtx     int    // tokens; no place for it on the OpenAI and Anthropic routes
	NumPredict int    // tokens; on /v1/messages max_tokens is required, so there it is never missing
	Think      string // "true", "false", "low", "medium" or "high"
	KeepAlive  string // a number of seconds or a Go duration; no place for it on the OpenAI and Anthropic routes
}

// Edit returns the envelope of the same request after an edit. Model stays the asked name, Target becomes the one
// that runs. All bytes that need not change stay as they are.
func (r Route) Edit(e Envelope, edit Edit) Envelope {
	if r.Form {
		return e.editForm(edit.Model)
	}
	s := scanner{b: e.Body}
	s.space()
	out := make([]byte, 0, len(e.Body)+len(edit.Model)+256)
	at := 0
	given := map[string]bool{} // names in lower case whose last value is not null
	s.object(0, func(m member) {
		name := string(bytes.ToLower(s.name(m)))
		given[name] = s.val(m)[0] != 'n'
		if bytes.EqualFold(s.name(m), []byte("model")) {
			out = append(out, e.Body[at:m.valStart]...)
			out = append(out, quote(edit.Model)...)
			at = m.end
		}
	})
	end := s.i - 1 // the closing brace
	out = append(out, e.Body[at:end]...)
	for _, d := range r.defaults(edit, given, e.Body) {
		out = append(out, ',')
		out = append(out, d...)
	}
	out = append(out, e.Body[end:]...)
	edited, err := r.Parse(out)
	if err != nil {
		return e // a configured value that Parse does not take: config admits none
	}
	edited.Model, edited.Target, edited.PromptBytes = e.Model, edit.Model, e.PromptBytes
	return edited
}

// defaults returns the members that an edit adds to a body. They are put behind the others: of two members of one
// name the last one counts for Ollama, and two `options` are merged.
func (r Route) defaults(edit Edit, given map[string]bool, body []byte) []string {
	var members []string
	add := func(name, value string) {
		if value != "" && !given[name] {
			members = append(members, `"`+name+`":`+value)
		}
	}
	limit := ""
	if edit.NumPredict != 0 {
		limit = strconv.Itoa(edit.NumPredict)
	}
	switch r.kind {
	case generate, chat, embed, embeddings:
		if o := optionDefaults(edit, body, r.Embeds); o != "" {
			members = append(members, `"options":`+o)
		}
		if !r.Embeds {
			add("think", thinkValue(edit.Think))
		}
		add("keep_alive", keepAliveValue(edit.KeepAlive))
	case chatCompletions:
		add("max_tokens", limit)
		if !given["reasoning"] {
			add("reasoning_effort", effort(edit.Think))
		}
	case completions:
		add("max_tokens", limit)
	case responses:
		add("max_output_tokens", limit)
		if e := effort(edit.Think); e != "" {
			add("reasoning", `{"effort":`+e+`}`)
		}
	case messages:
		switch edit.Think {
		case "":
		case "false":
			add("thinking", `{"type":"disabled"}`)
		default:
			add("thinking", `{"type":"enabled"}`)
		}
	}
	return members
}

// optionDefaults is the `options` that an edit adds, "" for none.
func optionDefaults(edit Edit, body []byte, embeds bool) string {
	var asked struct{ Options map[string]json.RawMessage }
	_ = json.Unmarshal(body, &asked) // what is no map is Ollama's to refuse
	missing := func(name string) bool {
		v, ok := asked.Options[name]
		return !ok || string(v) == "null"
	}
	o := map[string]int{}
	if edit.NumCtx != 0 && missing("num_ctx") {
		o["num_ctx"] = edit.NumCtx
	}
	if edit.NumPredict != 0 && !embeds && missing("num_predict") {
		o["num_predict"] = edit.NumPredict
	}
	if len(o) == 0 {
		return ""
	}
	return string(marshal(o))
}

func thinkValue(think string) string {
	switch think {
	case "", "true", "false":
		return think
	}
	return quote(think)
}

func keepAliveValue(keep string) string {
	if _, err := strconv.Atoi(keep); err == nil || keep == "" {
		return keep
	}
	return quote(keep)
}

// effort says in OpenAI's words how much to think.
func effort(think string) string {
	switch think {
	case "":
		return ""
	case "false":
		return `"none"`
	case "true":
		return `"medium"`
	}
	return quote(think)
}

func quote(s string) string { return string(marshal(s)) }

// Renamer changes the model's name in an answer as it goes by: who asked for an alias is answered by that name.
//
// Ollama writes the name before anything that a model or a client has a say in, in every document of an answer: a
// plain body, a line of NDJSON, the data of an event. So it is the first member of that name and value in its line;
// and inside of strings, where it could be said as well, its quotes are escaped.
type Renamer struct {
	from, to []byte
	held     int  // bytes of from that the bytes so far end with
	done     bool // this line's name went by
}

// NewRenamer changes one model's name, as it was sent, to another.
func NewRenamer(from, to string) *Renamer {
	return &Renamer{from: []byte(`"model":` + quote(from)), to: []byte(`"model":` + quote(to))}
}

// Append appends to dst what p becomes. The beginning of a name at the end of p is held back until the next call,
// or Flush.
func (n *Renamer) Append(dst, p []byte) []byte {
	for len(p) > 0 {
		switch {
		case n.done:
			i := bytes.IndexByte(p, '\n') + 1
			if i == 0 {
				return append(dst, p...)
			}
			dst, p, n.done = append(dst, p[:i]...), p[i:], false
		case n.held == 0 && p[0] != '"':
			i := bytes.IndexByte(p, '"')
			if i < 0 {
				return append(dst, p...)
			}
			dst, p = append(dst, p[:i]...), p[i:]
		default:
			dst, p = n.match(dst, p[0]), p[1:]
		}
	}
	return dst
}

// match takes a byte that may be of the name. A match can not begin inside of one that fails but at the byte where it
// fails: its only inner quotes are followed by a colon or by the value.
func (n *Renamer) match(dst []byte, c byte) []byte {
	if n.from[n.held] != c {
		dst = append(dst, n.from[:n.held]...)
		n.held = 0
		if c != n.from[0] {
			return append(dst, c)
		}
	}
	if n.held++; n.held < len(n.from) {
		return dst
	}
	n.held, n.done = 0, true
	return append(dst, n.to...)
}

// Flush appends what is held back, at the end of an answer.
func (n *Renamer) Flush(dst []byte) []byte {
	dst = append(dst, n.from[:n.held]...)
	n.held = 0
	return dst
}
