package config

import (
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const canary = "C4n4ryS3cr3t"

// delicate holds the canary wherever a secret may be.
const delicate = `listen: :1 # the address
instances:
  - name: a
    url: http://10.0.0.5
    headers:
      Authorization: Bearer C4n4ryS3cr3t
      X-Quoted: "C4n4ryS3cr3t, more"
      X-Folded: >
        one
        C4n4ryS3cr3t
    roles: [embed]
  - {name: mini, url: "https://mini.lan", headers: {Authorization: "Basic C4n4ryS3cr3t", X-Plain: C4n4ryS3cr3t}, models: ["qwen3:*"]}
  - name: b
    url: https://b/x
    headers: {A: 'C4n4ryS3cr3t',
      B: C4n4ryS3cr3t}
    limit: 3
    # headers: {Authorization: C4n4ryS3cr3t}
    slots: 4
    client_cert:
      cert: b.pem
      key: |
        -----BEGIN PRIVATE KEY-----
        C4n4ryS3cr3t
        -----END PRIVATE KEY-----
  - url: http://user:C4n4ryS3cr3t@10.0.0.7:11434
queue: {max_waiting: 100}
`

func TestMaskHides(t *testing.T) {
	if got := maskAll(delicate); strings.Contains(got, canary) {
		t.Errorf("shown:\n%s", got)
	}
}

func maskAll(src string) string {
	var b strings.Builder
	for _, l := range hideSecrets(strings.Split(src, "\n")) {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

// However a file is mistyped, its secrets stay hidden, in the message and in every line that could be drawn.
func TestMistypedFilesHideSecrets(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		src := delicate
		for range rapid.IntRange(1, 3).Draw(rt, "mistakes") {
			src = mistype(rt, src)
		}
		if got := maskAll(src); strings.Contains(got, canary) {
			rt.Fatalf("shown:\n%s\nin:\n%s", got, src)
		}
		_, err := Load(Options{Path: write(t, filepath.Join(dir, "c.yaml"), src)})
		if err != nil && strings.Contains(err.Error(), canary) {
			rt.Fatalf("shown: %v", err)
		}
	})
}

// mistype removes, repeats, swaps or inserts one character outside of the canaries.
func mistype(t *rapid.T, src string) string {
	i := rapid.IntRange(0, len(src)-2).Draw(t, "at")
	if start := strings.LastIndex(src[:min(len(src), i+len(canary))], canary); start >= 0 && i+1 >= start && i < start+len(canary) {
		return src
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return src[:i] + src[i+1:]
	case 1:
		return src[:i] + src[i:i+1] + src[i:]
	case 2:
		return src[:i] + src[i+1:i+2] + src[i:i+1] + src[i+2:]
	default:
		return src[:i] + rapid.SampledFrom(strings.Split("\"'{}[]:,#\n\t -&*|>?!%@\\=", "")).Draw(t, "char") + src[i:]
	}
}

func TestColumnOfMaskedLine(t *testing.T) {
	src := `  - {name: mini, headers: {A: S3cr3t, B: "S3cr3t"}, slots: x}`
	masked := hideSecrets([]string{"instances:", src})[1]
	f := func(word string) {
		t.Helper()
		got, want := masked.column(strings.Index(src, word)+1), strings.Index(masked.String(), word)+1
		if want == 0 || got != want {
			t.Errorf("%s: column %d, want %d in %s", word, got, want, masked)
		}
	}
	f("name")
	f("A:")
	f("B:")
	f("slots")
	f("x}")
}

func TestClip(t *testing.T) {
	line := strings.Repeat("a", 500) + "X" + strings.Repeat("b", 500)
	text, caret := clip(line, 501)
	if r := []rune(text); len(r) > maxLine+2 || r[caret-1] != 'X' {
		t.Errorf("caret at %q of %s", r[caret-1], text)
	}
	if text, _ := clip("a\x1b[31m\tb", 1); text != "a\uFFFD[31m b" {
		t.Errorf("got %q", text)
	}
}

func TestQuotedStopsAtOtherSettings(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := quoted(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("many", `"many"`)
	f("a headers: {A: b}", `"a headers…"`)
	f("a\nb", `"a…"`)
	f("user:pw@host", `the value`)
	f(strings.Repeat("é", 100), `"`+strings.Repeat("é", 60)+`…"`)
}
