package observe

import (
	"io"
	"sync"
	"time"
)

const (
	lineDelay = 100 * time.Millisecond // how long a line may wait for others
	lineBytes = 32 << 10               // how many bytes may wait
)

// Lines gathers log lines and writes them together, because under load a system call for every request's line
// costs more than the line. Safe for concurrent use; Flush before the process ends.
type Lines struct {
	mu      sync.Mutex
	w       io.Writer
	pending []byte
	timer   *time.Timer
}

// NewLines gathers lines for w.
func NewLines(w io.Writer) *Lines {
	l := &Lines{w: w}
	l.timer = time.AfterFunc(time.Hour, func() { _ = l.Flush() })
	l.timer.Stop()
	return l
}

// Write takes one line or more. An error of the writer below is reported by a later call.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		l.timer.Reset(lineDelay)
	}
	l.pending = append(l.pending, p...)
	if len(l.pending) < lineBytes {
		return len(p), nil
	}
	return len(p), l.flush()
}

// Flush writes what waits.
func (l *Lines) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flush()
}

func (l *Lines) flush() error {
	if len(l.pending) == 0 {
		return nil
	}
	_, err := l.w.Write(l.pending)
	l.pending = l.pending[:0]
	return err
}
