package dialect

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Error is an answer other than 200, before a dialect gives it its form.
type Error struct {
	Status  int // HTTP status
	Message string
}

func (e Error) Error() string { return e.Message }

// ErrorBody returns an error as Ollama says it in this dialect: exact
// Content-Type and bytes. The one thing left out is Anthropic's request_id,
// which is optional there; see ErrorBodyID.
func (d Dialect) ErrorBody(status int, message string) (contentType string, body []byte) {
	return d.ErrorBodyID(status, message, "")
}

// ErrorBodyID is ErrorBody with the request's id (Ollama's own look like
// "req_" and 24 hex digits), for the dialect that has a place for it.
func (d Dialect) ErrorBodyID(status int, message, requestID string) (contentType string, body []byte) {
	switch d {
	case OpenAI:
		return bareJSON, append(marshal(openAIErrorOf(status, message)), '\n')
	case Anthropic:
		return bareJSON, append(marshal(anthropicErrorOf(status, message, requestID)), '\n')
	default:
		return ginJSON, marshal(ollamaError{message})
	}
}

// NotFound returns what Ollama answers on this route when it has no such model:
// 404 in the handler's own words, and 400 for names that it does not even look
// up. model is as the client wrote it. The answer never depends on `:local`.
func (r Route) NotFound(model string) Error {
	name := strings.TrimSpace(model)
	base, src := cutSource(name)
	switch {
	case name == "":
		return r.noModel(model)
	case src == conflict:
		return Error{400, fmt.Sprintf("use either :local or :cloud, not both: %q", name)}
	case !validName(base):
		return Error{400, "invalid model name"}
	case r.Embeds:
		return Error{404, fmt.Sprintf("model %q not found, try pulling it first", model)}
	default:
		return Error{404, fmt.Sprintf("model '%s' not found", model)}
	}
}

// noModel is NotFound for a request that names no model.
func (r Route) noModel(model string) Error {
	switch r.kind {
	case generate, completions, embed, openAIEmbeddings:
		return Error{404, fmt.Sprintf("model '%s' not found", model)}
	default:
		return Error{400, "model is required"}
	}
}

// StreamError returns the event that tells a client, in the middle of a stream,
// that it failed. nil where nothing streams: a plain answer whose 200 is sent
// can only be cut. It starts at an event boundary (Tail.AtBoundary).
func (r Route) StreamError(status int, message string) []byte {
	switch {
	case !r.Streams:
		return nil
	case r.kind == responses:
		return responsesFailure(status, message)
	case r.Dialect == Anthropic:
		return event("error", marshal(anthropicErrorOf(status, message, "")))
	case r.Dialect == OpenAI:
		return event("", marshal(openAIErrorOf(status, message)))
	default:
		return append(marshal(ollamaError{message}), '\n')
	}
}

// event returns a server-sent event; without a name if that is "".
func event(name string, data []byte) []byte {
	var b []byte
	if name != "" {
		b = append(b, "event: "+name+"\n"...)
	}
	b = append(b, "data: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

// marshal encodes the plain structs of this package, which can not fail. HTML
// characters are escaped, as Ollama's encoders do.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("dialect: " + err.Error())
	}
	return b
}
