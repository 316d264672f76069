package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"corral/internal/lane"
)

// loadAtOnce opens every lane it is asked for, as an instance with a fast disk would.
type loadAtOnce struct {
	d    *Dispatcher
	fail *LoadError
	busy int // loads to refuse as busy first
	mu   sync.Mutex
	n    int
}

func (l *loadAtOnce) Load(load Load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	switch {
	case l.fail != nil:
		go l.d.LoadFailed(load, l.fail)
	case l.busy > 0:
		l.busy--
		go l.d.LoadFailed(load, nil)
	default:
		go l.d.Loaded(load)
	}
}

func (l *loadAtOnce) Backoff(id lane.ID) {
	time.AfterFunc(time.Second, func() { l.d.Retry(id) })
}

func testDispatcher(maxWaiting, slots int) (*Dispatcher, *loadAtOnce) {
	l := &loadAtOnce{}
	l.d = New(l, maxWaiting)
	l.d.SetLane(LaneSpec{
		ID: lane.NewID("a", "w"), Instance: "a", Weights: "w", Roles: []lane.Role{lane.Generate},
		Models: map[string]bool{"m:latest": true}, Slots: slots,
	})
	l.d.SetUp("a", true)
	return l.d, l
}

func testTicket(id string) Ticket {
	return Ticket{ID: id, Arrival: time.Now(), Class: Class{Weights: "w", Model: "m:latest", Role: lane.Generate}}
}

func TestAcquireWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := testDispatcher(1000, 2)
		var mu sync.Mutex
		var order []string
		running, most := 0, 0
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				g, err := d.Acquire(t.Context(), testTicket(fmt.Sprintf("%02d", i)))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, g.Ticket)
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running--
				mu.Unlock()
				if !d.Release(g, Outcome{Result: Done}) || d.Release(g, Outcome{Result: Done}) {
					t.Error("a grant is released exactly once")
				}
			})
			synctest.Wait()
			time.Sleep(time.Millisecond) // arrivals differ
		}
		all.Wait()
		if most != 2 {
			t.Errorf("at most %d ran at once, want 2", most)
		}
		if got := strings.Join(order, " "); got != "00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19" {
			t.Errorf("served in the order %s", got)
		}
		if s := d.Snapshot(); s.Waiting != 0 || s.Running != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

func TestAcquireCancelledGivesItsPlaceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := testDispatcher(1000, 1)
		first, err := d.Acquire(t.Context(), testTicket("first"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { _, err := d.Acquire(ctx, testTicket("second")); left <- err }()
		synctest.Wait()
		third := make(chan Grant)
		go func() { g, _ := d.Acquire(t.Context(), testTicket("third")); third <- g }()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled wait ends with %v", err)
		}
		d.Release(first, Outcome{Result: Done})
		d.Release(<-third, Outcome{Result: Done})
	})
}

// TestAcquireGrantRacesCancel: whichever comes first, the slot is never lost.
func TestAcquireGrantRacesCancel(t *testing.T) {
	d, _ := testDispatcher(1000, 1)
	for range 2000 {
		g, err := d.Acquire(t.Context(), testTicket("x"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if g, err := d.Acquire(ctx, testTicket("y")); err == nil {
				d.Release(g, Outcome{Result: Done})
			}
		}()
		go cancel()
		d.Release(g, Outcome{Result: Done})
		<-done
		cancel()
	}
	if s := d.Snapshot(); s.Waiting != 0 || s.Running != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

func TestAcquireFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := testDispatcher(1, 1)
		g, err := d.Acquire(t.Context(), testTicket("runs"))
		if err != nil {
			t.Fatal(err)
		}
		waits := make(chan error)
		go func() {
			g, err := d.Acquire(t.Context(), testTicket("waits"))
			d.Release(g, Outcome{Result: Done})
			waits <- err
		}()
		synctest.Wait()
		if _, err := d.Acquire(t.Context(), testTicket("too many")); !errors.Is(err, ErrFull) {
			t.Errorf("a full queue says %v", err)
		}
		d.Release(g, Outcome{Result: Done})
		if err := <-waits; err != nil {
			t.Error(err)
		}
	})
}

func TestAcquireErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := testDispatcher(10, 1)
		unknown := testTicket("unknown")
		unknown.Class.Weights = "other"
		if _, err := d.Acquire(t.Context(), unknown); !errors.Is(err, ErrGone) {
			t.Errorf("unknown weights: %v", err)
		}
		l.fail = &LoadError{Status: 500, Message: "out of memory"}
		var load *LoadError
		if _, err := d.Acquire(t.Context(), testTicket("x")); !errors.As(err, &load) || load.Message != "out of memory" {
			t.Errorf("a load that fails everywhere ends with %v", err)
		}
		l.fail, l.busy = nil, 3
		time.Sleep(2 * time.Second) // the failed load is forgotten
		g, err := d.Acquire(t.Context(), testTicket("waits for a busy instance"))
		if err != nil {
			t.Fatal(err)
		}
		d.Release(g, Outcome{Result: Done})
		d.DropLane(lane.NewID("a", "w"))
		if _, err := d.Acquire(t.Context(), testTicket("y")); !errors.Is(err, ErrGone) {
			t.Errorf("a dropped lane: %v", err)
		}
	})
}

// TestPlainDataIsSmall: tickets, grants and outcomes travel between replicas, so they stay under 400 bytes.
func TestPlainDataIsSmall(t *testing.T) {
	long := strings.Repeat("x", 96)
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	for _, v := range []any{
		Ticket{
			ID: strings.Repeat("i", 26), Tenant: "2001:db8:1111:2222::/64", Arrival: at, Avoid: []string{"gpu-1", "gpu-2", "gpu-3"},
			Class: Class{Weights: "0123456789ab", Model: long, Signature: `{"num_batch":512,"num_ctx":131072,"num_gpu":99}`, Role: lane.Generate},
		},
		Grant{ID: 1 << 62, Ticket: strings.Repeat("i", 26), Lane: lane.NewID("10.100.100.100:11434", "0123456789ab"), At: at},
		Outcome{Result: Unstarted, Unload: true, Reload: true},
	} {
		data, err := json.Marshal(v)
		if err != nil || len(data) > 400 {
			t.Errorf("%T is %d bytes of JSON (%v): %s", v, len(data), err, data)
		}
	}
}

func BenchmarkAcquireFree(b *testing.B) {
	d, _ := testDispatcher(1000, 64)
	g, err := d.Acquire(b.Context(), testTicket("x"))
	if err != nil {
		b.Fatal(err)
	}
	d.Release(g, Outcome{})
	t := testTicket("x")
	b.ReportAllocs()
	for b.Loop() {
		g, _ := d.Acquire(b.Context(), t)
		d.Release(g, Outcome{Result: Done})
	}
}
