package placement

import "testing"

func TestPick(t *testing.T) {
	f := func(want int, candidates ...Candidate) {
		t.Helper()
		if got := Pick(candidates); got != want {
			t.Errorf("Pick(%v) = %d, want %d", candidates, got, want)
		}
	}
	f(-1)
	f(0, Candidate{InFlight: 0, Limit: 1})
	// The first in file order when nothing tells them apart.
	f(0, Candidate{InFlight: 1, Limit: 4, Busy: 1}, Candidate{InFlight: 1, Limit: 4, Busy: 1})
	// The smaller share of the limit, not the smaller number.
	f(1, Candidate{InFlight: 1, Limit: 2}, Candidate{InFlight: 2, Limit: 8})
	f(0, Candidate{InFlight: 1, Limit: 3}, Candidate{InFlight: 2, Limit: 4})
	// Then the instance with less other work.
	f(1, Candidate{InFlight: 1, Limit: 4, Busy: 3}, Candidate{InFlight: 1, Limit: 4, Busy: 1})
}
