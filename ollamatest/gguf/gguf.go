// Package gguf writes tiny models with random weights that a real Ollama loads: a llama of two layers and a bert
// embedder of two layers, half a megabyte each. The same seed gives the same bytes, and so the same digest.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// Options of a model. The zero value of a field means its default.
type Options struct {
	Seed      uint64
	Name      string // general.name, default tiny-llama or tiny-bert
	Layers    int    // default 2
	Embedding int    // width, a multiple of Heads, default 64
	Heads     int    // default 4
	Forward   int    // width of the feed-forward part, default 128
	Context   int    // tokens it was trained for, default 8192, or 512 for a bert
}

func (o Options) withDefaults(name string, context int) Options {
	if o.Name == "" {
		o.Name = name
	}
	for _, field := range []struct {
		value *int
		def   int
	}{{&o.Layers, 2}, {&o.Embedding, 64}, {&o.Heads, 4}, {&o.Forward, 128}, {&o.Context, context}} {
		if *field.value <= 0 {
			*field.value = field.def
		}
	}
	return o
}

// Value types of the format.
const (
	typeUint32  = 4
	typeInt32   = 5
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9

	tensorFloat32 = 0
	alignment     = 32
)

// file collects keys and tensors.
type file struct {
	random  *rand.Rand
	keys    bytes.Buffer
	nKeys   int
	infos   bytes.Buffer
	data    bytes.Buffer
	tensors int
}

func newFile(seed uint64) *file {
	return &file{random: rand.New(rand.NewPCG(seed, 0x67677566))}
}

func put(b *bytes.Buffer, v any) {
	if s, ok := v.(string); ok {
		put(b, uint64(len(s)))
		b.WriteString(s)
		return
	}
	_ = binary.Write(b, binary.LittleEndian, v) // to a buffer, of fixed-size values: can not fail
}

// key adds one; the value's Go type decides its type in the file.
func (f *file) key(name string, value any) {
	f.nKeys++
	put(&f.keys, name)
	switch v := value.(type) {
	case int:
		put(&f.keys, uint32(typeUint32))
		put(&f.keys, uint32(v))
	case float32:
		put(&f.keys, uint32(typeFloat32))
		put(&f.keys, v)
	case bool:
		put(&f.keys, uint32(typeBool))
		put(&f.keys, v)
	case string:
		put(&f.keys, uint32(typeString))
		put(&f.keys, v)
	case []string:
		array(f, typeString, v)
	case []float32:
		array(f, typeFloat32, v)
	case []int32:
		array(f, typeInt32, v)
	default:
		panic(fmt.Sprintf("gguf: key %s has a value of type %T", name, value))
	}
}

func array[T any](f *file, kind uint32, values []T) {
	put(&f.keys, uint32(typeArray))
	put(&f.keys, kind)
	put(&f.keys, uint64(len(values)))
	for _, v := range values {
		put(&f.keys, v)
	}
}

// normal adds a tensor of normal values with a standard deviation.
func (f *file) normal(name string, deviation float64, dims ...int) {
	f.tensor(name, func() float32 { return float32(f.random.NormFloat64() * deviation) }, dims...)
}

// constant adds a tensor of one value.
func (f *file) constant(name string, value float32, dims ...int) {
	f.tensor(name, func() float32 { return value }, dims...)
}

func (f *file) tensor(name string, value func() float32, dims ...int) {
	f.tensors++
	put(&f.infos, name)
	put(&f.infos, uint32(len(dims)))
	n := 1
	for _, d := range dims {
		put(&f.infos, uint64(d))
		n *= d
	}
	put(&f.infos, uint32(tensorFloat32))
	put(&f.infos, uint64(f.data.Len()))
	for range n {
		put(&f.data, value())
	}
	pad(&f.data)
}

func pad(b *bytes.Buffer) {
	for b.Len()%alignment != 0 {
		b.WriteByte(0)
	}
}

func (f *file) write(w io.Writer) error {
	var out bytes.Buffer
	out.WriteString("GGUF")
	put(&out, uint32(3))
	put(&out, uint64(f.tensors))
	put(&out, uint64(f.nKeys))
	out.Write(f.keys.Bytes())
	out.Write(f.infos.Bytes())
	pad(&out)
	out.Write(f.data.Bytes())
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}
