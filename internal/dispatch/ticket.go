// Package dispatch holds every ticket and gives every grant: the only queue there is.
//
// Core is pure (its methods take the time) and decides; Dispatcher is its blocking shell: Acquire waits,
// Release gives back. Nobody else queues, and a slot is reserved inside the decision, under one lock.
package dispatch

import (
	"errors"
	"time"

	"corral/internal/lane"
)

// Class is the tickets that may run on the same lanes.
type Class struct {
	Weights   string    `json:"w"`           // id of the weights, whatever names point at them
	Model     string    `json:"m"`           // canonical name: an instance must know the weights by it
	Signature string    `json:"s,omitempty"` // load options as canonical JSON; "" is the instance's default
	Role      lane.Role `json:"r"`
}

// Ticket is one request that waits or runs. Plain data, at most 400 bytes of JSON.
type Ticket struct {
	ID      string    `json:"id"`
	Class   Class     `json:"c"`
	Tenant  string    `json:"t,omitempty"`
	Arrival time.Time `json:"a"`           // its place in line; a requeued ticket keeps it
	Avoid   []string  `json:"x,omitempty"` // instances that failed it: tried last
	Attempt int       `json:"n,omitempty"` // grants it had before: once granted, it is never shed
}

// Grant is the right to use one slot of one lane. Released exactly once, with an outcome. Plain data.
type Grant struct {
	ID     uint64    `json:"id"`
	Ticket string    `json:"t"`
	Lane   lane.ID   `json:"l"`
	At     time.Time `json:"a"`
}

// Result says in one word how a grant was used.
type Result string

// The results of a grant.
const (
	Done      Result = "done"      // the instance answered to the end
	Failed    Result = "failed"    // started, did not end well
	Cancelled Result = "cancelled" // the client left while it ran
	Unstarted Result = "unstarted" // the instance refused it: no work was done
	Unused    Result = "unused"    // the waiter had gone when the grant came
)

// Outcome is what a release tells. Plain data.
type Outcome struct {
	Result Result `json:"r"`
	Unload bool   `json:"u,omitempty"` // its client has no more use for the model: unload it, unless others have
	Reload bool   `json:"l,omitempty"` // the lane must be loaded again, after a while, before it is granted: its instance refused
}

// Load asks for a lane to be loaded with the signature of a class, or unloaded. Seq tells one load of a lane from
// another.
type Load struct {
	Lane   lane.ID
	Class  Class
	Seq    uint64
	Unload bool
}

// ErrFull is returned when the queue holds as many tickets as it may.
var ErrFull = errors.New("the queue is full")

// ErrGone is returned when no instance has the model any more.
var ErrGone = errors.New("no instance has the model any more")

// LoadError is an instance's own answer to a load that failed on every lane a ticket could use.
type LoadError struct {
	Lane    lane.ID
	Status  int    // HTTP status of the instance
	Message string // its error text
}

func (e *LoadError) Error() string { return e.Message }
