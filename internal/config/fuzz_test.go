package config

import (
	"os"
	"path/filepath"
	"testing"
)

func FuzzLoad(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.yaml")
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add(Example())
	f.Add([]byte(delicate))
	f.Add([]byte("instances: &a\n- *a\n"))
	f.Add([]byte("instances:\n- &a\n  headers: *a\n"))
	f.Add([]byte("a: &a *a\n"))
	path := filepath.Join(f.TempDir(), "corral.yaml")
	f.Fuzz(func(t *testing.T, src []byte) {
		if err := os.WriteFile(path, src, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Options{Path: path})
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		if err != nil {
			_ = err.Error()
			return
		}
		if changes := Changes(c, c); len(changes) > 0 || len(c.Instances) == 0 {
			t.Fatalf("got %q, %d instances", changes, len(c.Instances))
		}
		_, _ = filesOf(path, src)
	})
}
