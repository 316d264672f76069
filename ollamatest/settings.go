package ollamatest

import (
	"errors"
	"time"
)

// Settings say how fast an engine is. The zero value of a field means its default.
type Settings struct {
	Slots int // requests that run at once, default 1; more wait first come, first served

	// One iteration of the engine gives each decoding slot a token and takes p tokens of prompts. It lasts
	// Base + PerSlot*b + p/PrefillRate for b decoding slots (reference: continuous batching of llama.cpp).
	Base        time.Duration // default 5ms, negative: none
	PerSlot     time.Duration // default none
	PrefillRate float64       // prompt tokens per second, default 4000
	Curve       []float64     // total tokens per second with 1, 2, … slots decoding; replaces Base and PerSlot. Its last value holds for more
	Batch       int           // tokens of one iteration, default 512
	NoReuse     bool          // forget prompts: no prefix is ever reused

	Tokens int           // length of a reply that nothing else decides, default 16
	Embed  time.Duration // time of one embedding, default 5ms, negative: none

	Load   time.Duration // from start to ready, default none
	Unload time.Duration // until the memory of an unloaded model is free again, default none

	// FinishPrefill keeps the slot of a request that is cancelled during its prefill until the prefill ends,
	// as a llama-server with one large batch does.
	FinishPrefill bool

	Speed float64 // divides all times of the engine, default 1; also those that directives give
}

func (s Settings) withDefaults() Settings {
	s.Slots = max(s.Slots, 1)
	s.Base = paceOr(s.Base, 5*time.Millisecond)
	s.Embed = paceOr(s.Embed, 5*time.Millisecond)
	if s.PrefillRate <= 0 {
		s.PrefillRate = 4000
	}
	if s.Batch <= 0 {
		s.Batch = 512
	}
	if s.Tokens <= 0 {
		s.Tokens = 16
	}
	if s.Speed <= 0 {
		s.Speed = 1
	}
	return s
}

// paceOr is d, or def where d is zero; a negative d is no time at all.
func paceOr(d, def time.Duration) time.Duration {
	switch {
	case d < 0:
		return 0
	case d == 0:
		return def
	}
	return d
}

func (s *Settings) scale(d time.Duration) time.Duration {
	if s.Speed == 1 {
		return d
	}
	return time.Duration(float64(d) / s.Speed)
}

// prefill is the time that n tokens of prompt add to an iteration, unscaled.
func (s *Settings) prefill(n int) time.Duration {
	return time.Duration(float64(n) / s.PrefillRate * float64(time.Second))
}

// decode is the time of an iteration in which b slots decode, without prompts, unscaled.
func (s *Settings) decode(b int) time.Duration {
	if len(s.Curve) == 0 || b == 0 {
		return s.Base + s.PerSlot*time.Duration(b)
	}
	rate := s.Curve[min(b, len(s.Curve))-1]
	return time.Duration(float64(b) / rate * float64(time.Second))
}

// FaultKind is a way in which a request goes wrong.
type FaultKind uint8

// The faults. Each comes when the token after Fault.After tokens would have come.
const (
	NoFault FaultKind = iota
	Crash             // the whole engine dies, with everybody's requests
	Fail              // this request fails, the others go on
	Stall             // no more tokens, the slot stays taken until the request is cancelled
	Cut               // the reply ends without its last, "done" part
	Reset             // Server cuts the client's connection; the engine itself ends the request as failed
)

var faultNames = map[string]FaultKind{"crash": Crash, "fail": Fail, "stall": Stall, "cut": Cut, "reset": Reset}

// Fault makes a request go wrong after so many tokens, 0: before the first.
type Fault struct {
	Kind  FaultKind
	After int
}

// Errors of a request that failed in the engine.
var (
	ErrCrashed = errors.New("engine crashed")
	ErrFailed  = errors.New("engine failed this request")
	ErrReset   = errors.New("connection reset")
	ErrStopped = errors.New("engine stopped")
)
