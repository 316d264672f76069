package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func addrs(t *testing.T, texts ...string) []netip.Addr {
	t.Helper()
	var parsed []netip.Addr
	for _, text := range texts {
		parsed = append(parsed, netip.MustParseAddr(text))
	}
	return parsed
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	const secret = "S3cr3t"
	i := Instance{Name: "a", URL: &url.URL{Scheme: "http", Host: "a:1"},
		Headers: map[string]Secret{"Authorization": secret}, ClientKeyPEM: SecretBytes(secret)}
	c := &Config{Instances: []Instance{i}}
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{*c, c, i, i.Headers, i.Headers["Authorization"], i.ClientKeyPEM} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
	}
	for _, v := range []any{c, i.Headers["Authorization"], i.ClientKeyPEM} {
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(encoded))
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		texts = append(texts, b.String())
	}
	texts = append(texts, Changes(&Config{}, c)...)
	for _, text := range texts {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), "83 51 99", "0x53, 0x33", "UzNjcjN0"} {
			if strings.Contains(text, form) {
				t.Errorf("shown: %s", text)
			}
		}
	}
	if i.Headers["Authorization"].Reveal() != secret || string(i.ClientKeyPEM) != secret {
		t.Error("the secret itself is lost")
	}
}

func TestByteSize(t *testing.T) {
	f := func(text string, want ByteSize, back string) {
		t.Helper()
		got, err := ParseByteSize(text)
		if err != nil || got != want || got.String() != back {
			t.Errorf("%q: got %d, %s, %v", text, got, got, err)
		}
	}
	f("0", 0, "0")
	f("1000001", 1000001, "1000001")
	f("64KiB", 64<<10, "64KiB")
	f("10MB", 10e6, "10MB")
	f("1.5 GiB", 3<<29, "1536MiB")
	f("2g", 2<<30, "2GiB")
	f("512Mi", 512<<20, "512MiB")
	f("12b", 12, "12")
	for _, bad := range []string{"", "GiB", "-1", "1e3", "1.2.3", "0x10", "1 XB", "99999999999TiB", "inf"} {
		if got, err := ParseByteSize(bad); err == nil {
			t.Errorf("%q: got %d", bad, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		size := ByteSize(rapid.Int64Range(0, 1<<62).Draw(t, "size"))
		var again ByteSize
		text, _ := size.MarshalText()
		if err := again.UnmarshalText(text); err != nil || again != size {
			t.Fatalf("%d -> %s -> %d, %v", size, text, again, err)
		}
	})
}

func TestServes(t *testing.T) {
	f := func(model string, want bool, globs ...string) {
		t.Helper()
		if got := (Instance{Models: globs}).Serves(model); got != want {
			t.Errorf("%s in %q: got %v", model, globs, got)
		}
	}
	f("anything:latest", true)
	f("qwen3:4b", true, "qwen3:*")
	f("qwen3:4b", true, "llama3", "Qwen3:4B")
	f("qwen3:4b", false, "qwen3")
	f("qwen3:latest", true, "qwen3")
	f("hf.co/x/y:q4", true, "hf.co/*")
	f("hf.co/x/y:q4", true, "*/y:q?")
	f("hf.co/x/y:q4", false, "*/y")
	f("aab:latest", true, "*a*b:l*t")
	f("aab:latest", false, "*a*c*")
}

// Equal must know every field: a forgotten one would make a reload miss a change.
func TestEqual(t *testing.T) {
	full := func() Instance {
		return Instance{Name: "a", URL: &url.URL{Scheme: "http", Host: "a:1"}, Roles: []string{"embed"}, Slots: 1, Limit: 1, Models: []string{"m"}, MaxModel: 1,
			Headers: map[string]Secret{"A": "b"}, CA: "c", ClientCert: "d", ClientKey: "e",
			CAPEM: []byte("f"), ClientCertPEM: []byte("g"), ClientKeyPEM: SecretBytes("h")}
	}
	if !full().Equal(full()) {
		t.Error("not equal to itself")
	}
	for f := range reflect.TypeFor[Instance]().NumField() {
		changed := full()
		v := reflect.ValueOf(&changed).Elem()
		if v.Field(f).IsZero() {
			t.Errorf("%s is not set in this test", v.Type().Field(f).Name)
		}
		v.Field(f).SetZero()
		if changed.Equal(full()) {
			t.Errorf("a change of %s is not noticed", v.Type().Field(f).Name)
		}
		if f > 0 && len(full().differences(changedURL(changed))) == 0 {
			t.Errorf("a change of %s is not said", v.Type().Field(f).Name)
		}
	}
}

// changedURL gives an instance whose URL was removed another one.
func changedURL(i Instance) Instance {
	if i.URL == nil {
		i.URL = &url.URL{Scheme: "http", Host: "z:1"}
	}
	return i
}

func TestChanges(t *testing.T) {
	u := func(host string) *url.URL { return &url.URL{Scheme: "http", Host: host} }
	old := &Config{Listen: ":1", Hosts: []string{"h"}, Queue: Queue{1, 1 << 30, 1 << 20}, Instances: []Instance{
		{Name: "a", URL: u("a:1"), Slots: 2, Headers: map[string]Secret{"X": "1", "Y": "1", "W": "1"}}, {Name: "gone", URL: u("g:1")}, {Name: "same", URL: u("s:1")}}}
	now := &Config{Listen: ":2", Queue: Queue{2, 2 << 30, 1 << 20}, Instances: []Instance{{Name: "same", URL: u("s:1")},
		{Name: "a", URL: u("a:2"), Slots: 4, Limit: 3, Headers: map[string]Secret{"X": "2", "Z": "1", "W": "1"}}, {Name: "b", URL: u("b:1")}}}
	want := []string{
		"listen changed: :1 -> :2: takes effect after a restart",
		"hosts changed: [h] -> []",
		"instance a changed: url http://a:1 -> http://a:2; slots 2 -> 4; limit not stated -> 3; header X; header Z added; header Y removed",
		"instance b added",
		"instance gone removed",
		"queue.max_waiting changed: 1 -> 2",
		"queue.max_bytes changed: 1GiB -> 2GiB",
	}
	if diff := cmp.Diff(want, Changes(old, now)); diff != "" {
		t.Error(diff)
	}
	if got := Changes(old, old); len(got) != 0 {
		t.Errorf("no change: got %q", got)
	}
}

// Every key of the schema is one that the reader knows, and the other way round.
func TestSchemaIsComplete(t *testing.T) {
	for _, s := range sections() {
		for _, k := range s.keys {
			text := map[string]string{"": k.name + ": null\n", "instances[]": "instances: [{" + k.name + ": null}]\n",
				"client_cert": "instances: [{client_cert: {" + k.name + ": null}}]\n", "queue": "queue: {" + k.name + ": null}\n"}[s.name]
			if _, err := readFile(newDocument("x", []byte(text))); err != nil {
				t.Error(err)
			}
		}
	}
	if !slices.Contains(keysOf(""), "listen") {
		t.Error("no keys")
	}
}
