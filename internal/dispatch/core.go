package dispatch

import (
	"slices"
	"time"

	"corral/internal/lane"
)

// LaneSpec is what the fleet knows of a lane. Instance and Weights never change for an ID.
type LaneSpec struct {
	ID       lane.ID
	Instance string
	Weights  string
	Order    int             // position of the instance in the configuration: ties go to the first
	Roles    []lane.Role     // what the instance may be used for
	Models   map[string]bool // canonical names under which the instance knows the weights
	Slots    int             // N, >= 1
	Limit    int             // L, 1..N; 0 means N
}

// Core decides: it holds all tickets and lanes and hands out grants. Every method takes the time it needs,
// and what it decided is collected by take. It is not safe for concurrent use.
//
// Invariants: a lane's in-flight count passes its limit never; every waiter is in exactly one queue or has
// exactly one verdict; a waiter waits only while no lane that could run it has a free slot.
type Core struct {
	pools     map[string]*pool // by weights
	lanes     map[lane.ID]*laneState
	instances map[string]*instanceState
	grants    map[uint64]*laneState // in flight
	waiting   int
	seq       uint64
	effects   effects
}

// effects are the decisions since the last take.
type effects struct {
	verdicts []verdict
	loads    []Load
	backoffs []lane.ID // lanes that wait for a retry
}

// verdict ends one waiter's wait: a grant, or an error.
type verdict struct {
	waiter *waiter
	grant  Grant
	err    error
}

// instanceState is what the lanes of an instance share.
type instanceState struct {
	name    string
	up      bool
	held    bool       // other lanes give no grants, so that a load which waits for room gets it
	loading *laneState // at most one load at a time: Ollama loads one by one, and blocks the others
	busy    int        // slots taken on all lanes
	lanes   []*laneState
}

type laneState struct {
	LaneSpec
	instance  *instanceState
	pool      *pool
	ledger    lane.Ledger
	state     lane.State
	signature string                // resident, or being loaded
	next      *Class                // draining towards this class's signature
	failures  map[string]*LoadError // loads that failed, by signature, until retried; nil: it was only busy
	loadSeq   uint64
	asked     time.Time // when its last load began, and when that had opened it
	opened    time.Time
	gone      bool // dropped: forgotten when its last grant is released
}

// pool is the lanes of some weights and the lines that wait for them.
type pool struct {
	lanes  []*laneState // by Order
	queues []*queue     // one a class, none empty
}

// NewCore is a Core without lanes.
func NewCore() *Core {
	return &Core{
		pools:     map[string]*pool{},
		lanes:     map[lane.ID]*laneState{},
		instances: map[string]*instanceState{},
		grants:    map[uint64]*laneState{},
	}
}

func (c *Core) take() effects {
	e := c.effects
	c.effects = effects{}
	return e
}

// arrive puts a ticket in line; it may be granted, or refused, within the call.
func (c *Core) arrive(now time.Time, w *waiter) {
	c.seq++
	w.seq = c.seq
	p := c.pools[w.Class.Weights]
	if p == nil {
		c.refuse(w, ErrGone)
		return
	}
	p.queue(w.Class).add(w)
	c.waiting++
	c.fill(now, p)
}

// cancel takes a waiter out of the line; false if it has a verdict already.
func (c *Core) cancel(now time.Time, w *waiter) bool {
	if w.queue == nil {
		return false
	}
	p := c.pools[w.Class.Weights]
	c.leave(p, w)
	c.fill(now, p) // it may have been what a lane was draining for
	return true
}

// release gives a grant's slot back; false if it was released before.
func (c *Core) release(now time.Time, id uint64, o Outcome) bool {
	l := c.grants[id]
	if l == nil {
		return false
	}
	delete(c.grants, id)
	l.ledger.Release()
	l.instance.busy--
	switch {
	case o.Reload:
		l.cool()
		c.fail(l, nil)
	case o.Unload && l.idle():
		c.unload(l)
	}
	if l.gone && l.ledger.InFlight() == 0 {
		c.forget(l)
	}
	c.fill(now, l.pool)
	return true
}

// fill gives every slot that can be given, then asks for the loads that waiting tickets are worth.
func (c *Core) fill(now time.Time, p *pool) {
	c.drained(now, p)
	for c.grantNext(now, p) {
	}
	c.refuseHopeless(p)
	c.wantLoads(now, p)
}

// fillInstance refills every pool with a lane on the instance.
func (c *Core) fillInstance(now time.Time, in *instanceState) {
	for _, l := range in.lanes {
		if len(l.pool.queues) > 0 {
			c.fill(now, l.pool)
		}
	}
}

// grantNext gives one slot to the oldest head of a line that a lane can take; false if none can.
func (c *Core) grantNext(now time.Time, p *pool) bool {
	p.sortByHead()
	for _, q := range p.queues {
		if w, l := p.choose(q); l != nil {
			c.grant(now, p, w, l)
			return true
		}
	}
	return false
}

func (c *Core) grant(now time.Time, p *pool, w *waiter, l *laneState) {
	if !l.ledger.Reserve() {
		panic("BUG: dispatch: picked a lane without a free slot")
	}
	l.instance.busy++
	c.leave(p, w)
	c.seq++
	g := Grant{ID: c.seq, Ticket: w.ID, Lane: l.ID, At: now}
	c.grants[g.ID] = l
	c.effects.verdicts = append(c.effects.verdicts, verdict{waiter: w, grant: g})
}

func (c *Core) refuse(w *waiter, err error) {
	c.effects.verdicts = append(c.effects.verdicts, verdict{waiter: w, err: err})
}

// leave takes a waiter out of its line and drops the line if it is empty.
func (c *Core) leave(p *pool, w *waiter) {
	q := w.queue
	q.remove(w)
	c.waiting--
	if q.Len() == 0 {
		p.queues = slices.DeleteFunc(p.queues, func(x *queue) bool { return x == q })
	}
}

// refuseHopeless ends the wait of tickets that nothing can serve any more: no lane left, or an answer of
// Ollama's own to a load that failed everywhere. Lanes that are down are waited for.
func (c *Core) refuseHopeless(p *pool) {
	for _, q := range slices.Clone(p.queues) {
		err := p.hopeless(q.class)
		if err == nil {
			continue
		}
		for q.Len() > 0 {
			w := q.head()
			c.leave(p, w)
			c.refuse(w, err)
		}
	}
}

func (p *pool) hopeless(class Class) error {
	serves, failed := 0, (*LoadError)(nil)
	for _, l := range p.lanes {
		if !l.serves(class) {
			continue
		}
		serves++
		err, blocked := l.failures[class.Signature]
		if !blocked || err == nil || !l.instance.up {
			return nil
		}
		failed = err
	}
	if serves == 0 {
		return ErrGone
	}
	return failed
}

// queue is the line of a class, made if it is not there.
func (p *pool) queue(class Class) *queue {
	for _, q := range p.queues {
		if q.class == class {
			return q
		}
	}
	q := &queue{class: class}
	p.queues = append(p.queues, q)
	return q
}

func (p *pool) sortByHead() {
	if len(p.queues) > 1 {
		slices.SortFunc(p.queues, func(a, b *queue) int {
			if before(a.head(), b.head()) {
				return -1
			}
			return 1
		})
	}
}

// serves says whether the lane may run tickets of a class at all, in whatever state it is now.
func (l *laneState) serves(class Class) bool {
	return !l.gone && l.Models[class.Model] && slices.Contains(l.Roles, class.Role)
}

// cool makes the lane one that must be loaded before it is granted.
func (l *laneState) cool() {
	if l.state == lane.Open {
		l.state, l.next = lane.Cold, nil
	}
}
