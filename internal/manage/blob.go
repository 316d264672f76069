package manage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sync"
	"time"

	"corral/internal/dialect"
	"corral/internal/fleet"
)

// digestPattern is what Ollama takes for the digest of a blob.
var digestPattern = regexp.MustCompile(`^sha256[:-][0-9a-fA-F]{64}$`)

// blob answers for one blob: is it there, or take it. Which model it is for is not known yet, so every instance is
// meant that can be reached.
func (t *task) blob() {
	digest, _ := blobOf(t.r.URL.Path)
	switch {
	case !digestPattern.MatchString(digest): // Ollama says what is wrong, and reads nothing of it
		t.pass(t.places[0])
	case t.r.Method == http.MethodHead:
		t.findBlob()
	default:
		t.takeBlob()
	}
}

// findBlob says that a blob is there if all instances have it. One that does not answer drops out.
func (t *task) findBlob() {
	failures := make([]*failure, len(t.places))
	var all sync.WaitGroup
	for i, p := range t.places {
		all.Go(func() { failures[i] = t.ask(p) })
	}
	all.Wait()
	worst, answered := http.StatusBadGateway, false
	for _, f := range failures {
		switch {
		case f == nil && !answered:
			worst, answered = http.StatusOK, true
		case f != nil && !f.lost:
			worst, answered = f.status, true
		}
		if answered && worst != http.StatusOK {
			break
		}
	}
	t.begun(listed(t.places), worst)
	if worst == http.StatusNotFound {
		digest, _ := blobOf(t.r.URL.Path)
		t.refuse(dialect.Error{Status: worst, Message: fmt.Sprintf("blob %q not found", digest)})
		return
	}
	t.w.WriteHeader(worst)
}

const (
	// chunkSize times chunksAhead is what the fastest instance may be ahead of the slowest, in bytes.
	chunkSize   = 64 << 10
	chunksAhead = 16
	// stallMost is how long an instance may take none of an upload until it drops out.
	stallMost = time.Minute
)

// upload is one blob on its way to one instance.
type upload struct {
	place  fleet.Place
	chunks chan []byte
	over   chan struct{} // closed when the instance has answered or is lost: it takes no more
	cancel context.CancelCauseFunc
	status int
	fail   *failure
}

var (
	errHalf    = errors.New("the client broke off the upload")
	errStalled = errors.New("it took none of the upload for " + stallMost.String())
)

// takeBlob sends an upload to all instances while it comes in. The slowest sets the pace; one that fails drops out.
func (t *task) takeBlob() {
	uploads := make([]*upload, len(t.places))
	var all sync.WaitGroup
	for i, p := range t.places {
		ctx, cancel := context.WithCancelCause(t.r.Context())
		u := &upload{place: p, chunks: make(chan []byte, chunksAhead), over: make(chan struct{}), cancel: cancel}
		uploads[i] = u
		all.Go(func() {
			defer close(u.over)
			defer cancel(nil)
			t.send(ctx, u)
		})
	}
	err := feed(t.r.Body, uploads)
	for _, u := range uploads {
		if err != nil {
			u.cancel(errHalf) // an instance that has half of a blob forgets it
		}
		close(u.chunks)
	}
	all.Wait()
	if err != nil {
		t.w.Header().Set("Connection", "close")
		t.refuse(dialect.Error{Status: http.StatusBadRequest, Message: "the upload ended early: repeat it"})
		return
	}
	t.concludeBlob(uploads)
}

// feed reads an upload and gives it to all that still take it. It ends early when nobody does.
func feed(body io.Reader, uploads []*upload) error {
	stalled := time.NewTimer(stallMost)
	defer stalled.Stop()
	for {
		chunk := make([]byte, chunkSize)
		n, err := io.ReadAtLeast(body, chunk, 1)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		taken := false
		for _, u := range uploads {
			stalled.Reset(stallMost)
			select {
			case <-u.over:
				continue
			default:
			}
			select {
			case u.chunks <- chunk[:n]:
				taken = true
			case <-u.over:
			case <-stalled.C:
				u.cancel(errStalled)
			}
		}
		if !taken {
			return nil
		}
	}
}

// chunkReader gives the chunks to the connection of one instance.
type chunkReader struct {
	ctx    context.Context
	chunks <-chan []byte
	rest   []byte
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		select {
		case chunk, more := <-c.chunks:
			if err := context.Cause(c.ctx); err != nil {
				return 0, err // the chunks may be at an end because the upload is
			}
			if !more {
				return 0, io.EOF
			}
			c.rest = chunk
		case <-c.ctx.Done():
			return 0, context.Cause(c.ctx)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// send is one instance's part of an upload.
func (t *task) send(ctx context.Context, u *upload) {
	req := (&http.Request{
		Method: http.MethodPost, URL: u.place.Target.At(t.r.URL.RequestURI()), Host: u.place.Target.URL.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(&chunkReader{ctx: ctx, chunks: u.chunks}), ContentLength: t.r.ContentLength,
	}).WithContext(ctx)
	u.place.Target.PrepareHeader(req.Header, t.r.Header)
	resp, err := u.place.Target.Client.RoundTrip(req)
	if err != nil {
		if context.Cause(ctx) == errStalled { //nolint:errorlint // it is that very one
			u.fail = lost(errStalled.Error())
			return
		}
		if context.Cause(ctx) == nil {
			t.desk.Fleet.Failed(u.place.Name, err)
		}
		u.fail = lost("it did not answer to the end")
		return
	}
	defer resp.Body.Close()
	u.status = resp.StatusCode
	if resp.StatusCode/100 != 2 {
		u.fail = failed(resp)
	}
}

// concludeBlob answers an upload. One instance that has it is enough, because create goes where its blobs are; but
// a digest that does not match is the client's fault, whoever finds it.
func (t *task) concludeBlob(uploads []*upload) {
	var done []fleet.Place
	var failed []mishap
	status := http.StatusOK
	for _, u := range uploads {
		switch {
		case u.fail == nil:
			done = append(done, u.place)
			status = max(status, u.status)
		case u.fail.status/100 == 4:
			t.refuse(dialect.Error{Status: u.fail.status, Message: u.fail.message})
			return
		default:
			failed = append(failed, mishap{u.place, u.fail})
		}
	}
	for _, m := range failed {
		t.desk.Log.Warn("instance did not take an upload", "instance", m.place.Name, "path", t.r.URL.Path, "error", m.message)
	}
	if len(done) == 0 {
		t.refuse(t.summary("upload", nil, failed))
		return
	}
	t.outcome.Instances = listed(done)
	t.answer(status, "", nil)
}
