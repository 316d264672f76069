// Package call is a client's request from first byte to last: its ticket, its wait, its attempts, its answer.
package call

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"corral/internal/dialect"
	"corral/internal/dispatch"
	"corral/internal/lane"
	"corral/internal/relay"
)

// Queue is where a call waits for its turn.
type Queue interface {
	Acquire(context.Context, dispatch.Ticket) (dispatch.Grant, error)
	Release(dispatch.Grant, dispatch.Outcome) bool
}

// Fleet knows the instances behind lanes.
type Fleet interface {
	// Target is how the lane's instance is reached; nil when the instance has been removed.
	Target(lane.ID) *relay.Target
	// Failed says that an instance could not be reached.
	Failed(instance string, err error)
	// Context is how many tokens the lane's model holds, 0 if that is not known.
	Context(lane.ID) int
}

// Observer is told of every call at its end.
type Observer interface {
	Observe(Record)
}

// Desk serves calls.
type Desk struct {
	Queue    Queue
	Fleet    Fleet
	Observer Observer
	Log      *slog.Logger

	pace pace
}

// Request is a client's request as the gateway understood it.
type Request struct {
	ID       string
	Route    dialect.Route
	Envelope dialect.Envelope
	Class    dispatch.Class
	Spares   []Spare // what an alias falls back to, in the order of After
	Tenant   string
	Arrival  time.Time
}

// Spare takes the place of a request that has waited too long.
type Spare struct {
	After    time.Duration // since the arrival
	Envelope dialect.Envelope
	Class    dispatch.Class
}

// maxAvoid bounds how many failed instances a ticket remembers, so that it stays small.
const maxAvoid = 3

// call is one request on its way.
type call struct {
	desk   *Desk
	req    Request
	w      http.ResponseWriter
	r      *http.Request
	ticket dispatch.Ticket
	beats  *beats
	broken int // attempts that broke before the answer
	record Record
}

// mostBroken is how many attempts may break before the client is told: a request that kills its instance must
// not go through all of them.
const mostBroken = 2

// Serve answers a request: it waits for a grant, has it carried out, and tries elsewhere when an instance
// refused to start. The client hears a heartbeat until its answer begins.
func (d *Desk) Serve(w http.ResponseWriter, r *http.Request, req Request) {
	c := &call{
		desk: d, req: req, w: w, r: r,
		ticket: dispatch.Ticket{ID: rand.Text()[:16], Class: req.Class, Tenant: req.Tenant, Arrival: req.Arrival},
		record: Record{
			ID: req.ID, Path: req.Route.Path, Model: req.Envelope.Model, Tenant: req.Tenant,
			Stream: req.Envelope.Stream, Role: req.Class.Role, Arrival: req.Arrival,
		},
	}
	defer c.finish()
	c.beats = startBeats(w, r, req.Route, req.Envelope)
	defer c.beats.stop() // also when the connection is cut by a panic
	for {
		grant, err := c.acquire()
		if err != nil {
			c.refused(err)
			return
		}
		if c.attempt(grant) {
			return
		}
	}
}

// acquire waits for a grant. When the next spare's time has come before it, the spare waits on in the same place.
func (c *call) acquire() (dispatch.Grant, error) {
	for {
		ctx, cancel := c.r.Context(), context.CancelFunc(func() {})
		if len(c.req.Spares) > 0 {
			ctx, cancel = context.WithDeadline(ctx, c.req.Arrival.Add(c.req.Spares[0].After))
		}
		grant, err := c.desk.Queue.Acquire(ctx, c.ticket)
		cancel()
		if err == nil || len(c.req.Spares) == 0 || c.gone() {
			return grant, err
		}
		next := c.req.Spares[0]
		c.desk.Log.Info("falling back", "request", c.req.ID, "model", c.req.Envelope.Target, "to", next.Envelope.Target, "because", err)
		c.req.Spares, c.req.Envelope, c.req.Class = c.req.Spares[1:], next.Envelope, next.Class
		c.ticket.Class, c.ticket.Avoid = next.Class, nil
	}
}

// attempt carries out one grant; false if the instance did not start the work and another should.
func (c *call) attempt(grant dispatch.Grant) bool {
	c.record.granted(grant)
	c.ticket.Attempt = c.record.Attempts
	target := c.desk.Fleet.Target(grant.Lane)
	if target == nil { // removed between the grant and now
		c.desk.Queue.Release(grant, dispatch.Outcome{Result: dispatch.Unstarted})
		return false
	}
	c.record.Instance = target.Name
	run := &run{call: c, grant: grant, target: target, hangUp: func() {}}
	defer run.freeOnPanic()
	ctx := c.r.Context()
	if c.req.Envelope.Stream {
		// Ollama does not stop a prefill, so a stream is listened to until its first byte: then the end of
		// the prefill is known. A plain answer says nothing before its end, so it is closed at once.
		ctx, run.hangUp = context.WithCancel(context.WithoutCancel(ctx))
		defer context.AfterFunc(c.r.Context(), func() { time.AfterFunc(maxHold, run.hangUp) })()
	}
	resp, err := target.Do(ctx, c.r.Method, c.r.URL.RequestURI(), c.r.Header, c.req.Envelope.Body)
	switch {
	case c.gone() && resp == nil && c.req.Envelope.Stream: // the instance broke off as well
		c.record.Outcome = OutcomeLeft
		run.free(dispatch.Failed)
		return true
	case c.gone():
		run.abandon(resp)
		return true
	case err != nil:
		return run.failed(err)
	case resp.StatusCode == http.StatusServiceUnavailable:
		return run.busy(resp)
	}
	if fault := engineFault(c.req.Route, resp); fault != "" {
		return run.crashed(resp, fault)
	}
	if c.req.Envelope.Stream {
		defer context.AfterFunc(c.r.Context(), run.hangUp)()
	}
	run.deliver(resp)
	return true
}

// gone says whether the client has left.
func (c *call) gone() bool { return c.r.Context().Err() != nil }

// avoid makes the ticket try an instance last.
func (c *call) avoid(instance string) {
	c.ticket.Avoid = slices.DeleteFunc(slices.Clone(c.ticket.Avoid), func(s string) bool { return s == instance })
	if len(c.ticket.Avoid) >= maxAvoid {
		c.ticket.Avoid = c.ticket.Avoid[1:]
	}
	c.ticket.Avoid = append(c.ticket.Avoid, instance)
}

// refused answers a call that got no grant.
func (c *call) refused(err error) {
	var load *dispatch.LoadError
	committed := c.beats.stop()
	switch {
	case c.gone():
		c.record.Outcome = OutcomeLeft
	case errors.Is(err, dispatch.ErrFull):
		c.record.Outcome = OutcomeFull
		status, message, retry := Full(c.req.Route.Dialect)
		if !committed {
			c.w.Header().Set("Retry-After", retry)
		}
		c.fail(status, message)
	case errors.Is(err, dispatch.ErrGone):
		e := c.req.Route.NotFound(c.req.Envelope.Model)
		c.fail(e.Status, e.Message)
	case errors.As(err, &load):
		c.fail(load.Status, load.Message)
	default:
		c.fail(http.StatusInternalServerError, err.Error())
	}
}

// Full is how a dialect says that the queue takes no more: Ollama's own words, or what SDKs retry.
func Full(d dialect.Dialect) (status int, message, retryAfter string) {
	if d == dialect.Ollama {
		return http.StatusServiceUnavailable, "server busy, please try again.  maximum pending requests exceeded", "30"
	}
	return http.StatusTooManyRequests, "Corral's queue is full, please try again later", "30"
}

// fail ends the call with an error in the client's dialect: as a status while none is committed, else as the
// stream's own error event, else by cutting the connection, which every client takes for an error.
func (c *call) fail(status int, message string) {
	if c.record.Outcome == "" {
		c.record.Outcome = OutcomeFailed
	}
	c.record.Error = message
	committed := c.beats.stop()
	switch {
	case !committed:
		c.record.Status = status
		c.setHeader()
		WriteError(c.w, c.req.Route.Dialect, status, message)
	case c.req.Envelope.Stream:
		c.record.Status = http.StatusOK
		c.endStream(status, message)
	default:
		c.record.Status = http.StatusOK
		c.cut()
	}
}

// cut breaks the connection off, so that a half answer is not taken for a whole one. An answer over HTTP/1.0 has
// no other end than that of its connection, which must therefore be reset.
func (c *call) cut() {
	if !c.r.ProtoAtLeast(1, 1) {
		reset(c.w)
	}
	panic(http.ErrAbortHandler)
}

// reset closes a connection in a way that its reader takes for an error.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if c, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// endStream closes a stream that has begun with the dialect's own error event.
func (c *call) endStream(status int, message string) {
	_, _ = c.w.Write(c.req.Route.StreamError(status, message))
	_ = http.NewResponseController(c.w).Flush()
}

// setHeader says what happened to the request.
func (c *call) setHeader() {
	h := c.w.Header()
	h.Set("X-Request-Id", c.req.ID)
	h.Set("X-Corral-Queue-Ms", strconv.FormatInt(c.record.Queued.Milliseconds(), 10))
	h.Set("X-Corral-Attempts", strconv.Itoa(c.record.Attempts))
	if c.record.Instance != "" {
		h.Set("X-Corral-Instance", c.record.Instance)
	}
}

// finish reports the call; a panic that cuts the connection goes on its way.
func (c *call) finish() {
	c.record.Total = time.Since(c.req.Arrival)
	if c.record.Outcome == "" {
		c.record.Outcome = OutcomeFailed
	}
	c.desk.Observer.Observe(c.record)
}

// WriteError sends an error in a dialect's own form.
func WriteError(w http.ResponseWriter, d dialect.Dialect, status int, message string) {
	contentType, body := d.ErrorBody(status, message)
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
