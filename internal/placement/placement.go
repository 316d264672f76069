// Package placement chooses among lanes. It is pure: it sees numbers, no clock, no network.
package placement

// Candidate is a lane that could take a ticket, as the dispatcher sees it at the moment of the decision.
type Candidate struct {
	InFlight int // slots taken on this lane
	Limit    int // slots usable on this lane, >= 1
	Busy     int // slots taken on its whole instance, all lanes together
}

// Pick returns the index of the candidate that should take the next ticket, or -1 if there is none: the
// least loaded lane by share of its limit, then the instance with the least work, then the first in file
// order, which keeps the caches of the first instances warm when there is little to do.
func Pick(candidates []Candidate) int {
	best := -1
	for i, c := range candidates {
		if best < 0 || less(c, candidates[best]) {
			best = i
		}
	}
	return best
}

func less(a, b Candidate) bool {
	// InFlight/Limit compared as cross products, so that no rounding decides.
	if l, r := a.InFlight*b.Limit, b.InFlight*a.Limit; l != r {
		return l < r
	}
	return a.Busy < b.Busy
}
