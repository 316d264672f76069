package dispatch

import (
	"context"
	"sync"
	"time"

	"corral/internal/lane"
)

// Loader carries out what the dispatcher decides about lanes. Its methods must not block.
type Loader interface {
	// Load loads a lane and ends with Loaded or LoadFailed, or unloads it and ends with Unloaded.
	Load(Load)
	// Backoff ends, after a while, with Retry: the lane's last load failed.
	Backoff(lane.ID)
}

// Dispatcher is the Core behind one lock, with waiting. Safe for concurrent use.
type Dispatcher struct {
	loader Loader

	mu         sync.Mutex
	core       *Core
	maxWaiting int
}

// New is a dispatcher without lanes that lets at most maxWaiting tickets wait.
func New(loader Loader, maxWaiting int) *Dispatcher {
	return &Dispatcher{loader: loader, maxWaiting: maxWaiting, core: NewCore()}
}

// Acquire waits for its turn: until a slot is granted, the ticket can not be served (ErrFull, ErrGone,
// *LoadError), or ctx ends. A grant must be released exactly once.
func (d *Dispatcher) Acquire(ctx context.Context, t Ticket) (Grant, error) {
	w := &waiter{Ticket: t, index: -1, ready: make(chan verdict, 1)}
	full := false
	d.do(func(c *Core, now time.Time) {
		c.arrive(now, w)
		// Full is judged after arrival, so that a free slot is given even when the queue has no room.
		if c.waiting > d.maxWaiting && w.queue != nil && t.Attempt == 0 {
			full = c.cancel(now, w)
		}
	})
	if full {
		return Grant{}, ErrFull
	}
	select {
	case v := <-w.ready:
		return v.grant, v.err
	case <-ctx.Done():
	}
	d.do(func(c *Core, now time.Time) { c.cancel(now, w) })
	select {
	case v := <-w.ready: // the verdict came first: a grant goes back at once
		if v.err == nil {
			d.Release(v.grant, Outcome{Result: Unused})
		}
	default:
	}
	return Grant{}, ctx.Err()
}

// Release gives a grant back; false if it was released before.
func (d *Dispatcher) Release(g Grant, o Outcome) bool {
	ok := false
	d.do(func(c *Core, now time.Time) { ok = c.release(now, g.ID, o) })
	return ok
}

// SetMaxWaiting changes how many tickets may wait. Those that wait already stay.
func (d *Dispatcher) SetMaxWaiting(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.maxWaiting = n
}

// SetLane adds a lane or changes what is known of one.
func (d *Dispatcher) SetLane(spec LaneSpec) {
	d.do(func(c *Core, now time.Time) { c.setLane(now, spec) })
}

// DropLane takes a lane out. Running grants end in peace.
func (d *Dispatcher) DropLane(id lane.ID) {
	d.do(func(c *Core, now time.Time) { c.dropLane(now, id) })
}

// SetUp says whether an instance can be reached.
func (d *Dispatcher) SetUp(instance string, up bool) {
	d.do(func(c *Core, now time.Time) { c.setUp(now, instance, up) })
}

// Loaded opens a lane whose load ended well.
func (d *Dispatcher) Loaded(l Load) {
	d.do(func(c *Core, now time.Time) { c.loaded(now, l.Lane, l.Seq) })
}

// Unloaded ends an unload.
func (d *Dispatcher) Unloaded(l Load) {
	d.do(func(c *Core, now time.Time) { c.unloaded(now, l.Lane, l.Seq) })
}

// LoadFailed ends a load that did not. With a nil err the tickets go on waiting.
func (d *Dispatcher) LoadFailed(l Load, err *LoadError) {
	d.do(func(c *Core, now time.Time) { c.loadFailed(now, l.Lane, l.Seq, err) })
}

// Hold stops grants on the other lanes of an instance until the load ends, so that Ollama finds room for it, or
// lets them go on.
func (d *Dispatcher) Hold(l Load, held bool) {
	d.do(func(c *Core, now time.Time) { c.hold(now, l.Lane, l.Seq, held) })
}

// Retry lets a lane be loaded again after a failure.
func (d *Dispatcher) Retry(id lane.ID) {
	d.do(func(c *Core, now time.Time) { c.retry(now, id) })
}

// Evicted says that an instance has unloaded the lane's weights.
func (d *Dispatcher) Evicted(id lane.ID) {
	d.do(func(c *Core, now time.Time) { c.evicted(now, id) })
}

// do runs one step of the Core under the lock and carries out what it decided. A verdict never blocks: every
// waiter gets one at most and its channel has room for it.
func (d *Dispatcher) do(step func(*Core, time.Time)) {
	d.mu.Lock()
	step(d.core, time.Now())
	e := d.core.take()
	for _, v := range e.verdicts {
		v.waiter.ready <- v
	}
	d.mu.Unlock()
	for _, l := range e.loads {
		d.loader.Load(l)
	}
	for _, id := range e.backoffs {
		d.loader.Backoff(id)
	}
}
