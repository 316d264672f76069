package gguf

import (
	"fmt"
	"io"
)

// space begins a word in both vocabularies.
const space = "\u2581"

// WriteLlama writes a model that generates; /api/show calls it "completion".
func WriteLlama(w io.Writer, o Options) error {
	o = o.withDefaults("tiny-llama", 8192)
	f := newFile(o.Seed)
	tokens := llamaTokens(f)
	f.shape("llama", o, len(tokens))
	f.key("llama.attention.head_count_kv", o.Heads)
	f.key("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	f.key("llama.rope.dimension_count", o.Embedding/o.Heads)

	e, h, v := o.Embedding, o.Forward, len(tokens)
	f.normal("token_embd.weight", 1, e, v)
	for i := range o.Layers {
		p := fmt.Sprintf("blk.%d.", i)
		f.constant(p+"attn_norm.weight", 1, e)
		for _, n := range []string{"q", "k", "v", "output"} {
			f.normal(p+"attn_"+n+".weight", 0.1, e, e)
		}
		f.constant(p+"ffn_norm.weight", 1, e)
		f.normal(p+"ffn_gate.weight", 0.1, e, h)
		f.normal(p+"ffn_up.weight", 0.1, e, h)
		f.normal(p+"ffn_down.weight", 0.1, h, e)
	}
	f.constant("output_norm.weight", 1, e)
	f.normal("output.weight", 0.5, e, v)
	return f.write(w)
}

// shape adds the keys that every architecture has.
func (f *file) shape(arch string, o Options, vocabulary int) {
	f.key("general.architecture", arch)
	f.key("general.name", o.Name)
	f.key("general.file_type", 0)
	f.key(arch+".block_count", o.Layers)
	f.key(arch+".context_length", o.Context)
	f.key(arch+".embedding_length", o.Embedding)
	f.key(arch+".feed_forward_length", o.Forward)
	f.key(arch+".vocab_size", vocabulary)
	f.key(arch+".attention.head_count", o.Heads)
}

// Kinds of token.
const (
	tokenNormal  = 1
	tokenUnknown = 2
	tokenControl = 3
	tokenByte    = 6
)

// llamaTokens adds a vocabulary of bytes and single characters.
func llamaTokens(f *file) []string {
	tokens := []string{"<unk>", "<s>", "</s>"}
	kinds := []int32{tokenUnknown, tokenControl, tokenControl}
	scores := []float32{0, 0, 0}
	add := func(token string, kind int32, score float32) {
		tokens, kinds, scores = append(tokens, token), append(kinds, kind), append(scores, score)
	}
	for i := range 256 {
		add(fmt.Sprintf("<0x%02X>", i), tokenByte, -1000)
	}
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;{}[]\"'!?-_()" {
		add(string(c), tokenNormal, -1)
	}
	add(space, tokenNormal, -1)
	f.key("tokenizer.ggml.model", "llama")
	f.key("tokenizer.ggml.tokens", tokens)
	f.key("tokenizer.ggml.scores", scores)
	f.key("tokenizer.ggml.token_type", kinds)
	f.key("tokenizer.ggml.bos_token_id", 1)
	f.key("tokenizer.ggml.eos_token_id", 2)
	f.key("tokenizer.ggml.unknown_token_id", 0)
	return tokens
}

// WriteBert writes a model that embeds; /api/show calls it "embedding".
func WriteBert(w io.Writer, o Options) error {
	o = o.withDefaults("tiny-bert", 512)
	f := newFile(o.Seed)
	tokens := bertTokens(f)
	f.shape("bert", o, len(tokens))
	f.key("bert.pooling_type", 1)
	f.key("bert.attention.layer_norm_epsilon", float32(1e-12))
	f.key("bert.attention.causal", false)

	e, h := o.Embedding, o.Forward
	f.normal("token_embd.weight", 1, e, len(tokens))
	f.normal("position_embd.weight", 0.1, e, o.Context)
	f.normal("token_types.weight", 0.1, e, 2)
	f.norm("token_embd_norm", e)
	for i := range o.Layers {
		p := fmt.Sprintf("blk.%d.", i)
		for _, n := range []string{"q", "k", "v", "output"} {
			f.normal(p+"attn_"+n+".weight", 0.1, e, e)
			f.constant(p+"attn_"+n+".bias", 0, e)
		}
		f.norm(p+"attn_output_norm", e)
		f.normal(p+"ffn_up.weight", 0.1, e, h)
		f.constant(p+"ffn_up.bias", 0, h)
		f.normal(p+"ffn_down.weight", 0.1, h, e)
		f.constant(p+"ffn_down.bias", 0, e)
		f.norm(p+"layer_output_norm", e)
	}
	return f.write(w)
}

// norm adds a layer norm that changes nothing.
func (f *file) norm(name string, width int) {
	f.constant(name+".weight", 1, width)
	f.constant(name+".bias", 0, width)
}

func bertTokens(f *file) []string {
	tokens := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	kinds := []int32{tokenControl, tokenControl, tokenControl, tokenControl, tokenControl}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	for _, c := range letters + ".,:;!?-" {
		tokens, kinds = append(tokens, space+string(c)), append(kinds, tokenNormal)
	}
	for _, c := range letters {
		tokens, kinds = append(tokens, string(c)), append(kinds, tokenNormal)
	}
	scores := make([]float32, len(tokens))
	for i := range scores {
		scores[i] = -1000
	}
	f.key("tokenizer.ggml.model", "bert")
	f.key("tokenizer.ggml.tokens", tokens)
	f.key("tokenizer.ggml.scores", scores)
	f.key("tokenizer.ggml.token_type", kinds)
	f.key("tokenizer.ggml.token_type_count", 2)
	for _, special := range []struct {
		name string
		id   int
	}{{"bos", 2}, {"eos", 3}, {"unknown", 1}, {"seperator", 3}, {"padding", 0}, {"cls", 2}, {"mask", 4}} {
		f.key("tokenizer.ggml."+special.name+"_token_id", special.id)
	}
	return tokens
}
