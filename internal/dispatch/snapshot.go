package dispatch

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"corral/internal/lane"
)

// LaneView is a lane at one moment.
type LaneView struct {
	ID       lane.ID    `json:"id"`
	Instance string     `json:"instance"`
	Models   []string   `json:"models"` // names of its weights
	State    lane.State `json:"state"`
	Slots    int        `json:"slots"`
	Limit    int        `json:"limit"`
	InFlight int        `json:"in_flight"`
}

// ClassView is the line of one class at one moment.
type ClassView struct {
	Class   Class     `json:"class"`
	Waiting int       `json:"waiting"`
	Oldest  time.Time `json:"oldest"` // arrival of the ticket that waits longest
}

// Snapshot is a consistent picture of the dispatcher, sorted by lane and by class.
type Snapshot struct {
	Lanes   []LaneView  `json:"lanes"`
	Classes []ClassView `json:"classes"`
	Waiting int         `json:"waiting"`
	Running int         `json:"running"`
}

// Snapshot shows the dispatcher as it is now.
func (d *Dispatcher) Snapshot() Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.snapshot()
}

func (c *Core) snapshot() Snapshot {
	s := Snapshot{Waiting: c.waiting, Running: len(c.grants), Lanes: []LaneView{}, Classes: []ClassView{}}
	for _, l := range c.lanes {
		s.Lanes = append(s.Lanes, LaneView{
			ID: l.ID, Instance: l.Instance, State: l.state, Models: slices.Sorted(maps.Keys(l.Models)),
			Slots: l.ledger.Slots(), Limit: l.ledger.Limit(), InFlight: l.ledger.InFlight(),
		})
	}
	for _, p := range c.pools {
		for _, q := range p.queues {
			s.Classes = append(s.Classes, ClassView{Class: q.class, Waiting: q.Len(), Oldest: q.head().Arrival})
		}
	}
	slices.SortFunc(s.Lanes, func(a, b LaneView) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Classes, func(a, b ClassView) int {
		return cmp.Or(cmp.Compare(a.Class.Model, b.Class.Model), cmp.Compare(a.Class.Role, b.Class.Role),
			cmp.Compare(a.Class.Signature, b.Class.Signature), cmp.Compare(a.Class.Weights, b.Class.Weights))
	})
	return s
}
