package dispatch

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"corral/internal/lane"
)

// loadSlowly opens lanes after a while.
type loadSlowly struct {
	d    *Dispatcher
	took time.Duration
	mu   sync.Mutex
	n    int
}

func (l *loadSlowly) Load(load Load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	time.AfterFunc(l.took, func() { l.d.Loaded(load) })
}

func (l *loadSlowly) Backoff(lane.ID) {}

// TestSignaturesTakeTurns: two lines that differ in their load options share a lane in turns that are worth its loads,
// and neither waits for the end of the other.
func TestSignaturesTakeTurns(t *testing.T) {
	f := func(took time.Duration, wantLoads int, wantLast time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			l := &loadSlowly{took: took}
			l.d = New(l, 1000)
			l.d.SetLane(LaneSpec{
				ID: lane.NewID("a", "w"), Instance: "a", Weights: "w", Roles: []lane.Role{lane.Generate},
				Models: map[string]bool{"m:latest": true}, Slots: 1,
			})
			l.d.SetUp("a", true)
			start := time.Now()
			var first time.Duration // the first of the second line
			var all sync.WaitGroup
			for i := range 40 {
				all.Go(func() {
					ticket := testTicket(fmt.Sprint(i))
					if i%2 == 1 {
						ticket.Class.Signature = `{"num_ctx":8192}`
					}
					g, err := l.d.Acquire(t.Context(), ticket)
					if err != nil {
						t.Error(err)
						return
					}
					if i == 1 {
						first = time.Since(start)
					}
					time.Sleep(time.Second)
					l.d.Release(g, Outcome{Result: Done})
				})
				synctest.Wait()
				time.Sleep(time.Millisecond) // arrivals differ
			}
			all.Wait()
			if l.n != wantLoads {
				t.Errorf("a load of %s: %d loads for 40 tickets, want %d", took, l.n, wantLoads)
			}
			if first > wantLast {
				t.Errorf("a load of %s: the second line waited %s for its first turn, want at most %s", took, first, wantLast)
			}
		})
	}
	f(0, 40, 2*time.Second)             // strictly in turn where loads cost nothing
	f(2*time.Second, 6, 14*time.Second) // turns of 8 s
	f(time.Hour, 2, 3*time.Hour)        // turns of at most 2 min: here a line is empty before
}
