package fleet

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"corral/internal/config"
)

func TestCompareVersions(t *testing.T) {
	ordered := []string{"0.9.6", "0.10.0", "0.33.0-rc1", "0.33.0-rc2", "0.33.0", "0.33.1", "1.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			got := compareVersions(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareVersions(%s, %s) = %d", a, b, got)
			}
		}
	}
}

func TestCompareTimes(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got := compareTimes(a, b); got != want {
			t.Errorf("compareTimes(%s, %s) = %d, want %d", a, b, got, want)
		}
	}
	f("2026-11-23T10:00:00Z", "2026-11-23T11:00:00+02:00", 1)
	f("2026-11-23T10:00:01.2Z", "2026-11-23T10:00:00.9Z", 1)
	f("2026-11-23T10:00:00.5Z", "2026-11-23T10:00:00.25Z", 0) // Ollama looks at seconds
	f("2026-11-23T10:00:00Z", "2026-11-23T12:00:00+02:00", 0)
	f("a", "b", -1) // not times: any order will do, as long as it is one
}

// TestDetails: what identifies a model's weights and how it must be run.
func TestDetails(t *testing.T) {
	const a, b = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
	f := func(s showAnswer, weights, signature string, embeds bool) {
		t.Helper()
		got := s.details("sha256:" + strings.Repeat("d", 64))
		if got.weights != weights || got.signature != signature || got.embeds != embeds {
			t.Errorf("%+v is %+v", s, got)
		}
	}
	f(showAnswer{Modelfile: "# comment\nFROM /models/blobs/sha256-" + a + "\nTEMPLATE x"}, "aaaaaaaaaaaa", "", false)
	f(showAnswer{Modelfile: `FROM C:\models\blobs\sha256-` + a}, "aaaaaaaaaaaa", "", false)
	// An adapter makes other weights of it.
	f(showAnswer{Modelfile: "FROM /b/sha256-" + a + "\nADAPTER /b/sha256-" + b}, "aaaaaaaaaaaa+bbbbbbbbbbbb", "", false)
	// A name whose weights are no single blob stands for itself.
	f(showAnswer{Modelfile: "FROM some-model"}, "dddddddddddd", "", false)
	f(showAnswer{Modelfile: "FROM x", Parameters: "num_ctx                        8192\nstop  \"x\"", Capabilities: []string{"completion", "tools"}},
		"dddddddddddd", `{"num_ctx":8192}`, false)
	f(showAnswer{Capabilities: []string{"embedding"}}, "dddddddddddd", "", true)
}

// TestSlotsOf is traps 2 and 22: what Ollama runs one at a time has one slot, whatever is configured.
func TestSlotsOf(t *testing.T) {
	f := func(want, slots int, show string) {
		t.Helper()
		var s showAnswer
		if err := json.Unmarshal([]byte(show), &s); err != nil {
			t.Fatal(err)
		}
		m := &model{details: s.details("sha256:d")}
		if got := slotsOf(config.Instance{Slots: slots}, m); got != want {
			t.Errorf("%d configured, %s: %d, want %d", slots, show, got, want)
		}
	}
	const language = `{"capabilities":["completion","tools"],"details":{"format":"gguf","family":"llama"}}`
	f(1, 0, language)
	f(4, 4, language)
	f(4, 4, `{"details":{"format":"gguf","family":"llama"}}`) // of an Ollama that tells no capabilities
	f(1, 4, `{"capabilities":["embedding"],"details":{"format":"gguf","family":"bert"}}`)
	f(1, 4, `{"capabilities":["image"],"details":{}}`)
	f(1, 4, `{"capabilities":["completion","vision"],"details":{"format":"gguf","family":"qwen3vl"}}`)
	f(1, 4, `{"capabilities":["completion"],"details":{"format":"safetensors","family":"LlamaForCausalLM"}}`)
	f(4, 4, `{"capabilities":["completion","vision"],"details":{"format":"gguf","family":"qwen25vl"}}`)
}

// TestPins is trap 3: which loads stick.
func TestPins(t *testing.T) {
	for signature, want := range map[string]bool{
		"": false, `{"num_ctx":8192}`: false, `{"num_gpu":0}`: true, `{"num_ctx":8192,"num_gpu":7}`: true, `{"num_gpu":-1}`: false,
	} {
		if got := pins(signature); got != want {
			t.Errorf("%s: %v", signature, got)
		}
	}
}

func TestShortName(t *testing.T) {
	long := strings.Repeat("x", 300)
	if got := shortName(long + "1"); len(got) != maxName || got == shortName(long+"2") {
		t.Errorf("%q", got)
	}
	if got := shortName("m:latest"); got != "m:latest" {
		t.Errorf("%q", got)
	}
}

func TestLoadQuestion(t *testing.T) {
	path, q := loadQuestion(&model{name: "m"}, `{"num_ctx":8192,"shift":false}`)
	if path != "/api/generate" || q["stream"] != false || q["shift"] == nil || q["options"] == nil || q["keep_alive"] != nil {
		t.Errorf("%s %v", path, q)
	}
	path, q = loadQuestion(&model{name: "e", details: details{embeds: true}}, "")
	if path != "/api/embed" || q["input"] == nil || q["options"] != nil {
		t.Errorf("%s %v", path, q)
	}
}

// TestTransport is trap 11: no timeout for headers, no compression, HTTP/1.1 only.
func TestTransport(t *testing.T) {
	target, err := newTarget(config.Instance{Name: "a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := target.Client.(*http.Transport)
	if tr.ResponseHeaderTimeout != 0 || !tr.DisableCompression || tr.Protocols.HTTP2() || tr.Proxy != nil {
		t.Errorf("%+v", tr)
	}
	if _, err := newTarget(config.Instance{Name: "a", CAPEM: []byte("no certificate")}, nil); err == nil {
		t.Error("a CA without a certificate is accepted")
	}
	if _, err := newTarget(config.Instance{Name: "a", ClientCertPEM: []byte("x"), ClientKeyPEM: []byte("y")}, nil); err == nil {
		t.Error("a broken client certificate is accepted")
	}
}

func TestJitter(t *testing.T) {
	for range 1000 {
		if d := jitter(10 * time.Second); d < 8*time.Second || d > 12*time.Second {
			t.Fatalf("jitter(10s) = %s", d)
		}
	}
}

// TestRowAs: a row under another name keeps everything else.
func TestRowAs(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		row := Row{Raw: []byte(raw)}
		if err := json.Unmarshal(row.Raw, &row); err != nil {
			t.Fatal(err)
		}
		got := row.As("gpt-4o")
		if string(got.Raw) != want || got.Canonical() != "gpt-4o:latest" {
			t.Errorf("%s is %s, canonical %s", raw, got.Raw, got.Canonical())
		}
		if string(row.Raw) != raw || row.Canonical() != "m:latest" {
			t.Errorf("the original is now %s", row.Raw)
		}
	}
	f(`{"name":"m","model":"m","size":5,"details":{"name":"x"}}`, `{"details":{"name":"x"},"model":"gpt-4o","name":"gpt-4o","size":5}`)
	f(`{"id":"m","object":"model"}`, `{"id":"gpt-4o","object":"model"}`)
}
