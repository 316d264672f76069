package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func chatBody(size int) []byte {
	const turn = `{"role":"user","content":"Pick the entities out of this: \"Alice\" met Bob in Ulm.\nThen they went home. `
	var b strings.Builder
	b.WriteString(`{"model":"llama3.1:8b","stream":false,"options":{"num_ctx":8192,"temperature":0},"messages":[`)
	for b.Len() < size-400 {
		b.WriteString(turn + strings.Repeat("More of the same plain text, as documents have it. ", 6) + `"},`)
	}
	b.WriteString(turn + `"}]}`)
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	r := route(b, "/api/chat")
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		body := chatBody(size)
		b.Run(fmt.Sprintf("corral/%dKiB", size>>10), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := r.Parse(body); err != nil {
					b.Fatal(err)
				}
			}
		})
		// the baseline: the same fields through encoding/json
		b.Run(fmt.Sprintf("stdlib/%dKiB", size>>10), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				var req struct {
					Model    string                     `json:"model"`
					Stream   *bool                      `json:"stream"`
					Messages json.RawMessage            `json:"messages"`
					Options  map[string]json.RawMessage `json:"options"`
				}
				if err := json.NewDecoder(bytes.NewReader(body)).Decode(&req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseEmbed(b *testing.B) {
	r := route(b, "/v1/embeddings")
	body := []byte(`{"model":"nomic-embed-text","input":[` + strings.Repeat(`"A sentence of some sixty characters that is to be embedded.",`, 31) + `"x"]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if e, err := r.Parse(body); err != nil || e.Inputs != 32 {
			b.Fatal(e.Inputs, err)
		}
	}
}

func BenchmarkTail(b *testing.B) {
	ndjson := []byte(`{"model":"llama3.1:8b","created_at":"2026-08-21T10:00:00.123456789Z","message":{"role":"assistant","content":" word"},"done":false}` + "\n")
	sse := []byte(`data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1780000000,"model":"llama3.1:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n")
	for _, bm := range []struct {
		name, path string
		chunk      []byte
	}{
		{"ndjson", "/api/chat", ndjson},
		{"sse", "/v1/chat/completions", sse},
		{"ndjson-split", "/api/chat", append(append([]byte{}, ndjson[70:]...), ndjson[:70]...)},
	} {
		b.Run(fmt.Sprintf("%s/%dB", bm.name, len(bm.chunk)), func(b *testing.B) {
			b.ReportAllocs()
			tail := route(b, bm.path).Tail()
			if bm.name == "ndjson-split" {
				tail.Write(ndjson[:70])
			}
			for b.Loop() {
				tail.Write(bm.chunk)
			}
			if tail.Complete() {
				b.Fatal("complete")
			}
		})
	}
}

// BenchmarkWatch and BenchmarkRenamer: what an answer's pieces cost beside BenchmarkTail.
func BenchmarkWatch(b *testing.B) {
	for _, content := range []string{"word", ""} {
		chunk := []byte(`data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1780000000,"model":"llama3.1:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":"` + content + `"},"finish_reason":null}]}` + "\n\n")
		b.Run("content="+content, func(b *testing.B) {
			b.ReportAllocs()
			w := route(b, "/v1/chat/completions").Watch()
			for b.Loop() {
				w.Write(chunk)
			}
		})
	}
}

func BenchmarkRenamer(b *testing.B) {
	chunk := []byte(`data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1780000000,"model":"llama3.1:8b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}` + "\n\n")
	n := NewRenamer("llama3.1:8b", "gpt-4o")
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = n.Append(out[:0], chunk)
	}
}

func BenchmarkCanonicalModel(b *testing.B) {
	for b.Loop() {
		CanonicalModel("llama3.1:8b")
	}
}
