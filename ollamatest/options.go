package ollamatest

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// Options of a Server. The zero value is an Ollama v0.33 with its own defaults and no models.
type Options struct {
	Models []Model
	Engine Settings // of every model that does not bring its own; Slots is decided by NumParallel

	NumParallel   int           // OLLAMA_NUM_PARALLEL, default 1; embedding models always run 1
	MaxQueue      int           // OLLAMA_MAX_QUEUE, default 512
	MaxLoaded     int           // OLLAMA_MAX_LOADED_MODELS, default 3
	KeepAlive     time.Duration // OLLAMA_KEEP_ALIVE, default 5m, negative: for ever
	ContextLength int           // OLLAMA_CONTEXT_LENGTH, default 0: 4096, and requests may not pin it
	VRAM          int64         // bytes that loaded models share, 0: without bound

	Version string        // default "0.33.0"
	Exposed bool          // listens on more than loopback: the Host header is not checked
	Ready   time.Duration // after New, requests wait this long before anything is answered

	// Reply makes the content of an answer from the model's name and the prompt: for a chat the contents of its
	// messages, joined by newlines. When nil or when it returns "", the answer is NewReply's words.
	Reply func(model, prompt string) string

	Keep int // how many of the last requests Requests can show, default 1000
}

// Model is one name that a Server knows.
type Model struct {
	Name            string         // as `ollama list` shows it; ":latest" may be left out
	Digest          string         // of the manifest, 64 hex digits, default a hash of Name
	Weights         string         // of the blob, 64 hex digits, default a hash of Name; names may share weights
	Capabilities    []string       // default completion; an embedder has "embedding"
	Family          string         // default llama, or bert for an embedder
	Format          string         // default gguf; safetensors are run by MLX, one request at a time
	Size            int64          // bytes, default 500 KB
	ContextLength   int            // the longest it was trained for, default 8192
	EmbeddingLength int            // values of one vector, default 64
	Parameters      map[string]any // PARAMETER lines of its Modelfile, such as num_ctx
	Engine          *Settings      // own pace
}

func (o Options) withDefaults() Options {
	o.NumParallel = max(o.NumParallel, 1)
	if o.MaxQueue <= 0 {
		o.MaxQueue = 512
	}
	if o.MaxLoaded <= 0 {
		o.MaxLoaded = 3
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 5 * time.Minute
	}
	if o.Version == "" {
		o.Version = "0.33.0"
	}
	if o.Keep <= 0 {
		o.Keep = 1000
	}
	return o
}

func (m Model) withDefaults() Model {
	if m.Digest == "" {
		m.Digest = hexHash("manifest " + m.Name)
	}
	if m.Weights == "" {
		m.Weights = hexHash("weights " + m.Name)
	}
	if len(m.Capabilities) == 0 {
		m.Capabilities = []string{"completion"}
	}
	if m.Family == "" {
		m.Family = "llama"
		if m.can("embedding") {
			m.Family = "bert"
		}
	}
	if m.Format == "" {
		m.Format = "gguf"
	}
	if m.Size == 0 {
		m.Size = 500_000
	}
	if m.ContextLength == 0 {
		m.ContextLength = 8192
	}
	if m.EmbeddingLength == 0 {
		m.EmbeddingLength = 64
	}
	return m
}

func (m Model) can(capability string) bool { return slices.Contains(m.Capabilities, capability) }

// mlx says whether Ollama's MLX runner runs the model.
func (m Model) mlx() bool { return m.Format == "safetensors" }

// serial says whether Ollama runs one request of the model at a time whatever NUM_PARALLEL is.
func (m Model) serial() bool {
	return !m.can("completion") || m.mlx() || slices.Contains(serialFamilies, m.Family)
}

// serialFamilies is the list in Ollama's server/sched.go, v0.33.0.
var serialFamilies = []string{
	"mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe",
	"nemotron_h", "nemotron_h_moe", "nemotron_h_omni",
}

func hexHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// name is a model's name taken apart as Ollama does: [host/][namespace/]model[:tag].
type name struct{ host, namespace, model, tag string }

const (
	defaultHost      = "registry.ollama.ai"
	defaultNamespace = "library"
	defaultTag       = "latest"
)

func parseName(text string) (name, bool) {
	n := name{defaultHost, defaultNamespace, "", defaultTag}
	if i := strings.LastIndex(text, ":"); i > strings.LastIndex(text, "/") {
		text, n.tag = text[:i], text[i+1:]
	}
	parts := strings.Split(text, "/")
	switch len(parts) {
	case 1:
	case 2:
		n.namespace = parts[0]
	case 3:
		n.host, n.namespace = parts[0], parts[1]
	default:
		return n, false
	}
	n.model = parts[len(parts)-1]
	return n, validPart(n.host, 350, ".:") && validPart(n.namespace, 80, "") && validPart(n.model, 80, ".") && validPart(n.tag, 80, ".")
}

// validPart is isValidPart of types/model/name.go: letters, digits and underscores, and after the first of them
// dashes and the bytes in extra.
func validPart(s string, most int, extra string) bool {
	for i := range len(s) {
		c := s[i]
		word := c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !word && (i == 0 || c != '-' && strings.IndexByte(extra, c) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// key is the same for all spellings of a name.
func (n name) key() string {
	return strings.ToLower(n.host + "/" + n.namespace + "/" + n.model + ":" + n.tag)
}

// short is how Ollama shows the name.
func (n name) short() string {
	s := n.model + ":" + n.tag
	if n.namespace != defaultNamespace || n.host != defaultHost {
		s = n.namespace + "/" + s
	}
	if n.host != defaultHost {
		s = n.host + "/" + s
	}
	return s
}
