package dialect

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		path, body string
		want       Envelope // PromptBytes and Body are checked apart
		sends      string   // body sent upstream, if not the one given
	}{
		{path: "/api/generate", body: `{"model":"m","prompt":"hi"}`, want: Envelope{Model: "m", Stream: true}},
		{path: "/api/generate", body: `{"MODEL":"m","Prompt":"hi","stream":false} trailing`, want: Envelope{Model: "m"}},
		{path: "/api/generate", body: `{"model":"a","model":"b","model":null,"prompt":"x","prompt":null}`, want: Envelope{Model: "b", Stream: true}},
		{path: "/api/generate", body: `{"model":"m"}`, want: Envelope{Model: "m", Stream: true, Empty: true}},
		{path: "/api/generate", body: `{"model":"m","prompt":"","images":["aaaa"],"system":"s"}`, want: Envelope{Model: "m", Stream: true, Empty: true}},
		{path: "/api/generate", body: `{"model":"m","keep_alive":0}`, want: Envelope{Model: "m", Stream: true, Empty: true, Unload: true, KeepAliveZero: true}},
		{
			path: "/api/generate", body: ` {"Keep_Alive":0, "model":"m","prompt":"p","keep_alive":"0s"} tail`,
			want: Envelope{Model: "m", Stream: true, KeepAliveZero: true}, sends: ` {"model":"m","prompt":"p"} tail`,
		},
		{path: "/api/generate", body: `{"model":"m","prompt":"p","keep_alive":0,"keep_alive":null}`, want: Envelope{Model: "m", Stream: true}},
		{path: "/api/generate", body: ` null `, want: Envelope{Stream: true, Empty: true}},
		{path: "/api/generate", body: `{"\u006dodel":"\u00e9\ud83d\ude00","prompt":"p","ſtream":false}`, want: Envelope{Model: "é😀"}},
		{path: "/api/chat", body: `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":null}`, want: Envelope{Model: "m", Stream: true}},
		{path: "/api/chat", body: `{"model":"m","messages":[]}`, want: Envelope{Model: "m", Stream: true, Empty: true}},
		{path: "/api/chat", body: `{"model":"m","messages":[{}],"messages":null,"keep_alive":"-0"}`, want: Envelope{Model: "m", Stream: true, Empty: true, Unload: true, KeepAliveZero: true}},
		{
			path: "/api/chat", body: `{"model":"m","messages":[1],"shift":false,"options":{"num_ctx":4096.9,"seed":1,"use_mmap":true,"num_gpu":"all","Num_Batch":7}}`,
			want: Envelope{Model: "m", Stream: true, Signature: `{"num_ctx":4096,"shift":false,"use_mmap":true}`},
		},
		{
			path: "/api/chat", body: `{"model":"m","messages":[1],"options":{"num_ctx":1},"Options":{"num_ctx":2,"num_thread":3}}`,
			want: Envelope{Model: "m", Stream: true, Signature: `{"num_ctx":2,"num_thread":3}`},
		},
		{
			path: "/api/chat", body: `{"model":"m","messages":[1],"options":{"num_ctx":null},"options":null,"options":{"main_gpu":0}}`,
			want: Envelope{Model: "m", Stream: true, Signature: `{"main_gpu":0}`},
		},
		{path: "/api/chat", body: `{"model":"m","messages":[1],"shift":null,"shift":"x","format":{"options":{"num_ctx":null}}}`, want: Envelope{Model: "m", Stream: true}},
		{
			path: "/api/chat", body: `{"model":"m","messages":[1],"options":{ "num_batch" : null , "temperature": 1}}`,
			want: Envelope{Model: "m", Stream: true}, sends: `{"model":"m","messages":[1],"options":{ "temperature": 1}}`,
		},
		{path: "/api/embed", body: `{"model":"m","input":"x","stream":"x","shift":1}`, want: Envelope{Model: "m", Inputs: 1}},
		{path: "/api/embed", body: `{"model":"m","input":["a","b, ]",""]}`, want: Envelope{Model: "m", Inputs: 3}},
		{path: "/api/embed", body: `{"model":"m","input":""}`, want: Envelope{Model: "m", Empty: true}},
		{path: "/api/embed", body: `{"model":"m","input":[ ],"keep_alive":0}`, want: Envelope{Model: "m", Empty: true, Unload: true, KeepAliveZero: true}},
		{path: "/api/embed", body: `{"model":"m","input":["a"],"input":null}`, want: Envelope{Model: "m", Empty: true}},
		{path: "/api/embeddings", body: `{"model":"m","prompt":"x","options":{"num_ctx":5}}`, want: Envelope{Model: "m", Inputs: 1, Signature: `{"num_ctx":5}`}},
		{path: "/api/embeddings", body: `{"model":"m"}`, want: Envelope{Model: "m", Empty: true}},
		{path: "/v1/chat/completions", body: `{"model":"m","messages":[],"keep_alive":0,"options":{"num_ctx":null},"shift":false}`, want: Envelope{Model: "m"}},
		{path: "/v1/chat/completions", body: `{"model":"m","messages":[{}],"stream":true,"stream":null}`, want: Envelope{Model: "m", Stream: true}},
		{path: "/v1/completions", body: `{"model":"m","prompt":""}`, want: Envelope{Model: "m", Empty: true}},
		{path: "/v1/completions", body: `{"model":"m","prompt":["a"],"stream":true}`, want: Envelope{Model: "m", Stream: true}},
		{path: "/v1/embeddings", body: `{"model":"m","input":""}`, want: Envelope{Model: "m", Inputs: 1}},
		{path: "/v1/embeddings", body: `{"model":"m","input":["a","b"],"encoding_format":"base64"}`, want: Envelope{Model: "m", Inputs: 2}},
		{path: "/v1/embeddings", body: `{"model":"m"}`, want: Envelope{Model: "m"}},
		{path: "/v1/responses", body: `{"model":"m","input":"x","stream":true,"stream":null}`, want: Envelope{Model: "m"}},
		{path: "/v1/messages", body: `{"model":"m","max_tokens":1,"messages":[{}],"stream":true}`, want: Envelope{Model: "m", Stream: true}},
	} {
		got, err := route(t, tt.path).Parse([]byte(tt.body))
		if err != nil {
			t.Errorf("%s %s: %v", tt.path, tt.body, err)
			continue
		}
		sends := tt.sends
		if sends == "" {
			sends = tt.body
		}
		if string(got.Body) != sends || got.PromptBytes != len(tt.body) {
			t.Errorf("%s %s: sends %s (%d)", tt.path, tt.body, got.Body, got.PromptBytes)
		}
		got.Body, got.PromptBytes = nil, 0
		if !sameEnvelope(got, tt.want) {
			t.Errorf("%s %s:\n got %+v\nwant %+v", tt.path, tt.body, got, tt.want)
		}
	}
}

func sameEnvelope(a, b Envelope) bool {
	a.Body, b.Body = nil, nil
	return a.Model == b.Model && a.Stream == b.Stream && a.Signature == b.Signature && a.Empty == b.Empty &&
		a.Unload == b.Unload && a.KeepAliveZero == b.KeepAliveZero && a.Inputs == b.Inputs
}

func TestParseKeepsBody(t *testing.T) {
	body := []byte(`{"model":"m","options":{"num_ctx":1}}`)
	e, err := route(t, "/api/chat").Parse(body)
	if err != nil || &e.Body[0] != &body[0] || len(e.Body) != len(body) {
		t.Errorf("not the slice that was given: %v", err)
	}
}

func TestParseRejects(t *testing.T) {
	chat := route(t, "/api/chat")
	for _, body := range []string{
		"", " ", "{", "[]", `"x"`, "1", "nul", "\ufeff{}", `{"model":1}`, `{"model":["m"]}`, `{"stream":"false"}`,
		`{"stream":0}`, `{"options":[]}`, `{"options":"x"}`, `{"keep_alive":"soon"}`, `{"keep_alive":1e400}`, `{"keep_alive":"x","keep_alive":1}`,
		`{"a":01}`, `{"a":1.}`, `{"a":1e}`, `{"a":-}`, `{"a":+1}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\n\"}", `{"a":tru}`, `{"a":[1,]}`,
		`{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":"b`, `{"a":"b\`, `{"a":[1 2]}`, "\x1f\x8b\x08",
		strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1),
	} {
		if e, err := chat.Parse([]byte(body)); err == nil {
			t.Errorf("%.60q: accepted as %+v", body, e)
		} else if !strings.HasPrefix(err.Error(), "parse /api/chat body: ") {
			t.Errorf("%.60q: %v", body, err)
		}
	}
	deep := strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth)
	if _, err := chat.Parse([]byte(deep)); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
}

func TestDropNulls(t *testing.T) {
	for _, tt := range [][2]string{
		{`{"num_ctx":null}`, `{}`},
		{`{ "num_ctx" : null }`, `{  }`},
		{`{"num_ctx":null,"num_batch":null}`, `{}`},
		{`{"num_ctx":null,"seed":null,"num_batch":null}`, `{"seed":null}`},
		{`{"seed":1 , "num_batch":null}`, `{"seed":1}`},
		{`{"seed":1 , "num_batch":null , "num_ctx":null,"top_k":2 }`, `{"seed":1,"top_k":2 }`},
		{`{"num_ctx":1,"num_ctx":null}`, `{}`},
		{`{"num_ctx":null,"num_ctx":1}`, `{"num_ctx":null,"num_ctx":1}`},
		{`{"num\u005fctx":null,"a":[1, {"num_ctx":null}]}`, `{"a":[1, {"num_ctx":null}]}`},
		{`{"NUM_CTX":null,"shift":null}`, `{"NUM_CTX":null,"shift":null}`},
		{`{"num_ctx":8},"options":{"num_ctx":null,"seed":1}`, `{},"options":{"seed":1}`},
	} {
		const before, after = "\t{\"model\":\"m\" ,\n\"x\":{\"options\":{\"num_ctx\":null}}, \"options\" : ", " , \"prompt\":\"\\u0041\\n\"}\x00tail"
		e, err := route(t, "/api/generate").Parse([]byte(before + tt[0] + after))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(e.Body), before+tt[1]+after; got != want {
			t.Errorf("%s\n got %s\nwant %s", tt[0], got, want)
		}
	}
}
