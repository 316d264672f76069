// Llama-server stands in for llama.cpp's program of that name under a real Ollama: Ollama's own scheduler, lines
// and HTTP, with replies and times that a test decides. Put it at ../lib/ollama/llama-server beside the folder of
// the ollama binary. Under the name llama-quantize it copies a model file.
//
// Prompts may say what they cost, see ollamatest.ParseDirectives. Defaults come from the environment:
//
//	CORRAL_ENGINE_SPEED     divides all times, 1
//	CORRAL_ENGINE_PREFILL   prompt tokens per second, 4000
//	CORRAL_ENGINE_BASE      duration of an iteration, 5ms
//	CORRAL_ENGINE_PER_SLOT  and more for each decoding slot, 0s
//	CORRAL_ENGINE_CURVE     instead of these: total tokens per second with 1, 2, … slots, "60,110,150"
//	CORRAL_ENGINE_TOKENS    tokens of a reply, 16
//	CORRAL_ENGINE_EMBED     duration of an embedding, 5ms
//	CORRAL_ENGINE_DIMS      values of a vector, 64
//	CORRAL_ENGINE_LOAD      duration of a load, 0s
//	CORRAL_ENGINE_OOM       not empty: every load ends out of memory
//	CORRAL_ENGINE_STATS     file that gets a line of JSON (ollamatest.EngineRecord) for each request that ended
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"corral/ollamatest"
)

func main() {
	args := os.Args[1:]
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	var err error
	switch {
	case slices.Contains(args, "--version"):
		fmt.Println("version: 10488 (corral)")
	case name == "llama-quantize":
		err = quantize(args)
	case slices.Contains(args, "--list-devices"):
		fmt.Println("Available devices:")
	default:
		err = serve(args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// flag is the value after the last of some names.
func flag(args []string, names ...string) string {
	for i := len(args) - 2; i >= 0; i-- {
		if slices.Contains(names, args[i]) {
			return args[i+1]
		}
	}
	return ""
}

func serve(args []string) error {
	o, err := options(args, os.Getenv)
	if err != nil {
		return err
	}
	if os.Getenv("CORRAL_ENGINE_OOM") != "" {
		return fmt.Errorf("load %s: cudaMalloc failed: out of memory", flag(args, "--model", "-m"))
	}
	if path := os.Getenv("CORRAL_ENGINE_STATS"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("open statistics: %w", err)
		}
		defer f.Close()
		o.Stats = f
	}
	o.Die = func(reason string) {
		fmt.Fprintln(os.Stderr, reason)
		os.Exit(3)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(flag(args, "--host"), flag(args, "--port")))
	if err != nil {
		return fmt.Errorf("serve model: %w", err)
	}
	return http.Serve(l, ollamatest.NewEngineServer(o))
}

func options(args []string, env func(string) string) (ollamatest.EngineOptions, error) {
	model := flag(args, "--model", "-m")
	if model == "" {
		return ollamatest.EngineOptions{}, fmt.Errorf("no --model among the arguments")
	}
	e := environment{get: env}
	s := ollamatest.Settings{
		Speed: e.number("SPEED"), PrefillRate: e.number("PREFILL"), Curve: e.numbers("CURVE"),
		Base: e.duration("BASE"), PerSlot: e.duration("PER_SLOT"), Embed: e.duration("EMBED"), Load: e.duration("LOAD"),
		Tokens: int(e.number("TOKENS")),
	}
	s.Slots, _ = strconv.Atoi(flag(args, "-np", "--parallel"))
	s.Batch, _ = strconv.Atoi(flag(args, "-b", "--batch-size"))
	embedding := slices.Contains(args, "--embedding") || slices.Contains(args, "--embeddings")
	return ollamatest.EngineOptions{
		Settings: s, Weights: filepath.Base(model), Embedding: embedding, Dims: int(e.number("DIMS")),
	}, e.err
}

// environment reads settings; it keeps the first error.
type environment struct {
	get func(string) string
	err error
}

func (e *environment) number(key string) float64 {
	if all := e.numbers(key); len(all) > 0 {
		return all[0]
	}
	return 0
}

func (e *environment) numbers(key string) []float64 {
	key = "CORRAL_ENGINE_" + key
	text := e.get(key)
	if text == "" {
		return nil
	}
	var all []float64
	for word := range strings.SplitSeq(text, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
		if err == nil && v <= 0 {
			err = fmt.Errorf("%v is not above zero", v)
		}
		e.keep(key, err)
		all = append(all, v)
	}
	return all
}

func (e *environment) duration(key string) time.Duration {
	key = "CORRAL_ENGINE_" + key
	text := e.get(key)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	e.keep(key, err)
	if d == 0 {
		return -1 // "no time", where Settings read zero as "the default"
	}
	return d
}

func (e *environment) keep(key string, err error) {
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("read %s: %w", key, err)
	}
}

// quantize copies the first argument that is a file to the one after it.
func quantize(args []string) error {
	for i, arg := range args[:max(len(args)-1, 0)] {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		in, err := os.Open(arg)
		if err != nil {
			continue // the value of an option
		}
		defer in.Close()
		out, err := os.Create(args[i+1])
		if err != nil {
			return fmt.Errorf("copy model: %w", err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("copy model: %w", err)
		}
		return out.Close()
	}
	return fmt.Errorf("quantize: no input file among %q", args)
}
