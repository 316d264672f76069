//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// request is one that is sent with and without Corral.
type request struct {
	name, method, path, body string
	header                   []string
}

func post(name, path, body string) request {
	return request{name, http.MethodPost, path, body, nil}
}

// compare sends a request both ways.
func (q request) compare(t *testing.T) (through answer) {
	t.Helper()
	want := ask(t, direct.URL, q.method, q.path, q.body, q.header...)
	through = ask(t, shared.URL, q.method, q.path, q.body, q.header...)
	same(t, fmt.Sprintf("%s: %s %s %.200s %v", q.name, q.method, q.path, q.body, q.header), want, through)
	return through
}

// generating is each route that generates, with a body of its own form. more is further fields, with a comma before.
func generating(model, prompt, more string) []request {
	prompted := fmt.Sprintf(`{"model":%q,"prompt":%q%s}`, model, prompt, more)
	return []request{
		post("generate", "/api/generate", prompted),
		post("chat", "/api/chat", chat(model, prompt, more)),
		post("chat completions", "/v1/chat/completions", chat(model, prompt, more)),
		post("completions", "/v1/completions", prompted),
		post("responses", "/v1/responses", fmt.Sprintf(`{"model":%q,"input":%q%s}`, model, prompt, more)),
		post("messages", "/v1/messages", chat(model, prompt, more, `,"max_tokens":50`)),
	}
}

// embedding is each route that embeds.
func embedding(model, text string) []request {
	return []request{
		post("embed", "/api/embed", fmt.Sprintf(`{"model":%q,"input":%q}`, model, text)),
		post("embeddings", "/api/embeddings", fmt.Sprintf(`{"model":%q,"prompt":%q}`, model, text)),
		post("openai embeddings", "/v1/embeddings", fmt.Sprintf(`{"model":%q,"input":%q}`, model, text)),
	}
}

// TestInferenceRoutes: every route answers through Corral as without it, event by event.
func TestInferenceRoutes(t *testing.T) {
	var all []request
	for i, more := range []string{"", `,"stream":true`, `,"stream":false`} {
		all = append(all, generating("m", fmt.Sprintf("round %d <&> ü [[tokens=7 each=2ms say=hello]]", i), more)...)
	}
	all = append(all, embedding("emb", "a text <&> ü")...)
	all = append(all,
		post("several inputs", "/api/embed", `{"model":"emb","input":["one","two","three"]}`),
		post("several inputs", "/v1/embeddings", `{"model":"emb","input":["one","two","three"],"dimensions":8}`),
		post("base64", "/v1/embeddings", `{"model":"emb","input":"one","encoding_format":"base64"}`),
		post("usage", "/v1/chat/completions", chat("m", "usage [[tokens=3]]", `,"stream":true,"stream_options":{"include_usage":true}`)),
		post("usage", "/v1/completions", `{"model":"m","prompt":"usage [[tokens=3]]","stream":true,"stream_options":{"include_usage":true}}`),
		post("JSON", "/v1/chat/completions", chat("m", "json [[tokens=3]]", `,"response_format":{"type":"json_object"}`)),
		post("limit", "/api/chat", chat("m", "limit [[tokens=9]]", `,"options":{"num_predict":2},"stream":false`)),
		post("limit", "/v1/chat/completions", chat("m", "limit [[tokens=9]]", `,"max_tokens":2`)),
		post("a name in other words", "/api/chat", chat("library/M:latest", "name [[tokens=2]]", `,"stream":false`)),
		post("keys in other case", "/api/generate", `{"MODEL":"m","Prompt":"case [[tokens=2]]","STREAM":false} and more`),
		post("load", "/api/generate", `{"model":"m"}`), post("load", "/api/chat", `{"model":"m","messages":[]}`),
		post("load", "/api/embed", `{"model":"emb","input":[]}`),
	)
	for _, q := range all {
		through := q.compare(t)
		for _, h := range []string{"X-Corral-Instance", "X-Corral-Queue-Ms", "X-Corral-Attempts", "X-Request-Id"} {
			if through.header.Get(h) == "" {
				t.Errorf("%s %s: no %s", q.path, q.body, h)
			}
		}
		if instance := through.header.Get("X-Corral-Instance"); (instance == "e") != strings.Contains(q.body, `"emb"`) {
			t.Errorf("%s %s was answered by %s", q.path, q.body, instance)
		}
	}
}

// TestErrorsOfTheEngine: what an engine's failure looks like. Only a stream that breaks differs: Ollama swallows the
// error in some dialects, Corral ends them with the dialect's own error.
func TestErrorsOfTheEngine(t *testing.T) {
	for _, more := range []string{"", `,"stream":true`} {
		for _, q := range generating("m", "[[fail]]", more) {
			q.name = "fails at once"
			q.compare(t)
		}
	}
	for _, q := range embedding("emb", "[[fail]]") {
		q.compare(t)
	}
	for _, q := range generating("m", "[[tokens=6 fail=3]]", `,"stream":true`) {
		want := ask(t, direct.URL, q.method, q.path, q.body)
		got := ask(t, shared.URL, q.method, q.path, q.body)
		mark := map[string]string{
			"/api/generate": `{"error":`, "/api/chat": `{"error":`, "/v1/messages": "event: error\n",
			"/v1/responses": "event: response.failed\n",
		}[q.path]
		if mark == "" {
			mark = `data: {"error":`
		}
		begun, ok := strings.CutSuffix(normal(want.body), `{"error":"an error was encountered while running the model: engine failed this request"}`+"\n")
		if got.code != want.code || !strings.Contains(got.body, mark) {
			t.Errorf("%s: %d without %s: %s\n direct %s", q.path, got.code, mark, got.body, want.body)
		}
		if _, _, found := strings.Cut(normal(got.body), begun); !strings.HasPrefix(normal(got.body), begun) && !found {
			t.Errorf("%s: what came before the error differs (own error %v)\n through %s\n direct  %s", q.path, ok, got.body, want.body)
		}
	}
}

// TestListRoutes: everything that is no inference.
func TestListRoutes(t *testing.T) {
	for _, q := range []request{post("load", "/api/generate", `{"model":"m"}`), post("load", "/api/embed", `{"model":"emb","input":"x"}`)} {
		q.compare(t) // so that /api/ps has the same rows
	}
	for _, q := range []struct{ method, path, body string }{
		{"GET", "/", ""}, {"HEAD", "/", ""}, {"GET", "/api/version", ""}, {"HEAD", "/api/version", ""}, {"GET", "/api/status", ""},
		{"HEAD", "/api/ps", ""}, {"POST", "/api/ps", ""}, {"PUT", "/api/tags", ""}, {"POST", "/v1/models", "{}"},
		{"GET", "/v1/models/m", ""}, {"GET", "/v1/models/M:latest", ""}, {"GET", "/v1/models/emb", ""}, {"GET", "/v1/models/nope", ""}, {"GET", "/v1/models/a/b", ""},
		{"GET", "/v1/models/library%2Fm", ""}, {"GET", "/v1/models/", ""}, {"HEAD", "/v1/models/m", ""},
		{"POST", "/api/show", `{"model":"m"}`}, {"POST", "/api/show", `{"name":"emb"}`}, {"POST", "/api/show", `{"model":"nope"}`},
		{"POST", "/api/show", `{}`}, {"POST", "/api/show", ``}, {"POST", "/api/show", `{`}, {"POST", "/api/show", `{"model":7}`}, {"GET", "/api/show", ``},
		{"GET", "/nope", ""}, {"POST", "/nope", "x"}, {"GET", "/v1/nope", ""}, {"POST", "/v1/messages/count_tokens", "{}"}, {"GET", "/v2", ""},
		{"GET", "/api/chat", ""}, {"PUT", "/api/chat", "{}"}, {"DELETE", "/v1/chat/completions", ""}, {"GET", "/api/embed", ""}, {"OPTIONS", "/api/chat", ""},
		{"POST", "/api/chat/", chat("m", "x")}, {"POST", "/v1/chat/completions/", "{}"}, {"GET", "/api/tags/", ""}, {"GET", "/api/version/?x=1", ""},
		{"GET", "//api/tags", ""}, {"GET", "/api//tags", ""}, {"GET", "/api/../api/version", ""}, {"GET", "/API/TAGS", ""},
		{"HEAD", "/api/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000", ""},
		{"POST", "/api/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000", "x"},
		{"POST", "/api/copy", `{"source":"nope","destination":"x"}`}, {"DELETE", "/api/delete", `{"model":"nope"}`},
		{"POST", "/api/create", `{`}, {"POST", "/api/pull", `{`}, {"POST", "/api/pull", `{"model":""}`},
	} {
		request{"list", q.method, q.path, q.body, nil}.compare(t)
	}
}

// TestMergedLists: the lists of the whole fleet have the form and the order of one Ollama's.
func TestMergedLists(t *testing.T) {
	for _, q := range []request{post("load", "/api/generate", `{"model":"m"}`), post("load", "/api/embed", `{"model":"emb","input":"x"}`)} {
		q.compare(t)
	}
	for _, q := range []struct{ method, path, key, name string }{
		{"GET", "/api/tags", "models", "name"}, {"HEAD", "/api/tags", "", ""}, {"GET", "/api/ps", "models", "name"}, {"GET", "/v1/models", "data", "id"},
	} {
		want := ask(t, direct.URL, q.method, q.path, "")
		got := ask(t, shared.URL, q.method, q.path, "")
		if q.key == "" {
			got.length, want.length = max(got.length, -1), max(want.length, -1)
			same(t, q.path, want, got)
			continue
		}
		g, w := rows(t, got.body, q.key, q.name), rows(t, want.body, q.key, q.name)
		if q.path == "/api/ps" { // in the order of what was used last, which other tests decide
			slices.Sort(g)
			slices.Sort(w)
		}
		if !slices.Equal(g, w) {
			t.Errorf("%s\n through %s\n direct  %s", q.path, g, w)
		}
		got.body, want.body = "", ""
		same(t, q.path, want, got)
	}
}

// rows are the normal forms of a list's rows.
func rows(t *testing.T, body, key, name string) (all []string) {
	t.Helper()
	var list map[string]any
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	entries, _ := list[key].([]any)
	for _, e := range entries {
		row, _ := e.(map[string]any)
		model := row[name] // in /v1/models it is the id
		scrub(row)
		row[name] = model
		b, _ := json.Marshal(row)
		all = append(all, string(b))
	}
	return all
}
