package observe

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// writes counts what reaches the writer below.
type writes struct {
	mu   sync.Mutex
	text strings.Builder
	n    int
	err  error
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	w.text.Write(p)
	return len(p), w.err
}

func (w *writes) got() (n int, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n, w.text.String()
}

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var below writes
		l := NewLines(&below)
		write := func(s string) {
			if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		write("one\n")
		write("two\n")
		if n, _ := below.got(); n != 0 {
			t.Error("a line was written alone")
		}
		time.Sleep(lineDelay)
		synctest.Wait()
		if n, text := below.got(); n != 1 || text != "one\ntwo\n" {
			t.Errorf("%d writes: %q", n, text)
		}
		// Many bytes do not wait.
		write(strings.Repeat("x", lineBytes))
		if n, _ := below.got(); n != 2 {
			t.Errorf("%d writes", n)
		}
		write("last\n")
		if err := l.Flush(); err != nil {
			t.Error(err)
		}
		if _, text := below.got(); !strings.HasSuffix(text, "last\n") {
			t.Errorf("%q", text)
		}
		below.err = errors.New("disk full")
		write("lost\n")
		if err := l.Flush(); !errors.Is(err, below.err) {
			t.Errorf("%v", err)
		}
	})
}
