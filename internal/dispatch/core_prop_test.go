package dispatch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"corral/internal/lane"
)

// model is what a test knows of a Core from outside: every ticket's fate, every grant, every load.
type model struct {
	t       *rapid.T
	core    *Core
	now     time.Time
	nextID  int
	waiting map[*waiter]bool
	running map[uint64]verdict
	loads   map[lane.ID]Load
	backoff map[lane.ID]bool
	specs   map[lane.ID]LaneSpec
	up      map[string]bool
	slots   map[lane.ID]int // in flight, counted from grants and releases
}

func newModel(t *rapid.T) *model {
	return &model{
		t: t, core: NewCore(), now: time.Unix(1000, 0),
		waiting: map[*waiter]bool{}, running: map[uint64]verdict{}, loads: map[lane.ID]Load{},
		backoff: map[lane.ID]bool{}, specs: map[lane.ID]LaneSpec{}, up: map[string]bool{}, slots: map[lane.ID]int{},
	}
}

// settle collects what the Core decided and checks each decision against the model.
func (m *model) settle() {
	e := m.core.take()
	for _, v := range e.verdicts {
		if !m.waiting[v.waiter] {
			m.t.Fatalf("a verdict for a ticket that does not wait: %+v", v)
		}
		delete(m.waiting, v.waiter)
		if v.err != nil {
			continue
		}
		spec, known := m.specs[v.grant.Lane]
		if !known || !spec.Models[v.waiter.Class.Model] || !slices.Contains(spec.Roles, v.waiter.Class.Role) {
			m.t.Fatalf("granted a lane that does not serve the class: %+v", v)
		}
		if !m.up[spec.Instance] {
			m.t.Fatalf("granted a lane of an instance that is down: %s", v.grant.Lane)
		}
		limit := spec.Limit
		if limit == 0 {
			limit = spec.Slots
		}
		if m.slots[v.grant.Lane] >= limit {
			m.t.Fatalf("granted %s with %d in flight and limit %d", v.grant.Lane, m.slots[v.grant.Lane], limit)
		}
		if _, twice := m.running[v.grant.ID]; twice {
			m.t.Fatalf("grant %d given twice", v.grant.ID)
		}
		m.slots[v.grant.Lane]++
		m.running[v.grant.ID] = v
	}
	for _, l := range e.loads {
		if l.Unload {
			m.checkUnload(l)
		}
		m.loads[l.Lane] = l
	}
	for _, id := range e.backoffs {
		m.backoff[id] = true
	}
}

// checkUnload: weights that somebody uses, or waits for, are not unloaded.
func (m *model) checkUnload(u Load) {
	if m.slots[u.Lane] > 0 {
		m.t.Fatalf("%s is unloaded with %d in flight", u.Lane, m.slots[u.Lane])
	}
	l := m.core.lanes[u.Lane]
	for w := range m.waiting {
		if w.Class.Weights == l.Weights && l.serves(w.Class) {
			m.t.Fatalf("%s is unloaded while ticket %s waits for it", u.Lane, w.ID)
		}
	}
}

// Check holds after every step.
func (m *model) Check(t *rapid.T) {
	if m.core.waiting != len(m.waiting) {
		t.Fatalf("the Core says %d wait, %d do", m.core.waiting, len(m.waiting))
	}
	if len(m.core.grants) != len(m.running) {
		t.Fatalf("the Core says %d run, %d do", len(m.core.grants), len(m.running))
	}
	for id, l := range m.core.lanes {
		if l.ledger.InFlight() != m.slots[id] {
			t.Fatalf("lane %s: ledger %d, in flight %d", id, l.ledger.InFlight(), m.slots[id])
		}
	}
	busy := map[string]int{}
	for id, n := range m.slots {
		busy[m.instanceOf(id)] += n
	}
	for name, in := range m.core.instances {
		if in.busy != busy[name] {
			t.Fatalf("instance %s: busy %d, in flight %d", name, in.busy, busy[name])
		}
	}
	for w := range m.waiting {
		if w.queue == nil || w.queue.waiters[w.index] != w {
			t.Fatalf("ticket %s is lost: it waits in no line", w.ID)
		}
		if l := m.core.pools[w.Class.Weights].pick(w); l != nil {
			t.Fatalf("ticket %s waits although %s could take it", w.ID, l.ID)
		}
	}
}

func (m *model) instanceOf(id lane.ID) string {
	var instance string
	var weights int
	_, _ = fmt.Sscanf(string(id), "%1s/w%d", &instance, &weights)
	return instance
}

func (m *model) Arrive(t *rapid.T) {
	m.nextID++
	w := &waiter{index: -1, Ticket: Ticket{
		ID:      fmt.Sprint(m.nextID),
		Arrival: m.now.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * time.Second),
		Class: Class{
			Weights:   rapid.SampledFrom([]string{"w1", "w2"}).Draw(t, "weights"),
			Model:     rapid.SampledFrom([]string{"m", "n"}).Draw(t, "model"),
			Signature: rapid.SampledFrom([]string{"", "s1"}).Draw(t, "signature"),
			Role:      rapid.SampledFrom([]lane.Role{lane.Generate, lane.Embed}).Draw(t, "role"),
		},
		Avoid: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 2).Draw(t, "avoid"),
	}}
	m.waiting[w] = true
	m.core.arrive(m.now, w)
	m.settle()
}

func (m *model) Cancel(t *rapid.T) {
	waiters := make([]*waiter, 0, len(m.waiting))
	for w := range m.waiting {
		waiters = append(waiters, w)
	}
	if len(waiters) == 0 {
		t.Skip()
	}
	slices.SortFunc(waiters, func(a, b *waiter) int { return int(a.seq) - int(b.seq) })
	w := rapid.SampledFrom(waiters).Draw(t, "waiter")
	delete(m.waiting, w)
	if !m.core.cancel(m.now, w) || m.core.cancel(m.now, w) {
		t.Fatal("a waiting ticket is cancelled once")
	}
	m.settle()
}

func (m *model) Release(t *rapid.T) {
	ids := sortedKeys(m.running)
	if len(ids) == 0 {
		t.Skip()
	}
	m.release(rapid.SampledFrom(ids).Draw(t, "grant"), Outcome{
		Unload: rapid.Bool().Draw(t, "unload"), Reload: rapid.IntRange(0, 3).Draw(t, "reload") == 0,
	})
}

func (m *model) release(id uint64, o Outcome) {
	m.slots[m.running[id].grant.Lane]--
	delete(m.running, id)
	if !m.core.release(m.now, id, o) || m.core.release(m.now, id, o) {
		m.t.Fatal("a grant is released once")
	}
	m.settle()
}

func (m *model) SetLane(t *rapid.T) {
	instance := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "instance")
	weights := rapid.SampledFrom([]string{"w1", "w2"}).Draw(t, "weights")
	slots := rapid.IntRange(1, 3).Draw(t, "slots")
	spec := LaneSpec{
		ID: lane.NewID(instance, weights), Instance: instance, Weights: weights, Order: int(instance[0]),
		Roles:  rapid.SampledFrom([][]lane.Role{{lane.Generate}, {lane.Embed}, {lane.Generate, lane.Embed}}).Draw(t, "roles"),
		Models: rapid.SampledFrom([]map[string]bool{{"m": true}, {"n": true}, {"m": true, "n": true}}).Draw(t, "models"),
		Slots:  slots, Limit: rapid.IntRange(0, slots).Draw(t, "limit"),
	}
	m.specs[spec.ID] = spec
	m.core.setLane(m.now, spec)
	m.settle()
}

func (m *model) DropLane(t *rapid.T) {
	ids := sortedKeys(m.core.lanes)
	if len(ids) == 0 {
		t.Skip()
	}
	m.core.dropLane(m.now, rapid.SampledFrom(ids).Draw(t, "lane"))
	m.settle()
}

func (m *model) SetUp(t *rapid.T) {
	instance := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "instance")
	m.up[instance] = rapid.IntRange(0, 3).Draw(t, "up") > 0
	m.core.setUp(m.now, instance, m.up[instance])
	m.settle()
}

func (m *model) EndLoad(t *rapid.T) {
	ids := sortedKeys(m.loads)
	if len(ids) == 0 {
		t.Skip()
	}
	l := m.loads[rapid.SampledFrom(ids).Draw(t, "load")]
	switch end := rapid.IntRange(0, 4).Draw(t, "end"); {
	case l.Unload:
		m.core.unloaded(m.now, l.Lane, l.Seq)
	case end == 0:
		m.core.loadFailed(m.now, l.Lane, l.Seq, nil)
	case end == 1:
		m.core.loadFailed(m.now, l.Lane, l.Seq, &LoadError{Lane: l.Lane, Status: 500, Message: "out of memory"})
	default:
		m.core.loaded(m.now, l.Lane, l.Seq)
	}
	delete(m.loads, l.Lane)
	m.settle()
}

func (m *model) Retry(t *rapid.T) {
	ids := sortedKeys(m.backoff)
	if len(ids) == 0 {
		t.Skip()
	}
	m.core.retry(m.now, rapid.SampledFrom(ids).Draw(t, "lane"))
	m.settle()
}

func (m *model) Hold(t *rapid.T) {
	for _, id := range sortedKeys(m.loads) {
		m.core.hold(m.now, id, m.loads[id].Seq, rapid.Bool().Draw(t, "held"))
		m.settle()
	}
}

func (m *model) Evict(t *rapid.T) {
	ids := sortedKeys(m.core.lanes)
	if len(ids) == 0 {
		t.Skip()
	}
	m.core.evicted(m.now, rapid.SampledFrom(ids).Draw(t, "lane"))
	m.settle()
}

func (m *model) Advance(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 1000).Draw(t, "ms")) * time.Millisecond)
}

// finish lets everything that runs and loads end well: then nobody may be left waiting for a fleet that is up.
func (m *model) finish() {
	for _, instance := range []string{"a", "b", "c"} {
		m.up[instance] = true
		m.core.setUp(m.now, instance, true)
		m.settle()
	}
	for round := 0; len(m.waiting)+len(m.running)+len(m.loads) > 0; round++ {
		if round > 10_000 {
			for id, l := range m.core.lanes {
				m.t.Logf("lane %s: %+v instance %+v", id, *l, *l.instance)
			}
			m.t.Fatalf("%d tickets wait for ever; lanes %+v", len(m.waiting), m.core.snapshot())
		}
		for _, id := range sortedKeys(m.loads) {
			if m.loads[id].Unload {
				m.core.unloaded(m.now, id, m.loads[id].Seq)
			} else {
				m.core.loaded(m.now, id, m.loads[id].Seq)
			}
			delete(m.loads, id)
			m.settle()
		}
		for _, id := range sortedKeys(m.backoff) {
			delete(m.backoff, id)
			m.core.retry(m.now, id)
			m.settle()
		}
		for _, id := range sortedKeys(m.running) {
			m.release(id, Outcome{Result: Done})
		}
	}
	if len(m.core.grants) != 0 || m.core.waiting != 0 {
		m.t.Fatal("something leaked")
	}
}

func sortedKeys[K ~string | ~uint64, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestLedgerProperties: whatever arrives, leaves, ends, fails, changes or reloads, no grant is given while
// in-flight >= limit, nothing leaks, no waiter is lost, and no slot idles while a ticket could use it.
func TestLedgerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range 3 {
			m.SetLane(t)
			m.SetUp(t)
		}
		t.Repeat(rapid.StateMachineActions(m))
		m.finish()
	})
}
