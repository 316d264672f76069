package ollamatest

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
)

// signature is what Ollama compares to decide whether a loaded runner can take a request (api.Runner, v0.33.0).
type signature struct {
	numCtx, numBatch, numGPU, numThread, draft int

	mainGPU                      int // -1: not given
	mmap                         string
	shift                        bool
	autoCtx, autoBatch, autoMmap bool
}

// optionKind is the Go type of each option that Ollama knows; the wrong one is an error.
var optionKind = map[string]reflect.Kind{
	"num_ctx": reflect.Int, "num_batch": reflect.Int, "num_gpu": reflect.Int, "main_gpu": reflect.Int,
	"num_thread": reflect.Int, "draft_num_predict": reflect.Int, "num_keep": reflect.Int, "seed": reflect.Int,
	"num_predict": reflect.Int, "top_k": reflect.Int, "repeat_last_n": reflect.Int,
	"top_p": reflect.Float32, "min_p": reflect.Float32, "typical_p": reflect.Float32, "temperature": reflect.Float32,
	"repeat_penalty": reflect.Float32, "presence_penalty": reflect.Float32, "frequency_penalty": reflect.Float32,
	"use_mmap": reflect.Bool, "stop": reflect.Slice,
}

func checkOptions(options map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(options)) {
		kind, known := optionKind[key]
		if !known || options[key] == nil {
			continue
		}
		want := ""
		switch options[key].(type) {
		case float64:
			if kind != reflect.Int && kind != reflect.Float32 {
				want = kind.String()
			}
		case bool:
			if kind != reflect.Bool {
				want = kind.String()
			}
		case []any:
			if kind != reflect.Slice {
				want = kind.String()
			}
		default:
			want = kind.String()
		}
		if want != "" {
			return fmt.Errorf("option %q must be of type %s", key, optionTypeName[want])
		}
	}
	return nil
}

var optionTypeName = map[string]string{"int": "integer", "bool": "boolean", "float32": "float32", "slice": "array"}

// signatureOf reads the load options of a request over those of the model's Modelfile.
func (s *Server) signatureOf(m *Model, options map[string]any, shift *bool) (signature, error) {
	if err := checkOptions(options); err != nil {
		return signature{}, err
	}
	sig := signature{numCtx: s.opt.ContextLength, numBatch: 512, numGPU: -1, mainGPU: -1, shift: shift == nil || *shift}
	sig.autoCtx, sig.autoBatch = s.opt.ContextLength == 0, true
	if sig.autoCtx {
		sig.numCtx = 4096
	}
	for _, from := range []map[string]any{m.Parameters, options} {
		for key, value := range from {
			sig.set(key, value)
		}
	}
	sig.numCtx = min(max(sig.numCtx, 4), m.ContextLength)
	return sig, nil
}

// set takes one option. A null counts as given, with the default: that is why it reloads a runner.
func (g *signature) set(key string, value any) {
	switch key {
	case "num_ctx":
		g.autoCtx = false
	case "num_batch":
		g.autoBatch = false
	}
	if b, ok := value.(bool); ok && key == "use_mmap" {
		g.mmap = fmt.Sprint(b)
	}
	n, ok := toInt(value)
	if !ok {
		return
	}
	switch key {
	case "num_ctx":
		g.numCtx = n
	case "num_batch":
		g.numBatch = n
	case "num_gpu":
		g.numGPU = n
	case "main_gpu":
		g.mainGPU = n
	case "num_thread":
		g.numThread = n
	case "draft_num_predict":
		g.draft = n
	}
}

func toInt(value any) (int, bool) {
	switch v := value.(type) {
	case float64:
		return int(math.Trunc(v)), true
	case int:
		return v, true
	}
	return 0, false
}

// loaded is the signature that a runner with some slots has once a request loaded it: what was automatic is then a
// value. It is that of a machine without a GPU, where mmap is off unless asked for.
func (g signature) loaded(slots int) signature {
	if g.autoBatch {
		switch ctx := g.numCtx * slots; {
		case ctx <= 4096:
			g.numBatch = 512
		case ctx <= 32768:
			g.numBatch = 1024
		default:
			g.numBatch = 2048
		}
	}
	if g.mmap == "" {
		g.mmap, g.autoMmap = "false", true
	}
	return g
}

// serves says whether a runner loaded with g takes a request that wants w. Where both were automatic their values
// are not compared.
func (g signature) serves(w signature) bool {
	if g.autoCtx && w.autoCtx {
		w.numCtx = g.numCtx
	}
	if g.autoBatch && w.autoBatch {
		w.numBatch = g.numBatch
	}
	if g.autoMmap && w.mmap == "" {
		w.mmap = g.mmap
	}
	if w.numGPU < 0 { // -1 matches anything: who pinned the model to the CPU pinned it for all
		g.numGPU = w.numGPU
	}
	g.autoCtx, g.autoBatch, g.autoMmap = w.autoCtx, w.autoBatch, w.autoMmap
	return g == w
}
