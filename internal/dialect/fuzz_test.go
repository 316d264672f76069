package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The structs below have the shape of Ollama's request types in the fields that
// Parse reads. They are the oracle: whatever they bind, Parse must read alike.

type duration struct{ time.Duration }

func (d *duration) UnmarshalJSON(b []byte) (err error) {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch t := v.(type) {
	case float64:
		if d.Duration = time.Duration(t * float64(time.Second)); t < 0 {
			d.Duration = math.MaxInt64
		}
	case string:
		d.Duration, err = time.ParseDuration(t)
	default:
		err = errors.New("unsupported type")
	}
	return err
}

type generateRequest struct {
	Model     string         `json:"model"`
	Prompt    string         `json:"prompt"`
	Stream    *bool          `json:"stream,omitempty"`
	KeepAlive *duration      `json:"keep_alive,omitempty"`
	Options   map[string]any `json:"options"`
	Shift     *bool          `json:"shift,omitempty"`
}

type chatRequest struct {
	Model     string           `json:"model"`
	Messages  []map[string]any `json:"messages"`
	Stream    *bool            `json:"stream,omitempty"`
	KeepAlive *duration        `json:"keep_alive,omitempty"`
	Options   map[string]any   `json:"options"`
	Shift     *bool            `json:"shift,omitempty"`
}

type embedRequest struct {
	Model     string         `json:"model"`
	Input     any            `json:"input"`
	KeepAlive *duration      `json:"keep_alive,omitempty"`
	Options   map[string]any `json:"options"`
}

type embeddingRequest struct {
	Model     string         `json:"model"`
	Prompt    string         `json:"prompt"`
	KeepAlive *duration      `json:"keep_alive,omitempty"`
	Options   map[string]any `json:"options"`
}

type openAIRequest struct { // /v1/chat/completions, /v1/messages
	Model    string           `json:"model"`
	Messages []map[string]any `json:"messages"`
	Stream   bool             `json:"stream"`
}

type completionRequest struct {
	Model  string `json:"model"`
	Prompt string `json:"prompt"`
	Stream bool   `json:"stream"`
}

type imageRequest struct {
	Model  string `json:"model"`
	Prompt string `json:"prompt"`
}

type openAIEmbedRequest struct {
	Input any    `json:"input"`
	Model string `json:"model"`
}

type responsesRequest struct {
	Model  string `json:"model"`
	Input  any    `json:"input"`
	Stream *bool  `json:"stream,omitempty"`
}

// bound is what a handler of Ollama's has after binding.
type bound struct {
	want    Envelope
	options map[string]any
	shift   *bool
}

func bind(k kind, body []byte) (b bound, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	switch e := &b.want; k {
	case generate:
		var r generateRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model, Stream: r.Stream == nil || *r.Stream, Empty: r.Prompt == "", KeepAliveZero: isZero(r.KeepAlive)}
		b.options, b.shift = r.Options, r.Shift
	case chat:
		var r chatRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model, Stream: r.Stream == nil || *r.Stream, Empty: len(r.Messages) == 0, KeepAliveZero: isZero(r.KeepAlive)}
		b.options, b.shift = r.Options, r.Shift
	case embed:
		var r embedRequest
		err = dec.Decode(&r)
		n := count(r.Input)
		if r.Input == "" {
			n = 0
		}
		*e = Envelope{Model: r.Model, Empty: n == 0, Inputs: n, KeepAliveZero: isZero(r.KeepAlive)}
		b.options = r.Options
	case embeddings:
		var r embeddingRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model, Empty: r.Prompt == "", Inputs: min(1, len(r.Prompt)), KeepAliveZero: isZero(r.KeepAlive)}
		b.options = r.Options
	case images:
		var r imageRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model}
	case chatCompletions, messages:
		var r openAIRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model, Stream: r.Stream}
	case completions:
		var r completionRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model, Stream: r.Stream, Empty: r.Prompt == ""}
	case openAIEmbeddings:
		var r openAIEmbedRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model, Inputs: count(r.Input)}
	case responses:
		var r responsesRequest
		err = dec.Decode(&r)
		*e = Envelope{Model: r.Model, Stream: r.Stream != nil && *r.Stream}
	}
	b.want.Unload = b.want.Empty && b.want.KeepAliveZero
	return b, err
}

func isZero(d *duration) bool { return d != nil && d.Duration == 0 }

func count(input any) int {
	switch v := input.(type) {
	case nil:
		return 0
	case []any:
		return len(v)
	}
	return 1
}

// signature is what the load options of a bound request come to.
func (b bound) signature() string {
	m := map[string]any{}
	for _, name := range loadNames {
		switch v := b.options[name].(type) {
		case float64:
			if name != "use_mmap" {
				m[name], _ = integer(string(marshal(v)))
			}
		case bool:
			if name == "use_mmap" {
				m[name] = v
			}
		}
	}
	if b.shift != nil {
		m["shift"] = *b.shift
	}
	if len(m) == 0 {
		return ""
	}
	return string(marshal(m)) // sorts names
}

var loadNames = [...]string{"draft_num_predict", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread", "use_mmap"}

func FuzzParse(f *testing.F) {
	for _, body := range []string{
		`{"model":"m","prompt":"p","options":{"num_ctx":4096,"num_batch":null,"seed":1},"keep_alive":"5m","shift":false}`,
		`{"MODEL":"m","messages":[{"role":"user","content":"\"done\":true"}],"stream":false,"keep_alive":-1} x`,
		`{"model":"m","input":["a",["b"],{}],"options":{"num_ctx":null},"options":null,"OPTIONS":{"use_mmap":true}}`,
		`{"\u006Dodel":"\ud800\n","ſtream":true,"Keep_alive":0.0000000001,"promp\u0074":""}`,
		`{"options":{"num_gpu":-1.5e3,"num_gpu":null,"num_thread":null},"options":{"num_thread":1e400}}`,
		`{"options":{"num_thread":null,"\u006eum_ctx":null , "x":null},"input":""} {}`,
		`{"model":null,"stream":null,"keep_alive":null,"options":null,"messages":null,"shift":null}`,
		"null\n", "nullx", "[]", "{}", `{"a":[[[]]]}`, "{\"model\":\"\xff\"}", `{"keep_alive":"-0h"}`, `{"keep_alive":1e-10}`,
	} {
		for i := range inferencePaths {
			f.Add(uint8(i), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		checkParse(t, route(t, inferencePaths[int(which)%len(inferencePaths)]), body)
	})
}

func checkParse(t *testing.T, r Route, body []byte) {
	before := string(body)
	got, err := r.Parse(body)
	if string(body) != before {
		t.Fatal("Parse wrote to the body")
	}
	oracle, oracleErr := bind(r.kind, body)
	var syntax json.RawMessage
	if json.NewDecoder(bytes.NewReader(body)).Decode(&syntax) != nil && err == nil {
		t.Fatalf("%s: accepted what is not JSON", r.Path)
	}
	if err != nil {
		if oracleErr == nil {
			t.Fatalf("%s: rejected what Ollama accepts: %v", r.Path, err)
		}
		return
	}
	if oracleErr != nil {
		return
	}
	oracle.want.Signature = oracle.signature()
	if !sameEnvelope(got, oracle.want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", r.Path, got, oracle.want)
	}
	checkSent(t, r, got, oracle)
}

// checkSent binds the body that goes upstream: the same request, without load
// options that are null, and without a keep_alive of 0 that comes with work.
func checkSent(t *testing.T, r Route, got Envelope, before bound) {
	after, err := bind(r.kind, got.Body)
	if err != nil {
		t.Fatalf("%s: sends what Ollama rejects: %v\n%s", r.Path, err, got.Body)
	}
	for _, name := range loadNames {
		if v, ok := before.options[name]; ok && v == nil {
			delete(before.options, name)
		}
	}
	// An absent and an empty map are the same to Ollama.
	if len(before.options)+len(after.options) > 0 && !maps.EqualFunc(before.options, after.options, reflect.DeepEqual) {
		t.Fatalf("%s: options %v became %v", r.Path, before.options, after.options)
	}
	if !before.want.Empty { // a keep_alive of 0 that comes with work stays here
		before.want.KeepAliveZero = false
	}
	before.want.Signature = ""
	if !sameEnvelope(after.want, before.want) {
		t.Fatalf("%s: %+v became %+v", r.Path, before.want, after.want)
	}
}

func FuzzDropMembers(f *testing.F) {
	f.Add([]byte(`{"d1":1, "k":2 ,"d2":[] , "d3":{"d":1}}`))
	f.Add([]byte(`{ "d":1 , "k":2, "d":3, "k2":"d" }`))
	f.Fuzz(func(t *testing.T, obj []byte) {
		var want map[string]json.RawMessage
		if s := (scanner{b: obj}); s.peek() != '{' || !s.object(0, nil) || s.i != len(obj) || json.Unmarshal(obj, &want) != nil {
			return
		}
		drop := func(name []byte) bool { return bytes.HasPrefix(name, []byte("d")) }
		got := dropMembers(nil, obj, drop)
		maps.DeleteFunc(want, func(name string, _ json.RawMessage) bool { return strings.HasPrefix(name, "d") })
		var kept map[string]json.RawMessage
		if err := json.Unmarshal(got, &kept); err != nil {
			t.Fatalf("%s became %s: %v", obj, got, err)
		}
		if !reflect.DeepEqual(kept, want) {
			t.Fatalf("%s became %s", obj, got)
		}
	})
}
