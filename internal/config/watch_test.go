package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// watched runs a watcher without polling and returns the channel of its calls.
func watched(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	w, err := NewWatcher(path)
	if err != nil {
		t.Fatal(err)
	}
	w.poll = 1000 * time.Hour // so that an event that is not noticed hangs the test
	ctx, cancel := context.WithCancel(context.Background())
	calls, done := make(chan struct{}), make(chan error)
	go func() {
		done <- w.Run(ctx, func() {
			select {
			case calls <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	})
	return calls
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchWrite(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "c.yaml"), "listen: :1\n")
	calls := watched(t, path)
	write(t, path, "listen: :2\n")
	<-calls
	write(t, path, "listen: :3\n")
	<-calls
}

func TestWatchReplace(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "c.yaml"), "listen: :1\n")
	calls := watched(t, path)
	for _, text := range []string{"listen: :2\n", "listen: :3\n"} {
		must(t, os.Rename(write(t, filepath.Join(dir, "c.yaml.tmp"), text), path))
		<-calls
	}
}

// A file that is deleted, or made empty on the way to new content, is not a change.
func TestWatchDeletion(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "c.yaml"), "listen: :1\n")
	w, err := NewWatcher(path)
	must(t, err)
	defer w.Close()
	f := func(want bool) {
		t.Helper()
		if got := w.changed(); got != want {
			t.Errorf("changed: %v", got)
		}
	}
	f(false)
	must(t, os.Remove(path))
	f(false)
	write(t, path, "")
	f(false)
	write(t, path, "listen: :1\n")
	f(false)
	write(t, path, "listen: [\n")
	f(true)
	f(false)
}

func TestWatchDeletedThenBack(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "c.yaml"), "listen: :1\n")
	calls := watched(t, path)
	must(t, os.Remove(path))
	write(t, path, "listen: :2\n")
	<-calls
}

// Kubernetes: c.yaml -> ..data/c.yaml, ..data -> ..1; a new folder is made and ..data renamed over.
func TestWatchConfigMap(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	publish := func(version, text string) {
		t.Helper()
		must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
		write(t, filepath.Join(dir, version, "c.yaml"), text)
		must(t, os.Symlink(version, filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	publish("..1", "listen: :1\n")
	must(t, os.Symlink(filepath.Join("..data", "c.yaml"), path))
	calls := watched(t, path)
	publish("..2", "listen: :2\n")
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	<-calls
	publish("..3", "listen: :3\n")
	<-calls
}

// A link to a file elsewhere, whose folder is not the link's.
func TestWatchLink(t *testing.T) {
	target := write(t, filepath.Join(t.TempDir(), "real.yaml"), "listen: :1\n")
	path := filepath.Join(t.TempDir(), "c.yaml")
	must(t, os.Symlink(target, path))
	calls := watched(t, path)
	write(t, target, "listen: :2\n")
	<-calls
}

func TestWatchSecretFile(t *testing.T) {
	secrets := t.TempDir()
	token := write(t, filepath.Join(secrets, "token"), "one")
	path := write(t, filepath.Join(t.TempDir(), "c.yaml"), "instances: [{url: h}]\n")
	calls := watched(t, path)
	write(t, path, "instances: [{url: h, headers: {A: \"file:"+token+"\"}}]\n")
	<-calls
	write(t, token, "two")
	<-calls
}

func TestWatchStops(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "c.yaml"), "listen: :1\n")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w, err := NewWatcher(path)
	must(t, err)
	must(t, w.Run(ctx, func() { t.Error("called") }))
	if _, err := NewWatcher(filepath.Join(t.TempDir(), "no", "c.yaml")); err == nil {
		t.Error("a folder that does not exist can be watched")
	}
}

func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var looks []time.Duration
		events := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go settle(ctx, events, time.Minute, func() { looks = append(looks, time.Since(start)) })
		at := func(d time.Duration) { <-time.After(d - time.Since(start)); events <- struct{}{} }

		at(1 * time.Second) // a burst: one look, quietTime after its last event
		at(1100 * time.Millisecond)
		at(1250 * time.Millisecond)
		for d := 10 * time.Second; d < 13*time.Second; d += 150 * time.Millisecond {
			at(d) // never quiet: a look maxDelay after the first event
		}
		<-time.After(2 * time.Minute)
		cancel()
		synctest.Wait()
		want := []time.Duration{1450 * time.Millisecond, 12 * time.Second}
		for i, w := range want {
			if i >= len(looks) || looks[i] != w {
				t.Fatalf("looked at %v, want %v first", looks, want)
			}
		}
		if n := len(looks); n != 4 && n != 5 { // the burst's rest, then polls a minute apart
			t.Errorf("looked at %v", looks)
		}
	})
}
