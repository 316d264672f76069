// Package dialect knows the three wire formats an Ollama speaks: its own under
// /api, OpenAI's under /v1 and Anthropic's under /v1/messages. It tells what a
// request asks (Route.Parse), how an error is said (Dialect.ErrorBody,
// Route.NotFound, Route.StreamError), how a waiting client is kept alive
// (Route.Beat) and when a streamed answer is complete (Tail).
//
// Facts are those of Ollama v0.33.0. The package is pure: no I/O, no clock, no
// global state, and nothing else of Corral.
package dialect

import "strings"

// Dialect is a wire format.
type Dialect uint8

// The three wire formats; Ollama's own is the zero value.
const (
	Ollama Dialect = iota
	OpenAI
	Anthropic
)

// String returns "ollama", "openai" or "anthropic".
func (d Dialect) String() string {
	switch d {
	case OpenAI:
		return "openai"
	case Anthropic:
		return "anthropic"
	default:
		return "ollama"
	}
}

// kind tells the routes apart where they differ in more than a Route's fields.
type kind uint8

const (
	generate kind = iota
	chat
	embed
	embeddings
	chatCompletions
	completions
	openAIEmbeddings
	responses
	messages
	images
	transcription
)

// Exact Content-Types. The /api handlers answer through gin, which names a
// charset; the /v1 middleware overwrites the header without one.
const (
	ndjson      = "application/x-ndjson"
	eventStream = "text/event-stream"
	ginJSON     = "application/json; charset=utf-8"
	bareJSON    = "application/json"
)

// Route is one inference route. The zero value is not a route; get one from
// Lookup.
type Route struct {
	Path    string // "/api/chat"
	Dialect Dialect
	Embeds  bool // role embed; else generate
	Form    bool // takes multipart/form-data: see ParseForm
	Streams bool // can stream at all
	// StreamDefault is what an absent (or null) `stream` means.
	StreamDefault bool
	// StreamType and PlainType are the Content-Types of a streamed and of a
	// plain 200 answer. StreamType is empty where nothing streams.
	StreamType, PlainType string

	kind kind
}

// Lookup returns the inference route of an exact path. All of them are POST;
// the method is the caller's affair.
func Lookup(path string) (Route, bool) {
	switch path {
	case "/api/generate":
		return ollamaRoute(path, generate), true
	case "/api/chat":
		return ollamaRoute(path, chat), true
	case "/api/embed":
		return embedRoute(path, Ollama, ginJSON, embed), true
	case "/api/embeddings":
		return embedRoute(path, Ollama, ginJSON, embeddings), true
	case "/v1/chat/completions":
		return sseRoute(path, OpenAI, chatCompletions), true
	case "/v1/completions":
		return sseRoute(path, OpenAI, completions), true
	case "/v1/embeddings":
		return embedRoute(path, OpenAI, bareJSON, openAIEmbeddings), true
	case "/v1/responses":
		return sseRoute(path, OpenAI, responses), true
	case "/v1/messages":
		return sseRoute(path, Anthropic, messages), true
	case "/v1/images/generations", "/v1/images/edits": // v0.14.3 to v0.32.5; others answer 404
		return Route{Path: path, Dialect: OpenAI, PlainType: bareJSON, kind: images}, true
	case "/v1/audio/transcriptions":
		return Route{Path: path, Dialect: OpenAI, Form: true, PlainType: bareJSON, kind: transcription}, true
	}
	return Route{}, false
}

func ollamaRoute(path string, k kind) Route {
	return Route{Path: path, Streams: true, StreamDefault: true, StreamType: ndjson, PlainType: ginJSON, kind: k}
}

func sseRoute(path string, d Dialect, k kind) Route {
	return Route{Path: path, Dialect: d, Streams: true, StreamType: eventStream, PlainType: bareJSON, kind: k}
}

func embedRoute(path string, d Dialect, plain string, k kind) Route {
	return Route{Path: path, Dialect: d, Embeds: true, PlainType: plain, kind: k}
}

// Of returns the dialect in which to speak on any path, known or not.
func Of(path string) Dialect {
	switch {
	case path == "/v1/messages", strings.HasPrefix(path, "/v1/messages/"):
		return Anthropic
	case strings.HasPrefix(path, "/v1/"):
		return OpenAI
	default:
		return Ollama
	}
}

// Beat returns what keeps a waiting client alive once status 200 is committed;
// stream tells whether the answer is a stream. Plain JSON and NDJSON get one
// space, never a newline: ollama-python parses every line, empty ones too.
func (r Route) Beat(stream bool) []byte {
	switch {
	case !stream || r.StreamType != eventStream:
		return []byte(" ")
	case r.Dialect == Anthropic:
		return []byte(anthropicPing)
	default:
		return []byte(": keep-alive\n\n")
	}
}
