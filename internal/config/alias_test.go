package config

import (
	"path/filepath"
	"testing"
)

func TestAlias(t *testing.T) {
	c, err := Load(Options{Path: write(t, filepath.Join(t.TempDir(), "c.yaml"), `
aliases:
  "claude-*": first
  "claude-haiku-*": second
  Claude-Haiku-5: exact
  tagged:latest: third
  "any?": fourth
`)})
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]string{
		"claude-sonnet-4": "first", "CLAUDE-haiku-4": "first", "claude-haiku-4:latest": "first", "claude-haiku-4:8b": "first",
		"claude-haiku-5": "exact", " claude-haiku-5:latest ": "exact", "claude-haiku-5:8b": "first",
		"tagged": "third", "tagged:latest": "third", "tagged:1": "", "any1": "fourth", "any1:latest": "fourth", "any12": "", "": "",
	} {
		if a, ok := c.Alias(asked); a.Model != want || ok != (want != "") {
			t.Errorf("%q: got %q, want %q", asked, a.Model, want)
		}
	}
}

func TestAliasesFromEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load(Options{Env: []string{"CORRAL_ALIASES=gpt-4o=llama3.1:8b, titles = qwen3:4b"}})
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := c.Alias("titles"); len(c.Aliases) != 2 || a.Model != "qwen3:4b" {
		t.Errorf("got %+v", c.Aliases)
	}
	for env, want := range map[string]string{
		"CORRAL_ALIASES=gpt-4o":      "CORRAL_ALIASES: entry 1: no model is named\n" + modelRemedy,
		"CORRAL_ALIASES=a=b,g p=x":   "CORRAL_ALIASES: entry 2: \"g p\" is not a name for an alias\n" + aliasRemedy,
		"CORRAL_ALIASES=a=b c":       "CORRAL_ALIASES: entry 1: not a model's name\n" + modelRemedy,
		"CORRAL_ALIASES=a=b,c=a":     "CORRAL_ALIASES: entry 2: \"a\" is an alias itself\nName the model that runs: an alias does not lead to another.",
		"CORRAL_ALIASES=a=b,A=other": "CORRAL_ALIASES: entry 2: \"a\" is an alias already\nKeep one of the two; upper and lower case are the same, and so is :latest.",
	} {
		if _, err := Load(Options{Env: []string{env}}); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", env, err, want)
		}
	}
}

func TestAliasChanges(t *testing.T) {
	old := &Config{Aliases: []Alias{{Name: "a", Model: "x"}, {Name: "b", Model: "x"}, {Name: "c", Model: "x"}}}
	now := &Config{Aliases: []Alias{{Name: "a", Model: "x"}, {Name: "b", Model: "y", NumCtx: 8}, {Name: "d", Model: "z"}}}
	got := Changes(old, now)
	want := []string{"alias b changed: x -> y, num_ctx 8", "alias d added: z", "alias c removed"}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %q", got)
	}
}
