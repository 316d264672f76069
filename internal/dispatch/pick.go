package dispatch

import (
	"maps"
	"slices"
	"time"

	"corral/internal/lane"
	"corral/internal/placement"
)

// pick chooses the open lane with a free slot that a waiter should take, or nil. Instances that failed the
// ticket count only when no other instance that is up could ever take it.
func (p *pool) pick(w *waiter) *laneState {
	var lanes [16]*laneState
	var seen [16]placement.Candidate
	candidates, free := seen[:0], lanes[:0]
	others := p.hasOther(w)
	for _, l := range p.lanes {
		if !l.grants(w.Class) || (others && slices.Contains(w.Avoid, l.Instance)) {
			continue
		}
		free = append(free, l)
		candidates = append(candidates, placement.Candidate{
			InFlight: l.ledger.InFlight(), Limit: l.ledger.Limit(), Busy: l.instance.busy,
		})
	}
	if i := placement.Pick(candidates); i >= 0 {
		return free[i]
	}
	return nil
}

// choose finds the oldest ticket of a line that a lane can take now. That is the head, but when the head
// avoids every instance that has a free slot, those behind it need not wait for it.
func (p *pool) choose(q *queue) (*waiter, *laneState) {
	w := q.head()
	l := p.pick(w)
	if l != nil || len(w.Avoid) == 0 || !slices.ContainsFunc(p.lanes, func(l *laneState) bool { return l.grants(q.class) }) {
		return w, l
	}
	for _, x := range q.waiters {
		if l != nil && !before(x, w) {
			continue
		}
		if lx := p.pick(x); lx != nil {
			w, l = x, lx
		}
	}
	return w, l
}

// hasOther says whether an instance that did not fail the ticket could take it, now or later.
func (p *pool) hasOther(w *waiter) bool {
	if len(w.Avoid) == 0 {
		return true
	}
	return slices.ContainsFunc(p.lanes, func(l *laneState) bool {
		_, failed := l.failures[w.Class.Signature]
		return l.instance.up && !failed && l.serves(w.Class) && !slices.Contains(w.Avoid, l.Instance)
	})
}

// grants says whether the lane can take a ticket of the class this moment.
func (l *laneState) grants(class Class) bool {
	return l.state == lane.Open && l.next == nil && l.signature == class.Signature && l.ledger.Free() > 0 &&
		l.instance.up && !l.instance.held && l.serves(class)
}

// wantLoads opens lanes for tickets that wait: cold lanes first, one for every limit's worth of tickets, then
// a lane that holds another signature, drained first.
func (c *Core) wantLoads(now time.Time, p *pool) {
	p.sortByHead()
	for _, q := range p.queues {
		short := q.Len() - p.coming(q.class)
		for short > 0 {
			l := p.coldLaneFor(q)
			if l == nil {
				break
			}
			c.load(now, l, q.class)
			short -= l.ledger.Limit()
		}
		if short > 0 && !p.resident(q.head()) {
			c.switchSignature(now, p, q)
		}
	}
}

// coming is how many slots are being loaded, or drained, for a class.
func (p *pool) coming(class Class) int {
	n := 0
	for _, l := range p.lanes {
		if (l.state == lane.Loading && l.signature == class.Signature && l.serves(class)) ||
			(l.next != nil && *l.next == class) {
			n += l.ledger.Limit()
		}
	}
	return n
}

// resident says whether a lane that may take the waiter has its signature, or will have.
func (p *pool) resident(w *waiter) bool {
	others := p.hasOther(w)
	return slices.ContainsFunc(p.lanes, func(l *laneState) bool {
		if !l.serves(w.Class) || !l.instance.up || l.state == lane.Cold ||
			(others && slices.Contains(w.Avoid, l.Instance)) {
			return false
		}
		if l.next != nil {
			return l.next.Signature == w.Class.Signature
		}
		return l.signature == w.Class.Signature
	})
}

// coldLaneFor is the cold lane that should be loaded next for a line: for its head, or when that one avoids what
// there is, for the first that does not.
func (p *pool) coldLaneFor(q *queue) *laneState {
	l := p.coldLane(q.head())
	if l != nil || len(q.head().Avoid) == 0 ||
		!slices.ContainsFunc(p.lanes, func(l *laneState) bool { return l.state == lane.Cold && l.loadable(q.class) }) {
		return l
	}
	for _, w := range q.waiters {
		if l := p.coldLane(w); l != nil {
			return l
		}
	}
	return nil
}

// coldLane is the cold lane that should be loaded next for a waiter: on the instance with the least work.
func (p *pool) coldLane(w *waiter) *laneState {
	var best *laneState
	others := p.hasOther(w)
	for _, l := range p.lanes {
		if l.state != lane.Cold || !l.loadable(w.Class) || (others && slices.Contains(w.Avoid, l.Instance)) {
			continue
		}
		if best == nil || l.instance.busy < best.instance.busy {
			best = l
		}
	}
	return best
}

func (l *laneState) loadable(class Class) bool {
	_, failed := l.failures[class.Signature]
	return !failed && l.instance.up && l.instance.loading == nil && l.serves(class)
}

// switchSignature makes one lane drain towards the class at the head of q: an idle one at once, a busy one
// when q's head is older than all that wait for what it has loaded, as first come, first served demands, and what
// it has loaded has been worth its load: else lines of two signatures would reload the lane for every ticket.
func (c *Core) switchSignature(now time.Time, p *pool, q *queue) {
	var best *laneState
	for _, l := range p.lanes {
		if l.state != lane.Open || l.next != nil || l.signature == q.class.Signature ||
			!l.loadable(q.class) || p.wantedEarlier(l, q.head()) || (p.wanted(l) && !l.worthwhile(now)) {
			continue
		}
		if best == nil || l.ledger.InFlight() < best.ledger.InFlight() {
			best = l
		}
	}
	if best == nil {
		return
	}
	if best.ledger.InFlight() == 0 {
		c.load(now, best, q.class)
		return
	}
	class := q.class
	best.next = &class
}

// wantedEarlier says whether a ticket older than w waits for what the lane has loaded.
func (p *pool) wantedEarlier(l *laneState, w *waiter) bool {
	return slices.ContainsFunc(p.queues, func(q *queue) bool {
		return q.class.Signature == l.signature && l.serves(q.class) && before(q.head(), w)
	})
}

// wanted says whether a ticket waits for what the lane has loaded.
func (p *pool) wanted(l *laneState) bool {
	return slices.ContainsFunc(p.queues, func(q *queue) bool { return q.class.Signature == l.signature && l.serves(q.class) })
}

// A busy lane whose signature is wanted stays with it for stayTimes as long as its load took, so that at most one
// part in stayTimes+1 of its time goes into loads, and for stayMost at most, so that the others get their turn.
const (
	stayTimes = 4
	stayMost  = 2 * time.Minute
)

// worthwhile says whether the lane has been open long enough for the load it took. One that is idle need not be: no
// ticket that waits for its signature can take it.
func (l *laneState) worthwhile(now time.Time) bool {
	stay := min(stayTimes*l.opened.Sub(l.asked), stayMost)
	return l.ledger.InFlight() == 0 || now.Sub(l.opened) >= stay
}

// drained starts the reload of lanes that have run empty, and undoes a drain that nobody waits for any more.
func (c *Core) drained(now time.Time, p *pool) {
	for _, l := range p.lanes {
		if l.next == nil {
			continue
		}
		wanted := l.serves(*l.next) && slices.ContainsFunc(p.queues, func(q *queue) bool { return q.class == *l.next })
		switch {
		case !wanted:
			l.next = nil
		case l.ledger.InFlight() == 0 && l.loadable(*l.next):
			c.load(now, l, *l.next)
		}
	}
}

func (c *Core) load(now time.Time, l *laneState, class Class) {
	c.seq++
	l.asked = now
	l.state, l.signature, l.next, l.loadSeq = lane.Loading, class.Signature, nil, c.seq
	l.instance.loading = l
	c.effects.loads = append(c.effects.loads, Load{Lane: l.ID, Class: class, Seq: c.seq})
}

// idle says whether nobody uses an open lane: none of its slots is taken, and no ticket waits that it may run.
func (l *laneState) idle() bool {
	return l.state == lane.Open && !l.gone && l.ledger.InFlight() == 0 && l.instance.up && l.instance.loading == nil &&
		!slices.ContainsFunc(l.pool.queues, func(q *queue) bool { return l.serves(q.class) })
}

// unload has the lane's weights unloaded. Until that has ended the lane counts as loading, so that nobody is sent
// to weights that are about to go.
func (c *Core) unload(l *laneState) {
	c.seq++
	l.state, l.loadSeq = lane.Loading, c.seq
	l.instance.loading = l
	class := Class{Weights: l.Weights, Model: slices.Min(slices.Collect(maps.Keys(l.Models)))}
	c.effects.loads = append(c.effects.loads, Load{Lane: l.ID, Class: class, Seq: c.seq, Unload: true})
}

// unloaded ends an unload, well or not: whatever the instance has now, the next ticket loads it.
func (c *Core) unloaded(now time.Time, id lane.ID, seq uint64) {
	if l := c.endLoad(id, seq); l != nil {
		l.state = lane.Cold
		c.fillInstance(now, l.instance)
	}
}

// loaded ends a load that went well: the lane opens.
func (c *Core) loaded(now time.Time, id lane.ID, seq uint64) {
	if l := c.endLoad(id, seq); l != nil {
		l.state, l.opened = lane.Open, now
		c.fillInstance(now, l.instance)
	}
}

// loadFailed ends a load that did not: the lane is not loaded with this signature again before retry. A nil
// err means that the tickets should go on waiting (the instance was busy, or could not be reached).
func (c *Core) loadFailed(now time.Time, id lane.ID, seq uint64, err *LoadError) {
	if l := c.endLoad(id, seq); l != nil {
		l.state = lane.Cold
		c.fail(l, err)
		c.fillInstance(now, l.instance)
	}
}

func (c *Core) fail(l *laneState, err *LoadError) {
	l.failures[l.signature] = err
	c.effects.backoffs = append(c.effects.backoffs, l.ID)
}

func (c *Core) endLoad(id lane.ID, seq uint64) *laneState {
	l := c.lanes[id]
	if l == nil || l.state != lane.Loading || l.loadSeq != seq {
		return nil
	}
	l.instance.loading, l.instance.held = nil, false
	return l
}

// retry forgets the failed loads of a lane.
func (c *Core) retry(now time.Time, id lane.ID) {
	if l := c.lanes[id]; l != nil && len(l.failures) > 0 {
		clear(l.failures)
		c.fill(now, l.pool)
	}
}
