package lane

import (
	"encoding/json"
	"testing"
)

func TestLedger(t *testing.T) {
	l := NewLedger(3, 2)
	for i, want := range []bool{true, true, false} {
		if l.Reserve() != want {
			t.Errorf("a limit of 2 gives two slots, not so at the %dth", i+1)
		}
	}
	l.Resize(3, 3)
	if l.Free() != 1 || !l.Reserve() || l.Free() != 0 {
		t.Error("a raised limit gives one more")
	}
	l.Resize(1, 0) // lowered under what is in flight: those run to their end
	if l.InFlight() != 3 || l.Free() != 0 || l.Reserve() {
		t.Error("a lowered limit gives none")
	}
	l.Release()
	l.Release()
	if l.Reserve() {
		t.Error("one in flight of one")
	}
	l.Release()
	if l.InFlight() != 0 || l.Free() != 1 {
		t.Errorf("%+v", l)
	}
	defer func() {
		if recover() == nil {
			t.Error("a slot that was not reserved is released without a word")
		}
	}()
	l.Release()
}

func TestLedgerBounds(t *testing.T) {
	for _, c := range []struct{ slots, limit, wantSlots, wantLimit int }{
		{0, 0, 1, 1}, {-3, 5, 1, 1}, {4, 0, 4, 4}, {4, 9, 4, 4}, {4, -1, 4, 4}, {4, 2, 4, 2},
	} {
		l := NewLedger(c.slots, c.limit)
		if l.Slots() != c.wantSlots || l.Limit() != c.wantLimit {
			t.Errorf("NewLedger(%d, %d): %d slots, limit %d", c.slots, c.limit, l.Slots(), l.Limit())
		}
	}
}

func TestState(t *testing.T) {
	text, err := json.Marshal([]State{Cold, Loading, Open, 9})
	if err != nil || string(text) != `["cold","loading","open","state(9)"]` {
		t.Errorf("%s, %v", text, err)
	}
	if id := NewID("a", "0123"); id != "a/0123" {
		t.Errorf("%s", id)
	}
}
