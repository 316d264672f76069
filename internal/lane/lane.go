// Package lane names lanes and keeps their slot ledgers. It is pure: no clock, no network.
//
// A lane is one (instance, weights): what an instance runs at once of one set of weights. Its ledger is the
// only place where a slot is taken or given back.
package lane

import "fmt"

// Role says what an instance, or a request, is used for.
type Role string

// The two roles. Instances of one role form its pool.
const (
	Generate Role = "generate"
	Embed    Role = "embed"
)

// ID names a lane: "instance/weights". It is short, so tickets and grants that name lanes stay small.
type ID string

// NewID is the lane of some weights on an instance.
func NewID(instance, weights string) ID { return ID(instance + "/" + weights) }

// State is where a lane is in its life.
type State uint8

// A lane is cold until Corral's own load request ended well; only an open lane is granted.
const (
	Cold    State = iota // known, not loaded: nothing is granted
	Loading              // Corral's detached load request is under way
	Open                 // its slots are granted
)

var stateNames = [...]string{"cold", "loading", "open"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText lets a state appear by its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Ledger counts the slots of one lane: how many it has, how many Corral uses now, how many are taken.
// The zero ledger has no slot. It is not safe for concurrent use: the dispatcher's lock guards it.
type Ledger struct {
	slots    int // what Ollama runs at once, >= 1
	limit    int // how many Corral uses, 1..slots
	inFlight int
}

// NewLedger has slots >= 1 of which limit (1..slots; 0 means all) are used.
func NewLedger(slots, limit int) Ledger {
	var l Ledger
	l.Resize(slots, limit)
	return l
}

// Resize changes slots and limit; grants above a lowered limit run to their end.
func (l *Ledger) Resize(slots, limit int) {
	l.slots = max(slots, 1)
	l.limit = min(limit, l.slots)
	if l.limit <= 0 {
		l.limit = l.slots
	}
}

// Reserve takes a slot, or says that none is free. In flight never passes the limit.
func (l *Ledger) Reserve() bool {
	if l.inFlight >= l.limit {
		return false
	}
	l.inFlight++
	return true
}

// Release gives a slot back. Releasing what was not reserved is a bug in the caller.
func (l *Ledger) Release() {
	if l.inFlight == 0 {
		panic("BUG: lane: released a slot that was not reserved")
	}
	l.inFlight--
}

// Free is how many slots can be reserved now.
func (l *Ledger) Free() int { return max(0, l.limit-l.inFlight) }

// Slots is N: how many requests Ollama runs at once.
func (l *Ledger) Slots() int { return l.slots }

// Limit is L: how many of the slots Corral uses.
func (l *Ledger) Limit() int { return l.limit }

// InFlight is how many slots are taken.
func (l *Ledger) InFlight() int { return l.inFlight }
