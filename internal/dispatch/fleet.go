package dispatch

import (
	"cmp"
	"slices"
	"time"

	"corral/internal/lane"
)

// setLane adds a lane, cold, or changes what is known of one.
func (c *Core) setLane(now time.Time, spec LaneSpec) {
	l := c.lanes[spec.ID]
	if l == nil {
		l = c.newLane(spec)
	}
	l.LaneSpec, l.gone = spec, false
	l.ledger.Resize(spec.Slots, spec.Limit)
	slices.SortStableFunc(l.pool.lanes, func(a, b *laneState) int { return cmp.Compare(a.Order, b.Order) })
	c.fill(now, l.pool)
}

func (c *Core) newLane(spec LaneSpec) *laneState {
	in := c.instances[spec.Instance]
	if in == nil {
		in = &instanceState{name: spec.Instance}
		c.instances[spec.Instance] = in
	}
	p := c.pools[spec.Weights]
	if p == nil {
		p = &pool{}
		c.pools[spec.Weights] = p
	}
	l := &laneState{instance: in, pool: p, failures: map[string]*LoadError{}}
	p.lanes = append(p.lanes, l)
	in.lanes = append(in.lanes, l)
	c.lanes[spec.ID] = l
	return l
}

// dropLane takes a lane out: running grants end in peace, tickets that only it could serve are refused.
func (c *Core) dropLane(now time.Time, id lane.ID) {
	l := c.lanes[id]
	if l == nil {
		return
	}
	l.gone = true
	if l.ledger.InFlight() == 0 {
		c.forget(l)
	}
	c.fillInstance(now, l.instance)
	c.fill(now, l.pool)
}

func (c *Core) forget(l *laneState) {
	if l.instance.loading == l {
		l.instance.loading, l.instance.held = nil, false
	}
	delete(c.lanes, l.ID)
	same := func(x *laneState) bool { return x == l }
	l.instance.lanes = slices.DeleteFunc(l.instance.lanes, same)
	if len(l.instance.lanes) == 0 && !l.instance.up {
		delete(c.instances, l.Instance)
	}
	l.pool.lanes = slices.DeleteFunc(l.pool.lanes, same)
	if len(l.pool.lanes) == 0 {
		c.refuseHopeless(l.pool)
		delete(c.pools, l.Weights)
	}
}

// setUp says whether an instance can be reached. What was loaded on one that went down is not believed: its
// lanes open again after a load of Corral's own.
func (c *Core) setUp(now time.Time, name string, up bool) {
	in := c.instances[name]
	if in == nil {
		in = &instanceState{name: name}
		c.instances[name] = in
	}
	in.up = up
	if !up {
		in.loading, in.held = nil, false
		for _, l := range in.lanes {
			l.state, l.next = lane.Cold, nil
		}
	}
	c.fillInstance(now, in)
}

// hold stops grants on an instance's lanes while a load waits there for room, or lets them go on.
func (c *Core) hold(now time.Time, id lane.ID, seq uint64, held bool) {
	if l := c.lanes[id]; l != nil && l.state == lane.Loading && l.loadSeq == seq {
		l.instance.held = held
		c.fillInstance(now, l.instance)
	}
}

// evicted says that an instance no longer has the lane's weights loaded.
func (c *Core) evicted(now time.Time, id lane.ID) {
	if l := c.lanes[id]; l != nil && l.ledger.InFlight() == 0 {
		l.cool()
		c.fill(now, l.pool)
	}
}
