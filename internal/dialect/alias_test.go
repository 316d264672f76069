package dialect

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
)

func TestEdit(t *testing.T) {
	all := Edit{Model: "llama3.1:8b", NumCtx: 8192, NumPredict: 100, Think: "false", KeepAlive: "10m"}
	for _, tt := range []struct {
		path, body string
		edit       Edit
		sends      string
		signature  string
	}{
		{"/api/chat", `{"model":"gpt-4o","messages":[1]}`, Edit{Model: "m"}, `{"model":"m","messages":[1]}`, ""},
		{"/api/chat", ` {"MODEL" : "x", "messages":[1],"model":null} tail`, Edit{Model: "m"}, ` {"MODEL" : "m", "messages":[1],"model":"m"} tail`, ""},
		{
			"/api/chat", `{"model":"a","messages":[1]}`, all,
			`{"model":"llama3.1:8b","messages":[1],"options":{"num_ctx":8192,"num_predict":100},"think":false,"keep_alive":"10m"}`, `{"num_ctx":8192}`,
		},
		{
			"/api/chat", `{"model":"a","messages":[1],"options":{"num_ctx":1,"seed":7},"think":"low","keep_alive":-1}`, all,
			`{"model":"llama3.1:8b","messages":[1],"options":{"num_ctx":1,"seed":7},"think":"low","keep_alive":-1,"options":{"num_predict":100}}`, `{"num_ctx":1}`,
		},
		{
			"/api/generate", `{"model":"a","prompt":"p","think":null,"options":{"num_ctx":null}}`, Edit{Model: "m", NumCtx: 5, Think: "high", KeepAlive: "60"},
			`{"model":"m","prompt":"p","think":null,"options":{},"options":{"num_ctx":5},"think":"high","keep_alive":60}`, `{"num_ctx":5}`,
		},
		{"/api/generate", `{"model":"a","prompt":"p"}`, Edit{Model: "m", KeepAlive: "0"}, `{"model":"m","prompt":"p"}`, ""},
		{"/api/embed", `{"model":"a","input":"x"}`, all, `{"model":"llama3.1:8b","input":"x","options":{"num_ctx":8192},"keep_alive":"10m"}`, `{"num_ctx":8192}`},
		{"/v1/embeddings", `{"model":"a","input":"x"}`, all, `{"model":"llama3.1:8b","input":"x"}`, ""},
		{
			"/v1/chat/completions", `{"model":"a","messages":[1]}`, all,
			`{"model":"llama3.1:8b","messages":[1],"max_tokens":100,"reasoning_effort":"none"}`, "",
		},
		{
			"/v1/chat/completions", `{"model":"a","messages":[1],"max_tokens":5,"reasoning":{"effort":"high"}}`, all,
			`{"model":"llama3.1:8b","messages":[1],"max_tokens":5,"reasoning":{"effort":"high"}}`, "",
		},
		{"/v1/completions", `{"model":"a","prompt":"x"}`, all, `{"model":"llama3.1:8b","prompt":"x","max_tokens":100}`, ""},
		{"/v1/responses", `{"model":"a","input":"x"}`, all, `{"model":"llama3.1:8b","input":"x","max_output_tokens":100,"reasoning":{"effort":"none"}}`, ""},
		{"/v1/messages", `{"model":"a","max_tokens":9,"messages":[1]}`, all, `{"model":"llama3.1:8b","max_tokens":9,"messages":[1],"thinking":{"type":"disabled"}}`, ""},
		{"/v1/messages", `{"model":"a","max_tokens":9}`, Edit{Model: "m", Think: "true"}, `{"model":"m","max_tokens":9,"thinking":{"type":"enabled"}}`, ""},
	} {
		r := route(t, tt.path)
		e, err := r.Parse([]byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		got := r.Edit(e, tt.edit)
		if string(got.Body) != tt.sends {
			t.Errorf("%s %s\n sends %s\n want  %s", tt.path, tt.body, got.Body, tt.sends)
		}
		if got.Model != e.Model || got.Target != tt.edit.Model || got.Signature != tt.signature || got.PromptBytes != len(tt.body) {
			t.Errorf("%s %s: got %+v", tt.path, tt.body, got)
		}
	}
}

// FuzzEdit: an edited body is the same document but for the model and what was missing.
func FuzzEdit(f *testing.F) {
	for i := range inferencePaths {
		f.Add(uint8(i), []byte(`{"model":"a","messages":[{"model":"x"}],"options":{"num_ctx":1},"keep_alive":"5m"}`))
		f.Add(uint8(i), []byte(`{"Model":"a","mOdel":"b" }x`))
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		r := route(t, inferencePaths[int(which)%len(inferencePaths)])
		e, err := r.Parse(body)
		if err != nil || e.Model == "" {
			return
		}
		var before, after map[string]json.RawMessage
		got := r.Edit(e, Edit{Model: "m:1", NumCtx: 9, NumPredict: 8, Think: "low", KeepAlive: "1m"})
		if json.NewDecoder(strings.NewReader(string(e.Body))).Decode(&before) != nil {
			t.Fatal("what Parse takes is JSON")
		}
		if err := json.NewDecoder(strings.NewReader(string(got.Body))).Decode(&after); err != nil {
			t.Fatalf("%s became %s: %v", e.Body, got.Body, err)
		}
		if again, err := r.Parse(got.Body); err != nil || again.Model != "m:1" || again.Stream != e.Stream || again.Empty != e.Empty {
			t.Fatalf("%s became %s: %v", e.Body, got.Body, err)
		}
		for _, doc := range []map[string]json.RawMessage{before, after} {
			maps.DeleteFunc(doc, func(name string, _ json.RawMessage) bool {
				switch strings.ToLower(name) {
				case "model", "options", "think", "keep_alive", "max_tokens", "reasoning_effort", "max_output_tokens", "reasoning", "thinking":
					return true
				}
				return false
			})
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%s became %s", e.Body, got.Body)
		}
	})
}

// echoed are answers of a real Ollama (shortened) with text in them that looks like a model's name.
var echoed = []string{
	`{"model":"m:1","message":{"role":"assistant","content":"\"model\":\"m:1\"","tool_calls":[{"function":{"arguments":{"model":"m:1"}}}]},"done":false}` + "\n" +
		`{"model":"m:1","done":true}` + "\n",
	`{"id":"chatcmpl-1","object":"chat.completion","model":"m:1","choices":[{"message":{"content":"\"model\":\"m:1\""}}]}` + "\n",
	"data: {\"id\":\"1\",\"model\":\"m:1\",\"choices\":[{\"delta\":{\"content\":\"model\"}}]}\n\ndata: {\"model\":\"\"}\n\ndata: [DONE]\n\n",
	"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"x\",\"model\":\"m:1\",\"content\":[]}}\n\n",
	`{"object":"list","data":[{"embedding":[1]}],"model":"m:1"}`,
	`{"model":"m:1:2","x":"model"}`, `{"model":"m`, `{"x":"""model":"m:1"}`,
}

// rename is what a Renamer must do, done slowly.
func rename(s string) string {
	lines := strings.SplitAfter(s, "\n")
	for i, l := range lines {
		lines[i] = strings.Replace(l, `"model":"m:1"`, `"model":"gpt-4o"`, 1)
	}
	return strings.Join(lines, "")
}

func checkRename(t *testing.T, s string, size int) {
	t.Helper()
	n := NewRenamer("m:1", "gpt-4o")
	var got []byte
	for rest := s; rest != ""; {
		k := min(size, len(rest))
		got = n.Append(got, []byte(rest[:k]))
		rest = rest[k:]
		if missing := len(rename(s[:len(s)-len(rest)])) - len(got); missing > len(`"model":"m:1"`) {
			t.Errorf("%d bytes held back after %q", missing, s[:len(s)-len(rest)])
		}
	}
	if got = n.Flush(got); string(got) != rename(s) {
		t.Errorf("in pieces of %d:\n got %s\nwant %s", size, got, rename(s))
	}
}

func TestRenamer(t *testing.T) {
	for _, s := range echoed {
		for size := 1; size <= len(s); size++ {
			checkRename(t, s, size)
		}
	}
	if got := rename(echoed[0]); !strings.Contains(got, `"arguments":{"model":"m:1"}`) || !strings.Contains(got, `\"model\":\"m:1\"`) {
		t.Errorf("what a model says is changed: %s", got)
	}
}

func FuzzRenamer(f *testing.F) {
	for _, s := range echoed {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, s string, size uint8) {
		if json.Valid([]byte(s)) { // in other texts a match may begin inside of a failed one
			checkRename(t, s, int(size)+1)
		}
	})
}

func TestNamed(t *testing.T) {
	for body, want := range map[string]string{
		`{"model":"a"}`: `{"model":"m:1"}`,
		` { "name":"a", "verbose":true,"MODEL":"b" } tail`: ` {"model":"m:1", "verbose":true } tail`,
		`{}`:         `{"model":"m:1"}`,
		`{"name":1}`: `{"model":"m:1"}`,
	} {
		if got := string(Named([]byte(body), "m:1")); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}
