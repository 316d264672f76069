package relay

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"corral/internal/dialect"
)

const (
	// Buffer is how much of an answer may wait for a client that reads slower than its instance writes.
	Buffer = 4 << 20
	// Patience is how long a client may keep the buffer full: its slowness holds a slot.
	Patience = 30 * time.Second
)

// ErrSlowClient ends a stream whose client did not read.
var ErrSlowClient = errors.New("the client kept the buffer full for " + Patience.String())

// chunks are the read buffers of streams.
var chunks = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Stream copies an answer to the client as it comes, flushing every piece. The instance is read at full speed
// into a bounded buffer, so that its slot is free when the model is done, not when the client has read all:
// ended is called at that moment, once, with nil or the reason why the instance's side broke. tail, if any,
// sees every byte.
// Stream returns when the client has everything or can take no more, with the client's error.
func Stream(w http.ResponseWriter, body io.ReadCloser, tail *dialect.Tail, ended func(error)) error {
	s := &stream{more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	out := http.NewResponseController(w)
	go func() {
		defer close(s.more)
		err := s.read(body, tail)
		if errors.Is(err, ErrSlowClient) {
			_ = out.SetWriteDeadline(time.Unix(1, 0)) // wakes the writer
		}
		ended(err)
	}()
	err := s.write(w, out)
	if err != nil {
		s.fail(err)
		_ = body.Close() // wakes the reader
		for range s.more {
		}
	}
	return err
}

// stream is the buffer between the reader of an instance and the writer to a client.
type stream struct {
	mu      sync.Mutex
	pending []byte
	broken  error // the client's side has ended

	more chan struct{} // the reader added something; closed when it has ended
	room chan struct{} // the writer took what was pending, or failed
}

// read takes the answer as fast as it comes, until its end or until the client's side has ended.
func (s *stream) read(body io.ReadCloser, tail *dialect.Tail) error {
	defer body.Close()
	chunk := chunks.Get().(*[]byte)
	defer chunks.Put(chunk)
	for {
		n, err := body.Read(*chunk)
		if n > 0 {
			if tail != nil {
				tail.Write((*chunk)[:n])
			}
			if err := s.add((*chunk)[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add hands a piece to the writer, and waits while the buffer is full.
func (s *stream) add(p []byte) error {
	var timeout <-chan time.Time
	for {
		s.mu.Lock()
		if s.broken != nil {
			defer s.mu.Unlock()
			return s.broken
		}
		if len(s.pending) < Buffer {
			s.pending = append(s.pending, p...)
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			return nil
		}
		s.mu.Unlock()
		if timeout == nil {
			timer := time.NewTimer(Patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-s.room:
		case <-timeout:
			return ErrSlowClient
		}
	}
}

// write sends what is pending until the reader has ended and all is sent.
func (s *stream) write(w io.Writer, out *http.ResponseController) error {
	var batch []byte
	for {
		_, open := <-s.more
		s.mu.Lock()
		batch, s.pending = s.pending, batch[:0]
		s.mu.Unlock()
		select {
		case s.room <- struct{}{}:
		default:
		}
		if len(batch) > 0 {
			if _, err := w.Write(batch); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if !open {
			return nil
		}
	}
}

// fail tells the reader that the client is gone.
func (s *stream) fail(err error) {
	s.mu.Lock()
	s.broken = err
	s.mu.Unlock()
	select {
	case s.room <- struct{}{}:
	default:
	}
}
