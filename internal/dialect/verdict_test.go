package dialect

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestVerdicts(t *testing.T) {
	const context = 4096
	text := func(bytes int) string { return strings.Repeat("word ", bytes/5) }
	chatBody := func(bytes int) string { return `{"model":"m","messages":[{"content":"` + text(bytes) + `"}]}` }
	native := func(tokens int) string {
		return fmt.Sprintf(`{"model":"m","message":{"content":"hi"},"done":true,"done_reason":"stop","prompt_eval_count":%d,"eval_count":3}`, tokens)
	}
	const reasoned = "data: {\"choices\":[{\"delta\":{\"content\":\"\",\"reasoning\":\"hmm\"},\"finish_reason\":null}]}\n\n"
	for _, tt := range []struct{ name, path, body, answer, want string }{
		{"ordinary", "/api/chat", chatBody(9000), native(2000), ""},
		{"almost full", "/api/chat", chatBody(16000), native(context - 1), ""},
		{"cut to the context (v0.17)", "/api/chat", chatBody(40000), native(context), "prompt-truncated"},
		{"cut to half (v0.33)", "/api/chat", chatBody(40000), native(2050), "prompt-truncated"},
		{"cut to half, with a mark at the beginning", "/api/chat", chatBody(40000), native(2051), "prompt-truncated"},
		{"half by chance", "/api/chat", chatBody(8000), native(2050), ""},
		{"messages dropped", "/api/chat", chatBody(200000), native(3000), "prompt-truncated"},
		{"a picture", "/api/chat", `{"model":"m","messages":[{"images":["` + text(200000) + `"]}]}`, native(3000), ""},
		{"an embedding, cut", "/api/embed", `{"model":"m","input":"` + text(20000) + `"}`, `{"model":"m","embeddings":[[1]],"prompt_eval_count":4094}`, "prompt-truncated"},
		{"embeddings", "/v1/embeddings", `{"model":"m","input":["` + text(20000) + `","x"]}`, `{"data":[],"usage":{"prompt_tokens":5094,"total_tokens":5094}}`, ""},
		{"OpenAI", "/v1/chat/completions", chatBody(40000), `{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":2050,"completion_tokens":2}}`, "prompt-truncated"},
		{"Anthropic", "/v1/messages", chatBody(40000), `{"content":[{"type":"text","text":"x"}],"usage":{"input_tokens":2050,"output_tokens":2}}`, "prompt-truncated"},
		{"load", "/api/chat", `{"model":"m","messages":[]}`, `{"model":"m","message":{"content":""},"done":true,"done_reason":"load"}`, ""},
		{"empty", "/api/chat", chatBody(9), `{"message":{"content":""},"done":true,"done_reason":"length"}`, "empty-by-length"},
		{"empty by stop", "/api/chat", chatBody(9), `{"message":{"content":""},"done":true,"done_reason":"stop"}`, ""},
		{"empty generate", "/api/generate", `{"model":"m","prompt":"x"}`, `{"response":"","done":true,"done_reason":"length"}`, "empty-by-length"},
		{"tool call", "/api/chat", chatBody(9), `{"message":{"content":"","tool_calls":[{}]},"done_reason":"length"}`, ""},
		{"thought", "/api/chat", chatBody(9), `{"message":{"content":"","thinking":"hmm"},"done_reason":"length"}`, "thinking-ate-output"},
		{"thought and said", "/api/chat", chatBody(9), `{"message":{"thinking":"hmm","content":"x"},"done_reason":"length"}`, ""},
		{"thought, streamed", "/v1/chat/completions", chatBody(9), reasoned + "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n", "thinking-ate-output"},
		{"thought and said, streamed", "/v1/chat/completions", chatBody(9), reasoned + "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"length\"}]}\n\n", ""},
		{"empty completion", "/v1/completions", `{"model":"m","prompt":"x"}`, `{"choices":[{"text":"","finish_reason":"length"}]}`, "empty-by-length"},
		{"empty message", "/v1/messages", chatBody(9), `{"content":[],"stop_reason":"max_tokens"}`, "empty-by-length"},
		{"thought message", "/v1/messages", chatBody(9), `{"content":[{"type":"thinking","thinking":"hmm"}],"stop_reason":"max_tokens"}`, "thinking-ate-output"},
		{"tool message", "/v1/messages", chatBody(9), `{"content":[{"type":"tool_use","id":"1"}],"stop_reason":"max_tokens"}`, ""},
		{"thought response", "/v1/responses", `{"model":"m","input":"x"}`, `{"output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hmm"}]}]}`, "thinking-ate-output"},
		{"response", "/v1/responses", `{"model":"m","input":"x"}`, `{"output":[{"content":[{"type":"output_text","text":"x"}]}]}`, ""},
		{"what a model says", "/api/chat", chatBody(9), `{"message":{"content":"\"done_reason\":\"length\""},"done_reason":"stop"}`, ""},
	} {
		r := route(t, tt.path)
		e, err := r.Parse([]byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 7, 70, len(tt.answer)} {
			w := r.Watch()
			for p := range slices.Chunk([]byte(tt.answer), size) {
				w.Write(p)
			}
			var got []string
			for _, v := range w.Verdicts(e, context) {
				got = append(got, string(v))
				if v.Advice() == "" {
					t.Errorf("%s: no advice", v)
				}
			}
			if strings.Join(got, ",") != tt.want {
				t.Errorf("%s in pieces of %d: got %q, want %q", tt.name, size, got, tt.want)
			}
		}
	}
}
