package ollamatest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const ms = time.Millisecond

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// drain runs an engine until nothing is left to happen and returns the milliseconds of a job's tokens.
func drain(e *Engine, j *Job) (tokens []int, end time.Duration, err error) {
	now := t0
	for {
		for _, ev := range e.Advance(now) {
			if ev.Job != j {
				continue
			}
			switch ev.Kind {
			case Token:
				tokens = append(tokens, int(ev.At.Sub(t0)/ms))
			case Done, Failed:
				end, err = ev.At.Sub(t0), ev.Err
			}
		}
		next, ok := e.Next()
		if !ok {
			return tokens, end, err
		}
		now = next
	}
}

func TestEnginePacedJobKeepsItsOwnTimes(t *testing.T) {
	e := NewEngine(Settings{})
	j := &Job{Prompt: "hello", Tokens: 3, Prefill: 400 * ms, Each: 5 * ms}
	e.Submit(t0, j)
	tokens, end, err := drain(e, j)
	if want := []int{405, 410, 415}; !slices.Equal(tokens, want) || end != 415*ms || err != nil {
		t.Errorf("tokens %v, end %v, err %v; want %v, 415ms", tokens, end, err, want)
	}
	if j.PromptTime != 400*ms || j.DecodeTime() != 15*ms {
		t.Errorf("prompt %v decode %v, want 400ms and 15ms", j.PromptTime, j.DecodeTime())
	}
}

func TestEngineBatchedJobsShareIterations(t *testing.T) {
	// 1000 prompt tokens a second, 10 ms an iteration and 2 ms for each decoding slot.
	e := NewEngine(Settings{Slots: 2, Base: 10 * ms, PerSlot: 2 * ms, PrefillRate: 1000})
	a := &Job{PromptTokens: 100, Tokens: 3}
	b := &Job{PromptTokens: 50, Tokens: 2}
	e.Submit(t0, a)
	e.Submit(t0.Add(50*ms), b) // joins when the first iteration ends
	tokens, _, _ := drain(e, a)
	// 110: its prefill. 172: base, one slot, 50 prompt tokens of b. 186: base, two slots.
	if want := []int{110, 172, 186}; !slices.Equal(tokens, want) {
		t.Errorf("tokens at %v, want %v", tokens, want)
	}
	if got := b.Ended.Sub(t0); got != 186*ms {
		t.Errorf("b ended at %v, want 186ms", got)
	}
}

func TestEngineCurveIsTotalRate(t *testing.T) {
	rate := func(n int) float64 {
		e := NewEngine(Settings{Slots: 8, Curve: []float64{100, 150, 180, 190, 190}, PrefillRate: 1e9})
		jobs := make([]*Job, n)
		for i := range jobs {
			jobs[i] = &Job{PromptTokens: 1, Tokens: 1001}
			e.Submit(t0, jobs[i])
		}
		_, _, _ = drain(e, jobs[0])
		return float64(n*1000) / jobs[0].DecodeTime().Seconds()
	}
	for n, want := range map[int]float64{1: 100, 2: 150, 3: 180, 8: 190} {
		if got := rate(n); got < want*0.999 || got > want*1.001 {
			t.Errorf("%d jobs: %.1f tokens/s, want %.0f", n, got, want)
		}
	}
}

func TestEngineReusesPrefixOfTheBestSlot(t *testing.T) {
	e := NewEngine(Settings{Slots: 2, PrefillRate: 1000})
	system := strings.Repeat("you are kind ", 100)
	run := func(prompt string) *Job {
		j := &Job{Prompt: prompt, Tokens: 1}
		e.Submit(t0, j)
		_, _, _ = drain(e, j)
		return j
	}
	first := run(system + "one")
	run("something else")
	second := run(system + "two, and more")
	if first.Cached != 0 || second.Cached != len(system)/4 || second.slot != first.slot {
		t.Errorf("cached %d then %d in slots %d, %d; want 0 then %d in the same slot",
			first.Cached, second.Cached, first.slot, second.slot, len(system)/4)
	}
	if second.PromptTime >= first.PromptTime/10 {
		t.Errorf("prefill %v after %v: the prefix was not reused", second.PromptTime, first.PromptTime)
	}
}

func TestEngineLineIsFirstComeFirstServed(t *testing.T) {
	e := NewEngine(Settings{Slots: 1})
	var jobs [4]*Job
	for i := range jobs {
		jobs[i] = &Job{Tokens: 1, Prefill: -1, Each: 100 * ms}
		e.Submit(t0, jobs[i])
	}
	if e.Running() != 1 || e.Waiting() != 3 {
		t.Fatalf("running %d waiting %d", e.Running(), e.Waiting())
	}
	e.Cancel(t0.Add(50*ms), jobs[1])
	if e.Running() != 1 || e.Waiting() != 2 {
		t.Fatalf("after cancel: running %d waiting %d", e.Running(), e.Waiting())
	}
	_, _, _ = drain(e, jobs[3])
	if got := jobs[3].Wait(); got != 200*ms {
		t.Errorf("last waited %v, want 200ms: a cancelled place in line costs nothing", got)
	}
	if jobs[1].Made != 0 {
		t.Errorf("cancelled job made %d tokens", jobs[1].Made)
	}
}

func TestEngineFaults(t *testing.T) {
	f := func(fault Fault, wantTokens int, wantErr error, wantDead bool) {
		t.Helper()
		e := NewEngine(Settings{Slots: 2})
		other := &Job{Tokens: 1000, Each: ms}
		j := &Job{Tokens: 10, Each: ms, Fault: fault}
		e.Submit(t0, other)
		e.Submit(t0, j)
		tokens, _, err := drain(e, j)
		if len(tokens) != wantTokens || !errors.Is(err, wantErr) || e.Dead() != wantDead {
			t.Errorf("%v: %d tokens, err %v, dead %v", fault, len(tokens), err, e.Dead())
		}
		if (other.Made < 1000) != wantDead {
			t.Errorf("%v: the other job made %d tokens", fault, other.Made)
		}
	}
	f(Fault{Crash, 3}, 3, ErrCrashed, true)
	f(Fault{Fail, 0}, 0, ErrFailed, false)
	f(Fault{Fail, 2}, 2, ErrFailed, false)
	f(Fault{Cut, 4}, 4, nil, false)
	f(Fault{Stall, 2}, 2, nil, false)
	f(Fault{Reset, 1}, 1, ErrReset, false)
}

func TestEngineFinishPrefillKeepsTheSlot(t *testing.T) {
	f := func(finish bool, want time.Duration) {
		t.Helper()
		e := NewEngine(Settings{Slots: 1, FinishPrefill: finish, PrefillRate: 1000, Base: -1})
		a := &Job{PromptTokens: 400, Tokens: 5}
		b := &Job{PromptTokens: 1, Tokens: 1}
		e.Submit(t0, a)
		e.Submit(t0, b)
		e.Cancel(t0.Add(100*ms), a)
		_, _, _ = drain(e, b)
		if got := b.Started.Sub(t0); got != want {
			t.Errorf("finish=%v: next started at %v, want %v", finish, got, want)
		}
	}
	f(false, 100*ms)
	f(true, 400*ms)
}

func TestDriverSpeaksVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDriver(Settings{Slots: 1})
		defer d.Stop(ErrStopped)
		start := time.Now()
		first := d.Run(&Job{Tokens: 2, Prefill: 10 * time.Second, Each: time.Second})
		second := d.Run(&Job{Embed: true})
		var kinds []EventKind
		for len(kinds) < 4 {
			ev, err := first.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, ev.Kind)
		}
		if want := []EventKind{Started, Token, Token, Done}; !slices.Equal(kinds, want) {
			t.Errorf("events %v, want %v", kinds, want)
		}
		if got := time.Since(start); got != 12*time.Second {
			t.Errorf("took %v, want 12s", got)
		}
		for {
			ev, err := second.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == Done {
				break
			}
		}
		if got := second.Job().Wait(); got != 12*time.Second {
			t.Errorf("second waited %v, want 12s", got)
		}
	})
}

func TestDirectivesAndReply(t *testing.T) {
	prompt := "old [[tokens=1]] text [[tokens=60 prefill=400ms each=5ms say=bob stall=3 embed=0 odd]] tail"
	d := ParseDirectives(prompt)
	want := Directives{Tokens: 60, Prefill: 400 * ms, Each: 5 * ms, Embed: -1, Say: "bob", Fault: Fault{Stall, 3}}
	if d != want {
		t.Errorf("got %+v, want %+v", d, want)
	}
	r := NewReply(prompt, "", d, 16, false)
	if r.Len != 60 || !strings.HasPrefix(r.Text(3), "bob ") || r.Text(60) != NewReply(prompt, "", d, 16, false).Text(60) {
		t.Errorf("reply of %d: %q", r.Len, r.Text(5))
	}
	if got := NewReply("", "one two  three\n", d, 9, false); got.Len != 3 || got.Text(9) != "one two  three\n" {
		t.Errorf("scripted reply %q in %d pieces", got.Text(9), got.Len)
	}
	if got := NewReply("x", "", Directives{}, 2, true).Text(2); !strings.HasPrefix(got, `{"reply": "`) || !strings.HasSuffix(got, `"}`) {
		t.Errorf("JSON reply %q", got)
	}
	if got := Detokenize(Tokenize("hello, world")); got != "hello, world" {
		t.Errorf("round trip gave %q", got)
	}
}
