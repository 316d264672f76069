package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	quietTime = 200 * time.Millisecond // without an event before the files are read: a save is several events
	maxDelay  = 2 * time.Second        // after the first event, when a busy folder never is quiet
	pollTime  = 10 * time.Second       // between looks without an event: network file systems send none
)

// Watcher notices that the content of a configuration file, or of a file that it names, changed.
//
// It watches folders, not files: editors replace a file, and Kubernetes swaps a link beside it
// whose name is not the file's. So any event leads to a look at the content.
type Watcher struct {
	path string
	fs   *fsnotify.Watcher
	sums map[string][sha256.Size]byte // of each file's last readable content
	also []string                     // files that the configuration names
	more []string                     // files that are named elsewhere
	poll time.Duration
}

// NewWatcher begins to watch the file at path ("" for none) and more files. Changes count from now on, so make it before Load,
// or one in between is missed. Run or Close must follow.
func NewWatcher(path string, more ...string) (*Watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	w := &Watcher{path: path, more: more, fs: fs, sums: map[string][sha256.Size]byte{}, poll: pollTime}
	w.changed()
	if path == "" {
		return w, nil
	}
	if err := fs.Add(filepath.Dir(path)); err != nil {
		_ = fs.Close()
		return nil, fmt.Errorf("watch the folder of %s: %w", path, err)
	}
	w.changed() // what happened before the folder was watched
	return w, nil
}

// Run calls onChange, one call at a time, until ctx ends. It closes the watcher.
func (w *Watcher) Run(ctx context.Context, onChange func()) error {
	events := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	var forwarder sync.WaitGroup
	forwarder.Go(func() { w.forward(ctx, events) })
	settle(ctx, events, w.poll, func() {
		if w.changed() {
			onChange()
		}
	})
	cancel()
	forwarder.Wait()
	return w.Close()
}

// Close ends a watcher that is not run.
func (w *Watcher) Close() error { return w.fs.Close() }

// forward turns the events of the file system into one pending signal.
func (w *Watcher) forward(ctx context.Context, events chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case event, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if event.Op == fsnotify.Chmod {
				continue // backup and index programs cause many
			}
		case _, ok := <-w.fs.Errors: // most likely events were lost: look
			if !ok {
				return
			}
		}
		select {
		case events <- struct{}{}:
		default:
		}
	}
}

// settle calls look once events have been quiet for quietTime, or maxDelay after the first of
// them; and every poll without any. It returns when ctx ends.
func settle(ctx context.Context, events <-chan struct{}, poll time.Duration, look func()) {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	var first time.Time // of the events that were not looked at yet
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if first.IsZero() {
				first = time.Now()
			}
			timer.Reset(max(0, min(quietTime, maxDelay-time.Since(first))))
		case <-timer.C:
			first = time.Time{}
			look()
			timer.Reset(poll)
		}
	}
}

// changed reads the files and reports whether the content of one differs from the last time. A file
// that is missing or empty is being replaced, and counts as it was.
func (w *Watcher) changed() bool {
	changed := false
	var src []byte
	var err error
	if w.path != "" {
		src, err = readConfig(w.path)
	}
	if err == nil && len(src) > 0 {
		changed = w.remember(w.path, src)
		if files, err := filesOf(w.path, src); err == nil {
			w.also = files
		}
	}
	for _, path := range slices.Concat(w.also, w.more) {
		if content, err := readRegular(path); err == nil && content != "" {
			changed = w.remember(path, []byte(content)) || changed
		}
	}
	w.watchFolders()
	return changed
}

func (w *Watcher) remember(path string, content []byte) bool {
	sum := sha256.Sum256(content)
	old, known := w.sums[path]
	w.sums[path] = sum
	return !known || sum != old
}

// watchFolders watches the folder of every file, and that of the file that a link leads to. One that
// is not there is tried again at the next look.
func (w *Watcher) watchFolders() {
	var folders []string
	for _, path := range slices.Concat([]string{w.path}, w.also, w.more) {
		if path == "" {
			continue
		}
		folders = append(folders, filepath.Dir(path))
		if target, err := filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(target))
		}
	}
	for _, folder := range w.fs.WatchList() {
		if !slices.Contains(folders, folder) {
			_ = w.fs.Remove(folder)
		}
	}
	for _, folder := range folders {
		if _, err := os.Stat(folder); err == nil {
			_ = w.fs.Add(folder)
		}
	}
}

// filesOf returns the files that a configuration names, without those that no longer can be read
// from it because it is broken.
func filesOf(path string, src []byte) ([]string, error) {
	s, err := readFile(newDocument(path, src))
	if err != nil {
		return nil, err
	}
	var files []string
	add := func(v value, prefixed bool) {
		name, ok := strings.CutPrefix(v.text, "file:")
		if v.set && (ok || !prefixed && !strings.HasPrefix(v.text, "env:")) {
			files = append(files, resolvePath(filepath.Dir(path), name))
		}
	}
	add(s.tlsCert, false)
	add(s.tlsKey, false)
	for _, i := range s.instances {
		for _, h := range i.headers {
			add(h.value, true)
		}
		for _, v := range []value{i.ca, i.cert, i.key} {
			add(v, false)
		}
	}
	return files, nil
}
