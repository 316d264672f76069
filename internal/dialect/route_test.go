package dialect

import (
	"strings"
	"testing"
)

var inferencePaths = []string{
	"/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/v1/chat/completions",
	"/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages",
	"/v1/images/generations", "/v1/images/edits",
}

func route(t testing.TB, path string) Route {
	t.Helper()
	r, ok := Lookup(path)
	if !ok {
		t.Fatalf("Lookup(%q) found nothing", path)
	}
	return r
}

func TestLookup(t *testing.T) {
	for _, tt := range []struct {
		path          string
		dialect       Dialect
		embeds        bool
		streams, dflt bool
		stream, plain string
	}{
		{"/api/generate", Ollama, false, true, true, "application/x-ndjson", "application/json; charset=utf-8"},
		{"/api/chat", Ollama, false, true, true, "application/x-ndjson", "application/json; charset=utf-8"},
		{"/api/embed", Ollama, true, false, false, "", "application/json; charset=utf-8"},
		{"/api/embeddings", Ollama, true, false, false, "", "application/json; charset=utf-8"},
		{"/v1/chat/completions", OpenAI, false, true, false, "text/event-stream", "application/json"},
		{"/v1/completions", OpenAI, false, true, false, "text/event-stream", "application/json"},
		{"/v1/embeddings", OpenAI, true, false, false, "", "application/json"},
		{"/v1/responses", OpenAI, false, true, false, "text/event-stream", "application/json"},
		{"/v1/messages", Anthropic, false, true, false, "text/event-stream", "application/json"},
		{"/v1/images/generations", OpenAI, false, false, false, "", "application/json"},
		{"/v1/images/edits", OpenAI, false, false, false, "", "application/json"},
		{"/v1/audio/transcriptions", OpenAI, false, false, false, "", "application/json"},
	} {
		r := route(t, tt.path)
		want := Route{tt.path, tt.dialect, tt.embeds, tt.path == "/v1/audio/transcriptions", tt.streams, tt.dflt, tt.stream, tt.plain, r.kind}
		if r != want {
			t.Errorf("Lookup(%q) = %+v, want %+v", tt.path, r, want)
		}
		if Of(tt.path) != tt.dialect {
			t.Errorf("Of(%q) = %v", tt.path, Of(tt.path))
		}
	}
	for _, path := range []string{"", "/", "/api/tags", "/api/chat/", "/v1/models", "/v1/messages/batches"} {
		if _, ok := Lookup(path); ok {
			t.Errorf("Lookup(%q) found something", path)
		}
	}
}

func TestOf(t *testing.T) {
	for path, want := range map[string]string{
		"/": "ollama", "/api/tags": "ollama", "/v1": "ollama", "/corral/": "ollama",
		"/v1/models": "openai", "/v1/messagesx": "openai", "/v1/messages/count_tokens": "anthropic",
	} {
		if got := Of(path).String(); got != want {
			t.Errorf("Of(%q) = %s, want %s", path, got, want)
		}
	}
}

func TestBeat(t *testing.T) {
	for _, path := range inferencePaths {
		r := route(t, path)
		if got := string(r.Beat(false)); got != " " {
			t.Errorf("%s plain: %q", path, got)
		}
		want := " "
		switch {
		case r.Dialect == Anthropic:
			want = "event: ping\ndata: {\"type\": \"ping\"}\n\n"
		case r.StreamType == "text/event-stream":
			want = ": keep-alive\n\n"
		}
		if got := string(r.Beat(true)); got != want {
			t.Errorf("%s stream: %q, want %q", path, got, want)
		}
	}
}

func TestErrorBody(t *testing.T) {
	for _, tt := range []struct {
		d      Dialect
		status int
		want   string
	}{
		{Ollama, 503, `{"error":"a \"b\" \u003cc\u003e"}`},
		{OpenAI, 400, `{"error":{"message":"a \"b\" \u003cc\u003e","type":"invalid_request_error","param":null,"code":null}}` + "\n"},
		{OpenAI, 404, `{"error":{"message":"a \"b\" \u003cc\u003e","type":"not_found_error","param":null,"code":null}}` + "\n"},
		{OpenAI, 429, `{"error":{"message":"a \"b\" \u003cc\u003e","type":"api_error","param":null,"code":null}}` + "\n"},
		{Anthropic, 429, `{"type":"error","error":{"type":"rate_limit_error","message":"a \"b\" \u003cc\u003e"}}` + "\n"},
		{Anthropic, 503, `{"type":"error","error":{"type":"overloaded_error","message":"a \"b\" \u003cc\u003e"}}` + "\n"},
		{Anthropic, 529, `{"type":"error","error":{"type":"overloaded_error","message":"a \"b\" \u003cc\u003e"}}` + "\n"},
		{Anthropic, 500, `{"type":"error","error":{"type":"api_error","message":"a \"b\" \u003cc\u003e"}}` + "\n"},
	} {
		ct, body := tt.d.ErrorBody(tt.status, `a "b" <c>`)
		if string(body) != tt.want {
			t.Errorf("%v %d: %s, want %s", tt.d, tt.status, body, tt.want)
		}
		if wantCT := map[bool]string{true: "application/json; charset=utf-8", false: "application/json"}[tt.d == Ollama]; ct != wantCT {
			t.Errorf("%v: %s, want %s", tt.d, ct, wantCT)
		}
	}
	_, body := Anthropic.ErrorBodyID(401, "m", "req_1")
	if want := `{"type":"error","error":{"type":"authentication_error","message":"m"},"request_id":"req_1"}` + "\n"; string(body) != want {
		t.Errorf("with id: %s", body)
	}
	for status, want := range map[int]string{400: "invalid_request_error", 403: "permission_error", 404: "not_found_error"} {
		if got := anthropicErrorType(status); got != want {
			t.Errorf("anthropic %d: %s", status, got)
		}
	}
}

func TestNotFound(t *testing.T) {
	const single, pull = "404 model 'M:x' not found", `404 model "M:x" not found, try pulling it first`
	const required, nameless = "400 model is required", "404 model '' not found"
	for path, want := range map[string][2]string{
		"/api/generate":        {single, nameless},
		"/api/chat":            {single, required},
		"/api/embed":           {pull, nameless},
		"/api/embeddings":      {pull, required},
		"/v1/chat/completions": {single, required},
		"/v1/completions":      {single, nameless},
		"/v1/embeddings":       {pull, nameless},
		"/v1/responses":        {single, required},
		"/v1/messages":         {single, required},
	} {
		r := route(t, path)
		for name, want := range map[string]string{
			"M:x": want[0], "": want[1],
			"a b": "400 invalid model name", "-m": "400 invalid model name",
			" m:cloud:local": `400 use either :local or :cloud, not both: "m:cloud:local"`,
		} {
			e := r.NotFound(name)
			var err error = e
			if got := itoa(e.Status) + " " + err.Error(); got != want {
				t.Errorf("%s %q: %s, want %s", path, name, got, want)
			}
		}
	}
}

func itoa(n int) string {
	return string([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

func TestStreamError(t *testing.T) {
	openAI := `data: {"error":{"message":"gone\n","type":"api_error","param":null,"code":null}}` + "\n\n"
	for path, want := range map[string]string{
		"/api/generate":        `{"error":"gone\n"}` + "\n",
		"/api/chat":            `{"error":"gone\n"}` + "\n",
		"/api/embed":           "",
		"/api/embeddings":      "",
		"/v1/embeddings":       "",
		"/v1/chat/completions": openAI,
		"/v1/completions":      openAI,
		"/v1/messages":         "event: error\n" + `data: {"type":"error","error":{"type":"api_error","message":"gone\n"}}` + "\n\n",
		"/v1/responses": "event: response.failed\n" + `data: {"type":"response.failed","sequence_number":0,` +
			`"response":{"id":"","object":"response","created_at":0,"status":"failed","model":"","output":[],"error":{"code":"server_error","message":"gone\n"}},` +
			`"error":{"message":"gone\n","type":"api_error","param":null,"code":null}}` + "\n\n",
	} {
		r := route(t, path)
		got := string(r.StreamError(500, "gone\n"))
		if got != want {
			t.Errorf("%s: %s\nwant %s", path, got, want)
		}
		tail := r.Tail()
		tail.Write([]byte(got))
		if !tail.Complete() {
			t.Errorf("%s: its own error does not end the stream", path)
		}
	}
	if got := string(route(t, "/v1/responses").StreamError(429, "")); !strings.Contains(got, `"code":"rate_limit_exceeded"`) {
		t.Error(got)
	}
}

func TestModelNames(t *testing.T) {
	for name, want := range map[string]string{
		"m1": "m1:latest", "M1": "m1:latest", " m1 ": "m1:latest", "m1:latest": "m1:latest", "m1:8B": "m1:8b",
		"library/m1":                               "m1:latest",
		"registry.ollama.ai/library/m1:latest":     "m1:latest",
		"Registry.Ollama.AI/Library/M1":            "m1:latest",
		"https://registry.ollama.ai/library/m1:q4": "m1:q4",
		"registry.ollama.ai/me/m1":                 "me/m1:latest",
		"me/m1:q4":                                 "me/m1:q4",
		"http:///me/m1":                            "me/m1:latest",
		"hf.co/bartowski/Llama:Q4_K_M":             "hf.co/bartowski/llama:q4_k_m",
		"host:5000/library/m":                      "host:5000/library/m:latest",
		"m1:local":                                 "m1:latest",
		"m1:8b:LOCAL":                              "m1:8b",
		"m1:cloud":                                 "m1:cloud",
		"gpt-oss:120b-cloud":                       "gpt-oss:120b-cloud",
		"m:cloud:local":                            "m:cloud:local",
		"a b":                                      "a b:latest",
	} {
		got := CanonicalModel(name)
		if got != want {
			t.Errorf("CanonicalModel(%q) = %q, want %q", name, got, want)
		}
		if again := CanonicalModel(got); again != got {
			t.Errorf("CanonicalModel(%q) = %q: not stable", got, again)
		}
	}
	for name, want := range map[string]bool{
		"m:cloud": true, "m:120b-cloud": true, "M:CLOUD": true, "host:5000/x-cloud": false, "m-cloud": false,
		"m": false, "m:local": false, "m:cloud:local": false, "": false, "m: cloud ": true,
	} {
		if got := IsCloud(name); got != want {
			t.Errorf("IsCloud(%q) = %v", name, got)
		}
	}
	for name, want := range map[string]bool{
		"m": true, "m:t": true, "n/m": true, "h:1/n/m:t.x": true, "http://h/n/m": true, "http:///n/m": true, "_m.1": true,
		"": false, "m:": false, "/m": false, "n/": false, "/n/m": false, "n.x/m": false, "-h/n/m": false, "a/b/c/d": false,
		"m@sha256:ab": false, "m\u00e9": false, strings.Repeat("m", 81): false, "m:-t": false,
	} {
		if got := validName(name); got != want {
			t.Errorf("validName(%q) = %v", name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { CanonicalModel("llama3.1:8b") }); n != 0 {
		t.Errorf("%v allocations for a canonical name", n)
	}
}

func TestSignatures(t *testing.T) {
	for _, tt := range [][3]string{
		{"", "", ""},
		{`{"num_ctx":1}`, "", `{"num_ctx":1}`},
		{`{"num_ctx":1,"num_gpu":20}`, `{"num_ctx":2,"shift":false}`, `{"num_ctx":2,"num_gpu":20,"shift":false}`},
		{`{"num_gpu":20}`, `{"num_gpu":-1}`, ""},
		{`{"use_mmap":true}`, `{"main_gpu":0,"draft_num_predict":0}`, `{"draft_num_predict":0,"main_gpu":0,"use_mmap":true}`},
		{"rubbish", `{"num_ctx":2}`, `{"num_ctx":2}`},
	} {
		if got := MergeSignature(tt[0], tt[1]); got != tt[2] {
			t.Errorf("MergeSignature(%q, %q) = %q, want %q", tt[0], tt[1], got, tt[2])
		}
	}
	text := "num_ctx                        8192\nstop                           \"num_ctx 1\"\nuse_mmap true\n" +
		"temperature                    0.7\nnum_batch                      1e+06\nnum_thread \"x\"\nshift true"
	if got, want := ParametersSignature(text), `{"num_batch":1000000,"num_ctx":8192,"use_mmap":true}`; got != want {
		t.Errorf("ParametersSignature = %s, want %s", got, want)
	}
	if got := ParametersSignature(""); got != "" {
		t.Errorf("ParametersSignature of nothing = %s", got)
	}
	all := `{"draft_num_predict":-9223372036854775808,"main_gpu":-9223372036854775808,"num_batch":-9223372036854775808,` +
		`"num_ctx":-9223372036854775808,"num_gpu":9223372036854775807,"num_thread":-9223372036854775808,"shift":false,"use_mmap":false}`
	if got := parseSignature(all).String(); got != all {
		t.Errorf("longest signature = %s", got)
	}
}
