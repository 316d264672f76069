//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// compatCase is a request that is sent to an Ollama and, through Corral, to another one with the same models.
type compatCase struct {
	request
	// differs says why Corral's answer is another one, on purpose, and how the difference begins; "" demands the same.
	differs, begins string
}

// compatGroup is what is asked of one route.
type compatGroup struct {
	route string
	cases []compatCase
}

// group collects cases of a route, whose path is the default of each.
func group(route string, cases ...compatCase) compatGroup {
	method, path, _ := strings.Cut(route, " ")
	for i := range cases {
		q := &cases[i].request
		if q.method == "" {
			q.method = method
		}
		if q.path == "" {
			q.path = path
		}
	}
	return compatGroup{route, cases}
}

func with(name, body string, header ...string) compatCase {
	return compatCase{request: request{name: name, body: body, header: header}}
}

func at(name, path, body string) compatCase {
	return compatCase{request: request{name: name, path: path, body: body}}
}

func by(method string) compatCase {
	return compatCase{request: request{name: method, method: method}}
}

func (c compatCase) but(why, begins string) compatCase {
	c.differs, c.begins = why, begins
	return c
}

// TestCompatibility asks everything that Ollama's routes are, of both generations, with and without Corral. With
// UPDATE=1 it writes what it sees to docs/compatibility.md; else that page must say the same.
func TestCompatibility(t *testing.T) {
	var page strings.Builder
	page.WriteString(compatIntro)
	for _, g := range generations {
		fmt.Fprintf(&page, "\n## Ollama %s\n\n| route | asked | status | Content-Type | length | Allow, Location | through Corral |\n| --- | --- | --- | --- | --- | --- | --- |\n", g.version)
		binary := g.binary(t)
		alone := newBinary(t, binary, "alone", "", nil, "m", "emb")
		behind := newBinary(t, binary, "a", "", nil, "m", "emb")
		c := newCorral(t, configOf(behind), nil)
		c.awaitUp(t, 1)
		for _, group := range compatGroups(t) {
			name := "`" + group.route + "`"
			for _, q := range group.cases {
				want := try(t, alone.URL, q.method, q.path, q.body, q.header...)
				got := try(t, c.URL, q.method, q.path, q.body, q.header...)
				if want.err != nil {
					t.Errorf("%s %s %s, direct: %v", g.version, group.route, q.name, want.err)
				}
				diff := differences(want, got)
				verdict := "same"
				switch {
				case len(diff) > 1, len(diff) == 1 && (q.differs == "" || !strings.HasPrefix(diff[0], q.begins)):
					t.Errorf("%s %s %s %.300s\n %s", g.version, group.route, q.name, q.body, strings.Join(diff, "\n "))
					verdict = "**differs**"
				case len(diff) > 0:
					verdict = q.differs
				}
				fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", name, q.name, describe(want), verdict)
				name = ""
			}
		}
	}
	path := filepath.Join(root, "docs", "compatibility.md")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != page.String() {
		t.Errorf("docs/compatibility.md does not say what was seen (%v): run `make e2e RUN=TestCompatibility UPDATE=1` and look at the difference", err)
	}
}

// describe is the columns of the table that say how an Ollama answered.
func describe(a answer) string {
	length := "chunked"
	if a.length >= 0 {
		length = "told"
	}
	where := strings.Join(append(a.header.Values("Allow"), a.header.Values("Location")...), " ")
	return fmt.Sprintf("%d | %s | %s | %s", a.code, a.header.Get("Content-Type"), length, where)
}

const compatIntro = `# Is it the same as Ollama?

This page is written by a test, which fails when it is not true: ` + "`make e2e RUN=TestCompatibility`" + `. Every request goes to
a real Ollama, and through Corral to a second one with the same models. Compared are the status, all headers but those
below, whether the length is told or the answer is chunked, and the whole body: JSON without ids, times and durations;
streams event by event. v0.33.0 runs with a simulated engine, v0.17.4, the generation of engines before, computes with a
tiny model of random weights at temperature 0.

What Corral always adds: ` + "`X-Corral-*`, `X-Request-Id`" + `, and on streams ` + "`X-Accel-Buffering: no` and `Cache-Control: no-cache, no-transform`" + `.
For pages of other origins these headers are listed in ` + "`Access-Control-Expose-Headers` and `-Allow-Headers`" + `. Date and Connection are
the connection's own.
Bad bodies of the inference routes, about a thousand of them, are compared by ` + "`make e2e RUN=TestBadInput`" + `.
`

// digestOf is the digest of a blob.
func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

func zstdOf(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(text), nil))
}

// compatGroups are the routes of Ollama, in the order in which they are asked.
func compatGroups(t *testing.T) []compatGroup {
	all := []compatGroup{
		group("GET /", with("plain", ""), by(http.MethodHead), by(http.MethodPost)),
		group("GET /api/version", with("plain", ""), by(http.MethodHead), by(http.MethodPost), at("slash at the end", "/api/version/", "")),
		group("GET /api/status", with("plain", ""), by(http.MethodHead)),
	}
	all = append(all, generateGroups(t)...)
	all = append(all, ableGroups()...)
	all = append(all, embedGroups()...)
	all = append(all, rareGroups(t)...)
	all = append(all, manageGroups()...)
	all = append(all, registryGroups(t)...)
	return append(all, listGroups()...)
}

// steady makes a computing model answer the same each time, in Ollama's words and in OpenAI's.
const (
	steady       = `,"options":{"temperature":0,"seed":7,"num_predict":6}`
	steadyOpenAI = `,"temperature":0,"seed":7,"max_tokens":6`
)

const tool = `,"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"x":{"type":"string"}}}}}]`

// pixel is a PNG of one pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

func generateGroups(t *testing.T) []compatGroup {
	const said = "hello [[tokens=5 say=hello]]"
	ollama := func(route, content, none string) compatGroup {
		body := func(more string) string { return `{"model":"m"` + content + steady + more + `}` }
		return group("POST "+route,
			with("stream by default", body("")), with("stream", body(`,"stream":true`)), with("plain", body(`,"stream":false`)),
			with("JSON", body(`,"format":"json","stream":false`)), with("schema", body(`,"format":{"type":"object"},"stream":false`)),
			with("load", `{"model":"m"`+none+`}`), with("unload", `{"model":"m","keep_alive":0`+none+`}`),
			with("unknown model", `{"model":"nope"`+content+`}`), with("no model", `{`+strings.TrimPrefix(content, ",")+`}`),
			with("embedding model", `{"model":"emb"`+content+`}`), with("cloud model", `{"model":"nope:cloud"`+content+`,"stream":false}`),
			with("no JSON", `{`), with("nothing", ""), with("gzip", "\x1f\x8b\x08", "Content-Encoding", "gzip"),
			with("thinking", body(`,"think":true`)), by(http.MethodHead), by(http.MethodGet), by(http.MethodPut),
			at("slash at the end", route+"/", body("")), at("two slashes", "/"+route, body("")))
	}
	messages := `,"messages":[{"role":"user","content":"` + said + `"}]`
	openAI := func(route, content string) compatGroup {
		limits := steadyOpenAI
		if route == "/v1/responses" {
			limits = `,"temperature":0,"max_output_tokens":6`
		}
		body := func(more string) string { return `{"model":"m"` + content + limits + more + `}` }
		return group("POST "+route,
			with("plain by default", body("")), with("stream", body(`,"stream":true`)),
			with("stream with usage", body(`,"stream":true,"stream_options":{"include_usage":true}`)),
			with("zstd", zstdOf(t, body("")), "Content-Encoding", "zstd").but("answered: Corral unpacks it for those that can not", "status 200 through Corral, 400 direct"), with("zstd that is none", "no", "Content-Encoding", "zstd"),
			with("unknown model", `{"model":"nope"`+content+`,"max_tokens":9}`), with("no model", `{`+strings.TrimPrefix(content, ",")+`,"max_tokens":9}`),
			with("embedding model", `{"model":"emb"`+content+`,"max_tokens":9}`), with("cloud model", `{"model":"nope:cloud"`+content+`,"max_tokens":9}`),
			with("no JSON", `{`), with("nothing", ""), with("tools", body(tool)),
			by(http.MethodHead), by(http.MethodGet), at("slash at the end", route+"/", body("")))
	}
	chatGroup := ollama("/api/chat", messages, `,"messages":[]`)
	chatGroup.cases = append(chatGroup.cases, group("POST /api/chat",
		with("tools", `{"model":"m"`+messages+tool+`}`),
		with("image", `{"model":"m","stream":false,"messages":[{"role":"user","content":"x","images":["`+pixel+`"]}]`+steady+`}`)).cases...)
	completions := openAI("/v1/chat/completions", messages)
	completions.cases = append(completions.cases, group("POST /v1/chat/completions",
		with("JSON", chat("m", said, steadyOpenAI, `,"response_format":{"type":"json_object"}`)),
		with("schema", chat("m", said, steadyOpenAI, `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`)),
		with("image", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/png;base64,`+pixel+`"}}]}]`+steadyOpenAI+`}`)).cases...)
	return []compatGroup{
		ollama("/api/generate", `,"prompt":"`+said+`"`, ""), chatGroup, completions,
		openAI("/v1/completions", `,"prompt":"`+said+`"`), openAI("/v1/responses", `,"input":"`+said+`"`), openAI("/v1/messages", messages),
	}
}

func embedGroups() []compatGroup {
	embeds := func(route, field string) compatGroup {
		return group("POST "+route,
			with("plain", `{"model":"emb","`+field+`":"a text"}`), with("nothing to embed", `{"model":"emb","`+field+`":""}`),
			with("several", `{"model":"emb","`+field+`":["a","b","c"]}`), with("none", `{"model":"emb","`+field+`":[]}`),
			with("dimensions", `{"model":"emb","`+field+`":"a text","dimensions":8}`), with("base64", `{"model":"emb","`+field+`":"a text","encoding_format":"base64"}`),
			with("unknown model", `{"model":"nope","`+field+`":"a"}`), with("no model", `{"`+field+`":"a"}`), with("no JSON", `{`), with("nothing", ""),
			with("numbers", `{"model":"emb","`+field+`":[1,2]}`), by(http.MethodHead), by(http.MethodGet), at("slash at the end", route+"/", `{"model":"emb","`+field+`":"a"}`))
	}
	return []compatGroup{
		embeds("/api/embeddings", "prompt"), embeds("/v1/embeddings", "input"), embeds("/api/embed", "input"),
		group("POST /api/embed", with("unload", `{"model":"emb","keep_alive":0}`)), // so that /api/ps has one row: of two, either may be first
	}
}

// rareGroups are the routes that few use, or only some versions have.
func rareGroups(t *testing.T) []compatGroup {
	form := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n%s\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n%s\r\n--b--\r\n"
	multipart := []string{"Content-Type", "multipart/form-data; boundary=b"}
	return []compatGroup{
		group("POST /v1/audio/transcriptions",
			with("a model without ears", fmt.Sprintf(form, "m", "RIFF"), multipart...), with("unknown model", fmt.Sprintf(form, "nope", "RIFF"), multipart...),
			with("no model", fmt.Sprintf(form, "", "RIFF"), multipart...), with("empty file", fmt.Sprintf(form, "m", ""), multipart...),
			with("half a form", fmt.Sprintf(form, "m", "RIFF")[:90], multipart...), with("no form", `{"model":"m"}`), by(http.MethodGet)),
		group("POST /v1/images/generations",
			with("a model that draws nothing", `{"model":"m","prompt":"x"}`), with("unknown model", `{"model":"nope","prompt":"x"}`), with("no JSON", `{`)),
		group("POST /v1/images/edits", with("unknown model", `{"model":"nope","prompt":"x","image":"data:image/png;base64,`+pixel+`"}`), with("no image", `{"model":"m","prompt":"x"}`)),
		group("POST /v1/messages/count_tokens", with("is not there", `{}`)),
		group("POST /api/me", by(http.MethodGet)), // the POST asks ollama.com
		group("POST /api/signout", by(http.MethodGet)),
		group("DELETE /api/user/keys/x", by(http.MethodGet)),
		group("POST /api/experimental/web_search", with("no JSON", `{`), by(http.MethodGet)),
		group("POST /api/experimental/web_fetch", with("no JSON", `{`)),
		group("GET /api/experimental/aliases", with("plain", ""), by(http.MethodPut)),
		group("POST /api/experimental/aliases", with("no JSON", `{`)),
		group("DELETE /api/experimental/aliases", with("no JSON", `{`)),
		group("GET /nope", with("unknown path", ""), by(http.MethodPost), at("case", "/API/TAGS", ""), at("dots", "/api/../api/version", "")),
	}
}

func manageGroups() []compatGroup {
	text := "a blob"
	return []compatGroup{
		group("POST /api/show",
			with("plain", `{"model":"m"}`), with("name", `{"name":"emb"}`), with("verbose", `{"model":"m","verbose":true}`), with("unknown model", `{"model":"nope"}`),
			with("no model", `{}`), with("no JSON", `{`), with("odd name", `{"model":"../../etc"}`), by(http.MethodGet)),
		group("POST /api/blobs/:digest",
			at("digest that is none", "/api/blobs/sha256:12", text), at("wrong digest", "/api/blobs/"+digestOf("another"), text),
			at("new", "/api/blobs/"+digestOf(text), text), at("there already", "/api/blobs/"+digestOf(text), text)),
		group("HEAD /api/blobs/:digest",
			at("there", "/api/blobs/"+digestOf(text), ""), at("not there", "/api/blobs/"+digestOf("x"), ""), at("digest that is none", "/api/blobs/x", "")),
		group("POST /api/create",
			with("from a model", `{"model":"made","from":"m","system":"s"}`), with("plain", `{"model":"made","from":"m","system":"s","stream":false}`),
			with("from an unknown one", `{"model":"made2","from":"127.0.0.1:1/library/nope","stream":false}`), with("files that are not there", `{"model":"made3","files":{"a.gguf":"`+digestOf("x")+`"}}`),
			with("files that are no model", `{"model":"made3","files":{"a.gguf":"`+digestOf(text)+`"},"stream":false}`),
			with("no model", `{"from":"m"}`), with("odd name", `{"model":"a b","from":"m"}`), with("no JSON", `{`), with("nothing", ""), by(http.MethodGet)),
		group("POST /api/copy",
			with("plain", `{"source":"m","destination":"copy"}`), with("unknown model", `{"source":"nope","destination":"x"}`),
			with("odd name", `{"source":"m","destination":"a b"}`), with("no source", `{"destination":"x"}`), with("no JSON", `{`), with("nothing", "")),
		group("POST /api/pull",
			with("registry out of reach", `{"model":"127.0.0.1:1/library/nope","stream":false}`), with("the same, streamed", `{"model":"127.0.0.1:1/library/nope"}`),
			with("odd name", `{"model":"a b"}`), with("no model", `{}`), with("no JSON", `{`), with("nothing", ""), by(http.MethodGet)),
		group("POST /api/push",
			with("unknown model", `{"model":"127.0.0.1:1/x/nope","stream":false}`), with("no model", `{}`), with("no JSON", `{`), with("nothing", "")),
		group("DELETE /api/delete",
			with("plain", `{"model":"copy"}`), with("name", `{"name":"made"}`), with("unknown model", `{"model":"nope"}`), with("odd name", `{"model":"a b"}`),
			with("no model", `{}`), with("no JSON", `{`), with("nothing", ""), by(http.MethodPost)),
	}
}

func listGroups() []compatGroup {
	return []compatGroup{
		group("GET /api/tags", with("plain", ""), by(http.MethodHead), by(http.MethodPut), at("slash at the end", "/api/tags/", ""), at("two slashes", "//api/tags", "")),
		group("GET /api/ps", with("plain", ""), by(http.MethodHead), by(http.MethodPost)),
		group("GET /v1/models", with("plain", ""), by(http.MethodPost), by(http.MethodHead)),
		group("GET /v1/models/:model",
			at("plain", "/v1/models/m", ""), at("with tag", "/v1/models/M:latest", ""), at("unknown model", "/v1/models/nope", ""),
			at("slash in the name", "/v1/models/a/b", ""), at("the same, escaped", "/v1/models/library%2Fm", ""), at("no name", "/v1/models/", "")),
		group("OPTIONS /api/chat",
			with("no Origin", ""), with("preflight", "", "Origin", "http://localhost:3000", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type").
				but("same, without Allow, which browsers do not look at", "Allow: "),
			with("an origin that may not", "", "Origin", "https://evil.example").but("same, without Allow", "Allow: ")),
		group("GET /api/version", with("a page that may", "", "Origin", "http://localhost:3000"), with("a page that may not", "", "Origin", "https://evil.example"),
			with("a Host that may not", "", "Host", "evil.example"), with("a Host of this network", "", "Host", "10.1.2.3"), with("a local name", "", "Host", "x.internal")),
	}
}
