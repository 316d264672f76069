package call

import (
	"time"

	"corral/internal/dialect"
	"corral/internal/dispatch"
	"corral/internal/lane"
)

// Outcome says in one word how a call ended for its client.
type Outcome string

// The outcomes of a call.
const (
	OutcomeAnswered Outcome = "answered" // a complete answer
	OutcomeRejected Outcome = "rejected" // the client's fault: a 4xx of the instance
	OutcomeFailed   Outcome = "failed"   // an error, told with a status
	OutcomeBroken   Outcome = "broken"   // an error after the answer had begun
	OutcomeFull     Outcome = "full"     // the queue had no room
	OutcomeLeft     Outcome = "left"     // the client hung up first
)

// OutcomeOf is the outcome of a complete answer with an HTTP status.
func OutcomeOf(status int) Outcome {
	switch {
	case status >= 500:
		return OutcomeFailed
	case status >= 400:
		return OutcomeRejected
	}
	return OutcomeAnswered
}

// Record is what is known of a call at its end. It holds no prompt and no secret.
type Record struct {
	ID, Path, Model, Tenant string
	Role                    lane.Role
	Stream                  bool
	Arrival                 time.Time

	Lane      lane.ID // of the last attempt
	Instance  string
	Attempts  int
	Queued    time.Duration // waited in all, up to the last grant
	FirstByte time.Duration // from the last grant to the first byte of the answer
	Total     time.Duration

	Verdicts []dialect.Verdict // what is wrong with a whole answer

	Status  int // HTTP status the client saw; 0 if none
	Outcome Outcome
	Error   string
}

func (r *Record) granted(g dispatch.Grant) {
	r.Attempts++
	r.Lane = g.Lane
	r.Queued = g.At.Sub(r.Arrival)
}
