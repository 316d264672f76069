package relay_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"corral/internal/dialect"
	"corral/internal/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a ResponseWriter that can stop reading, or leave.
type client struct {
	http.ResponseWriter
	mu       sync.Mutex
	got      strings.Builder
	flushes  int
	stuck    chan struct{} // not nil: writes wait for it
	err      error
	deadline chan struct{}
}

func (c *client) Write(p []byte) (int, error) {
	if c.stuck != nil {
		select {
		case <-c.stuck:
		case <-c.deadline:
			return 0, errors.New("i/o timeout")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	return c.got.Write(p)
}

func (c *client) Flush() { c.flushes++ }

func (c *client) SetWriteDeadline(time.Time) error {
	close(c.deadline)
	return nil
}

func newClient() *client {
	return &client{ResponseWriter: httptest.NewRecorder(), deadline: make(chan struct{})}
}

// body is an instance's answer that a test writes piece by piece.
func body() (*io.PipeWriter, io.ReadCloser) {
	r, w := io.Pipe()
	return w, r
}

func route(t *testing.T, path string) dialect.Route {
	t.Helper()
	r, ok := dialect.Lookup(path)
	if !ok {
		t.Fatal(path)
	}
	return r
}

func TestStreamPassesPiecesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := body()
		c := newClient()
		tail := route(t, "/api/chat").Tail()
		done := make(chan error, 1)
		ended := make(chan error, 1)
		go func() { done <- relay.Stream(c, r, tail.Write, func(err error) { ended <- err }) }()
		for _, piece := range []string{`{"done":false}` + "\n", `{"done":true}` + "\n"} {
			_, _ = io.WriteString(w, piece)
			synctest.Wait()
			c.mu.Lock()
			if got := c.got.String(); !strings.HasSuffix(got, piece) {
				t.Errorf("after %q the client has %q", piece, got)
			}
			c.mu.Unlock()
		}
		_ = w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil || !tail.Complete() || c.flushes != 2 {
			t.Errorf("%v, complete %v, %d flushes", err, tail.Complete(), c.flushes)
		}
	})
}

// TestStreamFreesSlotBeforeSlowClient: the instance is done when it has written all, not when the client has
// read all.
func TestStreamFreesSlotBeforeSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := body()
		c := newClient()
		c.stuck = make(chan struct{})
		done := make(chan error, 1)
		ended := make(chan error, 1)
		go func() { done <- relay.Stream(c, r, func([]byte) {}, func(err error) { ended <- err }) }()
		text := strings.Repeat("x", 3<<20)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		close(c.stuck)
		if err := <-done; err != nil || c.got.Len() != len(text) {
			t.Errorf("%v, %d bytes of %d", err, c.got.Len(), len(text))
		}
	})
}

// TestStreamCutsStuckClient: one that keeps the buffer full for Patience is cut, and the slot is free.
func TestStreamCutsStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := body()
		c := newClient()
		c.stuck = make(chan struct{})
		start := time.Now()
		ended := make(chan error, 1)
		go func() {
			for { // an instance that never ends
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}()
		err := relay.Stream(c, r, func([]byte) {}, func(err error) { ended <- err })
		if end := <-ended; err == nil || !errors.Is(end, relay.ErrSlowClient) {
			t.Errorf("client %v, instance %v", err, end)
		}
		if took := time.Since(start); took < relay.Patience || took > relay.Patience+time.Second {
			t.Errorf("cut after %s", took)
		}
	})
}

func TestStreamWhoseClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := body()
		c := newClient()
		c.err = errors.New("broken pipe")
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		if err := relay.Stream(c, r, func([]byte) {}, func(err error) { ended <- err }); !errors.Is(err, c.err) {
			t.Errorf("client's error: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("the instance's side ended well although the client left")
		}
	})
}

// TestStreamThatBreaksOff: the client has what came, the caller is told.
func TestStreamThatBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := body()
		c := newClient()
		broken := errors.New("unexpected EOF")
		ended := make(chan error, 1)
		go func() { _, _ = io.WriteString(w, "half"); _ = w.CloseWithError(broken) }()
		if err := relay.Stream(c, r, func([]byte) {}, func(err error) { ended <- err }); err != nil {
			t.Errorf("client's error: %v", err)
		}
		if err := <-ended; !errors.Is(err, broken) || c.got.String() != "half" {
			t.Errorf("%v, %q", err, c.got.String())
		}
	})
}
