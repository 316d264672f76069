package relay

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
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

// stall is how often a stream is looked at: a write to the client that lasts from one look to the next means
// that its instance is read on without it.
const stall = 100 * time.Millisecond

// Stream copies an answer to the client as it comes, flushing every piece. The instance is read at full speed
// into a bounded buffer, so that its slot is free when the model is done, not when the client has read all:
// ended is called at that moment, once, with nil or the reason why the instance's side broke. see gets every piece
// before the client does, and must not keep it; nil sees nothing.
// Stream returns when the client has everything or can take no more, with the client's error.
//
// A client that keeps up is served by one goroutine, because handing pieces from one to another costs more CPU
// than the pieces; the first write that stalls hands the reading over to a second one.
func Stream(w http.ResponseWriter, body io.ReadCloser, see func(p []byte), ended func(error)) error {
	if see == nil {
		see = func([]byte) {}
	}
	s := &stream{
		body: body, see: see, ended: ended, client: w, out: http.NewResponseController(w),
		more: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	chunk := chunks.Get().(*[]byte)
	defer chunks.Put(chunk)
	s.watch = time.AfterFunc(time.Hour, s.look)
	s.watch.Reset(stall) // not before look can see it
	for turn := int64(0); ; turn += 2 {
		n, err := body.Read(*chunk)
		if n > 0 {
			s.see((*chunk)[:n])
			s.turn.Store(turn + 1)
			failed := s.send((*chunk)[:n])
			if !s.turn.CompareAndSwap(turn+1, turn+2) { // the reading is another's now
				return s.writeOn(failed)
			}
			if failed != nil {
				s.end(failed)
				return failed
			}
		}
		if err != nil {
			s.end(notEOF(err))
			return nil
		}
	}
}

// Turns of a stream are even while its one goroutine reads and odd while it writes; below zero there are no more.
const (
	takenOver = -1 // a second goroutine reads
	over      = -2 // the instance's side has ended
)

// stream is one answer on its way, with the buffer between the reader of its instance and the writer to its
// client once they are two.
type stream struct {
	body   io.ReadCloser
	see    func([]byte)
	ended  func(error)
	client io.Writer
	out    *http.ResponseController

	turn  atomic.Int64
	seen  int64       // turn at the last look
	watch *time.Timer // the next look

	mu      sync.Mutex
	pending []byte
	broken  error // the client's side has ended

	more chan struct{} // the reader added something; closed when it has ended
	room chan struct{} // the writer took what was pending, or failed
}

func (s *stream) send(p []byte) error {
	if _, err := s.client.Write(p); err != nil {
		return err
	}
	return s.out.Flush()
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// end is the end of the instance's side while the stream is one goroutine's.
func (s *stream) end(err error) {
	s.turn.Store(over) // a look that is under way may still set the watch, but only once
	s.watch.Stop()
	_ = s.body.Close()
	s.ended(err)
}

// look takes the reading over from a writer that is stuck in the write it was in at the last look.
func (s *stream) look() {
	turn := s.turn.Load()
	switch {
	case turn == over:
	case turn == s.seen && turn%2 == 1 && s.turn.CompareAndSwap(turn, takenOver):
		s.readOn()
	default:
		s.seen = turn
		s.watch.Reset(stall)
	}
}

// readOn reads the rest of the answer while the writer is stuck, and from then on.
func (s *stream) readOn() {
	defer close(s.more)
	err := s.read()
	if errors.Is(err, ErrSlowClient) {
		_ = s.out.SetWriteDeadline(time.Unix(1, 0)) // wakes the writer
	}
	s.ended(err)
}

// read takes the answer as fast as it comes, until its end or until the client's side has ended.
func (s *stream) read() error {
	defer s.body.Close()
	chunk := chunks.Get().(*[]byte)
	defer chunks.Put(chunk)
	for {
		n, err := s.body.Read(*chunk)
		if n > 0 {
			s.see((*chunk)[:n])
			if err := s.add((*chunk)[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return notEOF(err)
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

// writeOn sends what the reader adds, after a first write that stalled, and failed or not.
func (s *stream) writeOn(failed error) error {
	if failed == nil {
		failed = s.write()
	}
	if failed != nil {
		s.fail(failed)
		_ = s.body.Close() // wakes the reader
		for range s.more {
		}
	}
	return failed
}

// write sends what is pending until the reader has ended and all is sent.
func (s *stream) write() error {
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
			if err := s.send(batch); err != nil {
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
