package dialect

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// streams are whole answers of a real Ollama (shortened), with text in them that
// looks like an end.
var streams = map[string]string{
	"/api/chat": `{"model":"m","created_at":"2026-08-21T10:00:00Z","message":{"role":"assistant","content":"\"done\":true, {\"error\":1}\n"},"done":false}` + "\n" +
		`{"model":"m","created_at":"2026-08-21T10:00:00Z","message":{"role":"assistant","content":"\\","tool_calls":[{"function":{"name":"finish","arguments":{"done":true,"error":"none","x":[{"done": true}]}}}]},"done":false}` + "\n" +
		`{"model":"error","created_at":"2026-08-21T10:00:00Z","message":{"role":"done","content":""},"done":true,"done_reason":"stop","total_duration":12}` + "\n",
	"/api/generate": `{"model":"m","created_at":"x","response":"}\"","done":false}` + "\n" +
		`{"model":"m", "response": "", "done": true, "context":[1,2,3]}` + "\n",
	"/v1/chat/completions": `data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"\ndata: [DONE]\n\n"},"finish_reason":null}]}` + "\n\n" +
		": keep-alive\n\n" + `data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n",
	"/v1/completions": "data: {\"text\":\"[DONE]\"}\r\n\r\ndata: [DONE]\r\n\r\n",
	"/v1/responses": "event: response.created\ndata: {\"type\":\"response.created\"}\n\n" +
		"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"event: response.completed\"}\n\n" +
		"event: response.incomplete_not\ndata: {}\n\n" +
		"event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
	"/v1/messages": "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"\\n\\nevent: message_stop\\n\\n\"}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
}

// trailer is the end of a stream that may be missing without harm to it.
func trailer(path, stream string) int {
	switch {
	case strings.HasPrefix(path, "/api/"):
		return 1 // the object is whole without its newline
	case strings.HasSuffix(stream, "[DONE]\r\n\r\n"):
		return 2
	case strings.HasSuffix(stream, "[DONE]\n\n"):
		return 1
	}
	return 0
}

func TestTail(t *testing.T) {
	for path, stream := range streams {
		r := route(t, path)
		whole, bytewise := r.Tail(), r.Tail()
		whole.Write([]byte(stream))
		if !whole.Complete() {
			t.Errorf("%s: not complete", path)
		}
		end := len(stream) - trailer(path, stream)
		for i := range end {
			cut := r.Tail()
			cut.Write([]byte(stream[:i]))
			if cut.Complete() || bytewise.Complete() {
				t.Fatalf("%s: complete at %q", path, stream[:i])
			}
			if cut.AtBoundary() != bytewise.AtBoundary() {
				t.Fatalf("%s: boundary differs at %q", path, stream[:i])
			}
			bytewise.Write([]byte(stream[i : i+1]))
		}
		if !bytewise.Complete() {
			t.Errorf("%s: not complete byte by byte", path)
		}
	}
}

func TestTailEnds(t *testing.T) {
	for _, tt := range []struct {
		path, stream       string
		complete, boundary bool
	}{
		{"/api/chat", "", false, true},
		{"/api/chat", `{"done":false}`, false, true},
		{"/api/chat", `{"done":false}` + "\n", false, true},
		{"/api/chat", `{"done":tr`, false, false},
		{"/api/chat", `  {"done":true}`, true, true},
		{"/api/chat", `{"error":"broken"}` + "\n", true, true},
		{"/api/chat", `{"error_code":1,"doneness":true,"x":"done","done":"true"}` + "\n", false, true},
		{"/api/chat", "{\"a\":{\"done\":true}}\n{\"done\":false}\n", false, true},
		{"/api/chat", `["done",true]` + "\n", false, true},
		{"/api/embed", "", true, true},
		{"/v1/chat/completions", "data: [DONE]", false, false},
		{"/v1/chat/completions", "data:[DONE]\n", true, false},
		{"/v1/chat/completions", "data: [DONE]x\n\n", false, true},
		{"/v1/chat/completions", "data: {\"error\":{\"message\":\"x\"}}\n\n", true, true},
		{"/v1/chat/completions", "data: {\"error_x\":1}\n\n", false, true},
		{"/v1/chat/completions", ": data: [DONE]\n", false, true},
		{"/v1/chat/completions", "data: {}\n", false, false},
		{"/v1/responses", "event: response.failed\ndata: {}\n\n", true, true},
		{"/v1/responses", "event: response.failed\ndata: {}\n", false, false},
		{"/v1/responses", "event: error\ndata: {}\n\n", true, true},
		{"/v1/responses", "event: response.incomplete\ndata: {}\n\n", true, true},
		{"/v1/messages", "event: error\ndata: {\"type\":\"error\"}\n\n", true, true},
		{"/v1/messages", "event: message_stop\n", false, false},
	} {
		for _, size := range []int{1, 3, len(tt.stream) + 1} {
			tail := route(t, tt.path).Tail()
			for rest := tt.stream; rest != ""; {
				n := min(size, len(rest))
				tail.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if tail.Complete() != tt.complete || !tt.complete && tail.AtBoundary() != tt.boundary {
				t.Errorf("%s %q by %d: complete %v, boundary %v", tt.path, tt.stream, size, tail.Complete(), tail.AtBoundary())
			}
		}
	}
}

// FuzzTail puts text into a stream's strings, cuts the stream at random bytes and
// at its end, and asks that only the whole one is complete.
func FuzzTail(f *testing.F) {
	f.Add(uint64(1), `"done":true`)
	f.Add(uint64(2), "\n\ndata: [DONE]\n\n")
	f.Add(uint64(3), "\nevent: message_stop\n\nevent: error\n\n{\"error\":\"")
	f.Add(uint64(4), "}\\\"}]\n")
	f.Add(uint64(5), "done\xff\x00")
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		quoted := string(marshal(text))
		for path, stream := range streams {
			r := route(t, path)
			stream = strings.Replace(stream, `"m"`, quoted, 1)
			stream = strings.Replace(stream, `{"text":"[DONE]"}`, fmt.Sprintf(`{"text":%s}`, quoted), 1)
			stream = strings.Replace(stream, `"delta":"event`, `"x":`+quoted+`,"delta":"event`, 1)
			end := len(stream) - trailer(path, stream)
			rng := rand.New(rand.NewPCG(seed, 0))
			cut := rng.IntN(end)
			tail := r.Tail()
			feed(tail, rng, stream[:cut])
			if tail.Complete() {
				t.Fatalf("%s: complete at %q", path, stream[:cut])
			}
			feed(tail, rng, stream[cut:])
			if !tail.Complete() {
				t.Fatalf("%s: not complete after %q", path, stream)
			}
		}
	})
}

func feed(tail *Tail, rng *rand.Rand, s string) {
	for s != "" {
		n := 1 + rng.IntN(len(s))
		if rng.IntN(2) == 0 {
			n = min(n, 1+rng.IntN(4))
		}
		tail.Write([]byte(s[:n]))
		s = s[n:]
	}
}
