package dialect

import (
	"math"
	"strconv"
	"strings"
)

// option is a load option: one that Ollama reloads the model for when it differs
// from what the runner was loaded with. In the order of their names.
type option uint8

const (
	draftNumPredict option = iota
	mainGPU
	numBatch
	numCtx
	numGPU
	numThread
	shift // top-level, the others are in `options`
	useMMap
	optionCount
)

func (o option) String() string {
	return [optionCount]string{
		"draft_num_predict", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread", "shift", "use_mmap",
	}[o]
}

// boolean tells options that are booleans from those that are integers.
func (o option) boolean() bool { return o == shift || o == useMMap }

func optionNamed(name []byte) (option, bool) {
	switch string(name) {
	case "draft_num_predict":
		return draftNumPredict, true
	case "main_gpu":
		return mainGPU, true
	case "num_batch":
		return numBatch, true
	case "num_ctx":
		return numCtx, true
	case "num_gpu":
		return numGPU, true
	case "num_thread":
		return numThread, true
	case "shift":
		return shift, true
	case "use_mmap":
		return useMMap, true
	}
	return 0, false
}

// setting is the value of an option; booleans are 0 and 1.
type setting struct {
	set bool
	n   int64
}

// signature holds a value for each load option that is set.
type signature [optionCount]setting

// optionValue reads a JSON value. null and ill-typed values are not set.
func optionValue(o option, val []byte) setting {
	switch c := val[0]; {
	case o.boolean() && (c == 't' || c == 'f'):
		return setting{set: true, n: bit(c == 't')}
	case !o.boolean() && (c == '-' || c-'0' <= 9):
		if n, ok := integer(string(val)); ok {
			return setting{set: true, n: n}
		}
	}
	return setting{}
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// integer reads a number as Ollama does: through float64, cut towards zero.
func integer(s string) (int64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || math.IsNaN(f):
		return 0, false
	case f >= math.MaxInt64:
		return math.MaxInt64, true
	case f <= math.MinInt64:
		return math.MinInt64, true
	}
	return int64(f), true
}

// String returns the canonical form: a JSON object, names sorted, no spaces; ""
// if nothing is set.
func (s signature) String() string {
	var buf [192]byte
	b := buf[:0]
	for o := range optionCount {
		v := s[o]
		if !v.set {
			continue
		}
		b = append(b, ",\""...)
		b = append(b, o.String()...)
		b = append(b, "\":"...)
		if o.boolean() {
			b = strconv.AppendBool(b, v.n != 0)
		} else {
			b = strconv.AppendInt(b, v.n, 10)
		}
	}
	if len(b) == 0 {
		return ""
	}
	b[0] = '{'
	return string(append(b, '}'))
}

// parseSignature reads what String wrote; anything else is empty.
func parseSignature(text string) (sig signature) {
	if text == "" {
		return sig
	}
	s := scanner{b: []byte(text)}
	if s.peek() != '{' {
		return sig
	}
	s.object(0, func(m member) {
		if o, ok := optionNamed(s.name(m)); ok {
			sig[o] = optionValue(o, s.val(m))
		}
	})
	return sig
}

// MergeSignature lays signature over above base (a request's above its
// Modelfile's) and returns the canonical result, "" if nothing is set. A
// negative num_gpu is left out of it: to Ollama it means "automatic", the same
// as none, and never reloads; before the merge it must stay, for it hides a
// Modelfile's num_gpu.
func MergeSignature(base, over string) string {
	if base == "" && over == "" {
		return ""
	}
	sig := parseSignature(base)
	for o, v := range parseSignature(over) {
		if v.set {
			sig[o] = v
		}
	}
	if sig[numGPU].n < 0 {
		sig[numGPU] = setting{}
	}
	return sig.String()
}

// ParametersSignature returns the signature that a Modelfile sets, from the
// `parameters` text of /api/show: a line per value, name and value (in Go
// syntax: 8192, 1e+06, true) with spaces between.
func ParametersSignature(parameters string) string {
	var sig signature
	for line := range strings.Lines(parameters) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if o, ok := optionNamed([]byte(f[0])); ok && o != shift {
			sig[o] = optionValue(o, []byte(f[1]))
		}
	}
	return sig.String()
}
