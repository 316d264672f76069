package call

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"corral/internal/dialect"
	"corral/internal/dispatch"
	"corral/internal/relay"
)

// run is one attempt while it holds its grant.
type run struct {
	call    *call
	grant   dispatch.Grant
	target  *relay.Target
	hangUp  context.CancelFunc // closes the connection to the instance
	release sync.Once
}

// free gives the slot back.
func (u *run) free(result dispatch.Result) {
	u.freeWith(dispatch.Outcome{Result: result, Unload: u.call.req.Envelope.KeepAliveZero})
}

func (u *run) freeWith(o dispatch.Outcome) {
	u.release.Do(func() {
		u.call.desk.Queue.Release(u.grant, o)
		u.hangUp()
	})
}

// freeOnPanic keeps a bug of one request from costing a slot for ever.
func (u *run) freeOnPanic() {
	if v := recover(); v != nil {
		u.free(dispatch.Failed)
		panic(v)
	}
}

// hold gives the slot back after a while: the instance is still busy with work that nobody waits for.
func (u *run) hold(d time.Duration) {
	u.hangUp()
	time.AfterFunc(d, func() { u.free(dispatch.Cancelled) })
}

// abandon ends an attempt whose client has left before the answer began.
func (u *run) abandon(resp *http.Response) {
	c := u.call
	c.record.Outcome = OutcomeLeft
	if resp != nil { // a stream's first byte is here: the prefill is over
		_ = resp.Body.Close()
		u.hold(minHold)
		return
	}
	u.hold(c.desk.pace.rest(u.grant.Lane, c.req.Envelope.PromptBytes, time.Since(u.grant.At)))
}

// failed ends an attempt that got no answer; false if another one should follow: always when the work never
// started, once when the connection broke before the answer, for which the instance may be gone.
func (u *run) failed(err error) bool {
	c := u.call
	c.desk.Fleet.Failed(u.target.Name, err)
	if relay.Unstarted(err) {
		c.desk.Log.Debug("attempt did not start", "request", c.req.ID, "instance", u.target.Name, "error", err)
		u.freeWith(dispatch.Outcome{Result: dispatch.Unstarted, Reload: true})
		c.avoid(u.target.Name)
		return false
	}
	u.free(dispatch.Failed)
	c.avoid(u.target.Name)
	if c.broken++; c.broken < mostBroken {
		return false
	}
	c.fail(http.StatusBadGateway, fmt.Sprintf("instance %s broke the connection before it answered", u.target.Name))
	return true
}

// busy ends an attempt that the instance refused with 503: it has evicted the model, or is loading it.
func (u *run) busy(resp *http.Response) bool {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	u.freeWith(dispatch.Outcome{Result: dispatch.Unstarted, Reload: true})
	u.call.avoid(u.target.Name)
	return false
}

// deliver carries the instance's answer to the client.
func (u *run) deliver(resp *http.Response) {
	c := u.call
	c.record.FirstByte = time.Since(u.grant.At)
	if c.req.Envelope.Stream {
		c.desk.pace.observe(u.grant.Lane, c.req.Envelope.PromptBytes, c.record.FirstByte)
	}
	committed := c.beats.stop()
	if committed && resp.StatusCode != http.StatusOK {
		u.lateError(resp)
		return
	}
	if !committed {
		relay.CopyHeader(c.w.Header(), resp.Header)
		c.setHeader()
		if u.streams(resp) {
			stayOut(c.w.Header())
		}
	}
	c.record.Status = resp.StatusCode
	if !u.streams(resp) && resp.ContentLength <= relay.Buffer && u.plain(resp, committed) {
		return
	}
	u.stream(resp, committed)
}

// streams says whether an answer is the stream that was asked for, not an error.
func (u *run) streams(resp *http.Response) bool {
	route := u.call.req.Route
	return u.call.req.Envelope.Stream && strings.HasPrefix(resp.Header.Get("Content-Type"), route.StreamType)
}

// lateError tells a client that has status 200 already what the instance answered.
func (u *run) lateError(resp *http.Response) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	u.free(result(resp.StatusCode))
	u.call.fail(resp.StatusCode, dialect.ErrorMessage(body))
}

// readPlain reads a whole answer; over tells that it is more than relay.Buffer, and is then to be read on from resp.
// Ollama tells the length of an answer only where it is below 2 KiB.
func readPlain(resp *http.Response) (body []byte, over bool, err error) {
	if resp.ContentLength >= 0 {
		body = make([]byte, resp.ContentLength)
		_, err = io.ReadFull(resp.Body, body)
		return body, false, err
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, relay.Buffer+1))
	if over = len(body) > relay.Buffer; over {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
	}
	return body, over, err
}

// plain reads a whole answer, frees the slot, then writes: a slow client costs no slot. false if it is too large
// for that.
func (u *run) plain(resp *http.Response, committed bool) bool {
	c := u.call
	body, over, err := readPlain(resp)
	if over {
		return false
	}
	_ = resp.Body.Close()
	switch {
	case err != nil && c.gone():
		u.abandon(nil)
		return true
	case err != nil:
		u.free(dispatch.Failed)
		c.desk.Fleet.Failed(u.target.Name, err)
		c.w.Header().Del("Content-Encoding")
		c.fail(http.StatusBadGateway, fmt.Sprintf("instance %s broke off its answer", u.target.Name))
		return true
	}
	u.free(result(resp.StatusCode))
	c.record.Outcome = OutcomeOf(resp.StatusCode)
	if resp.StatusCode >= http.StatusBadRequest {
		c.record.Error = dialect.ErrorMessage(body)
	}
	prefix := http.TrailerPrefix
	if !committed {
		prefix = ""
	}
	if resp.StatusCode == http.StatusOK {
		watch := c.req.Route.Watch()
		watch.Write(body)
		u.judge(watch, prefix)
	}
	body = rename(c.client(resp.StatusCode), body)
	if !committed {
		if resp.ContentLength >= 0 {
			c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		c.w.WriteHeader(resp.StatusCode)
		if resp.ContentLength < 0 {
			_ = http.NewResponseController(c.w).Flush() // else net/http tells the length of a short one
		}
	}
	if _, err := c.w.Write(body); err != nil {
		c.record.Outcome = OutcomeLeft
	}
	return true
}

// watchers see an answer go by. A long plain answer has no tail: it has no end marker but its length.
func (u *run) watchers(resp *http.Response) (tail *dialect.Tail, watch *dialect.Watch, see func([]byte)) {
	watch = u.call.req.Route.Watch()
	if !u.streams(resp) {
		return nil, watch, watch.Write
	}
	tail = u.call.req.Route.Tail()
	return tail, watch, func(p []byte) {
		tail.Write(p)
		watch.Write(p)
	}
}

// stream passes pieces on as they come and makes sure that a stream that broke ends in an error.
func (u *run) stream(resp *http.Response, committed bool) {
	c := u.call
	w := c.client(resp.StatusCode)
	renamed, _ := w.(*echo)
	if !committed {
		if renamed != nil {
			c.w.Header().Del("Content-Length") // the asked name has another length
		}
		c.w.WriteHeader(resp.StatusCode)
	}
	tail, watch, see := u.watchers(resp)
	whole := false // written before Stream returns, in its call of ended
	err := relay.Stream(w, resp.Body, see, func(err error) {
		whole = err == nil && (tail == nil || tail.Complete())
		switch {
		case whole && tail != nil && tail.Failed():
			u.free(dispatch.Failed)
		case whole:
			u.free(result(resp.StatusCode))
		case c.gone() || errors.Is(err, relay.ErrSlowClient):
			u.hold(minHold) // the instance notices within a batch
		default:
			if err != nil {
				c.desk.Fleet.Failed(u.target.Name, err)
			}
			u.free(dispatch.Failed)
		}
	})
	if renamed != nil && err == nil {
		renamed.end()
	}
	switch {
	case err != nil || c.gone():
		c.record.Outcome = OutcomeLeft
	case whole && tail != nil && tail.Failed():
		c.record.Outcome = OutcomeBroken
		c.record.Error = fmt.Sprintf("instance %s ended its stream with an error", u.target.Name)
	case whole:
		c.record.Outcome = OutcomeOf(resp.StatusCode)
		if resp.StatusCode == http.StatusOK {
			u.judge(watch, http.TrailerPrefix)
		}
	case tail != nil:
		c.record.Outcome = OutcomeBroken
		c.record.Error = fmt.Sprintf("instance %s broke off its answer", u.target.Name)
		if !tail.AtBoundary() {
			_, _ = c.w.Write(c.req.Route.Separator())
		}
		c.endStream(http.StatusBadGateway, c.record.Error)
	default:
		c.record.Outcome = OutcomeBroken
		c.cut()
	}
}

func result(status int) dispatch.Result {
	if status >= http.StatusInternalServerError {
		return dispatch.Failed
	}
	return dispatch.Done
}
