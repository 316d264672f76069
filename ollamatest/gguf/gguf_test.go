package gguf

import (
	"bytes"
	"io"
	"testing"
)

func TestModelsAreDeterministicBySeed(t *testing.T) {
	f := func(write func(io.Writer, Options) error) {
		t.Helper()
		model := func(seed uint64) []byte {
			var b bytes.Buffer
			if err := write(&b, Options{Seed: seed}); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		one := model(1)
		if !bytes.Equal(one, model(1)) || bytes.Equal(one, model(2)) {
			t.Error("same seed must give the same bytes, another seed others")
		}
		if !bytes.HasPrefix(one, []byte("GGUF\x03\x00\x00\x00")) || len(one) < 200_000 || len(one) > 1_000_000 {
			t.Errorf("%d bytes, begins %q", len(one), one[:8])
		}
	}
	f(WriteLlama)
	f(WriteBert)
}
