package ollamatest

import (
	"container/heap"
	"time"
)

// Job is one request to an engine. The caller fills the first block; the engine fills the rest.
type Job struct {
	Prompt       string        // for prefix reuse and for counting
	PromptTokens int           // default CountTokens(Prompt)
	Tokens       int           // tokens of the reply, default Settings.Tokens; not used by an embedding
	Embed        bool          // wants one vector instead of tokens
	Prefill      time.Duration // own time of the prompt; 0: the engine's pace, negative: none
	Each         time.Duration // own time per token; 0: the engine's pace, negative: none
	Fault        Fault

	Submitted  time.Time     // when it joined the line
	Started    time.Time     // when it took its slot
	Ended      time.Time     // when it gave its slot back
	PromptTime time.Duration // length of the prefill
	Cached     int           // prompt tokens that its slot knew already
	Made       int           // tokens made so far

	on      func(Event)
	state   jobState
	slot    int
	left    int           // batched, in prefill: prompt tokens still to take
	taken   int           // batched, in prefill: of those, what the running iteration takes
	decodes bool          // batched: the running iteration makes a token of it
	next    time.Time     // paced: when its next event comes
	each    time.Duration // paced: scaled time per token
	index   int           // paced: place in the heap, -1: not there
}

// DecodeTime is the time from the end of the prefill to the end of the job.
func (j *Job) DecodeTime() time.Duration { return j.Ended.Sub(j.Started) - j.PromptTime }

// Wait is the time that the job waited for a slot.
func (j *Job) Wait() time.Duration { return j.Started.Sub(j.Submitted) }

type jobState uint8

const (
	jobNew jobState = iota
	jobWaiting
	jobPrefill
	jobDecoding
	jobStalled
	jobDraining // cancelled in prefill, keeps its slot until the prefill ends
	jobEnded
)

func (j *Job) running() bool { return j.state >= jobPrefill && j.state <= jobDraining }

// paced jobs follow their own clock; batched ones share the engine's iterations.
func (j *Job) paced() bool { return j.Embed || j.Prefill != 0 || j.Each != 0 }

// EventKind is what happened to a job.
type EventKind uint8

// The events of a job, in order: Started, Token…, then Done or Failed. A cancelled job has no more events.
const (
	Started EventKind = iota
	Token
	Done
	Failed
)

// Event is one thing that happened to a job.
type Event struct {
	Job  *Job
	Kind EventKind
	At   time.Time
	N    int   // Token: which, from 1
	Cut  bool  // Done: the reply ended without its last part (Fault Cut)
	Err  error // Failed: why
}

// Engine is the timing model: slots, a line of first come, first served, prefill, decoding with a batching curve,
// prefix reuse and faults. It is pure: it reads no clock, its methods take the time, which must not go backwards.
// After each call, Next says when something happens; Advance then tells what. Not safe for concurrent use.
type Engine struct {
	set     Settings
	slots   []slot
	line    []*Job // waiting, with gaps where jobs were cancelled
	waiting int
	busy    int
	uses    uint64
	paced   pacedHeap
	iterEnd time.Time // end of the running iteration, zero: none runs
	dead    bool
	events  []Event
}

// NewEngine is an engine that is loaded and idle.
func NewEngine(s Settings) *Engine {
	s = s.withDefaults()
	return &Engine{set: s, slots: make([]slot, s.Slots)}
}

// Settings of the engine, with defaults filled in.
func (e *Engine) Settings() Settings { return e.set }

// Running is how many jobs have a slot.
func (e *Engine) Running() int { return e.busy }

// Waiting is how many jobs wait for a slot.
func (e *Engine) Waiting() int { return e.waiting }

// Dead says whether the engine crashed or was stopped: all later jobs fail.
func (e *Engine) Dead() bool { return e.dead }

// Submit puts a job into the line. Call Advance with the same time afterwards to learn whether it started.
func (e *Engine) Submit(now time.Time, j *Job) {
	if j.PromptTokens == 0 {
		j.PromptTokens = CountTokens(j.Prompt)
	}
	if j.Tokens <= 0 {
		j.Tokens = e.set.Tokens
	}
	e.run(now)
	j.Submitted, j.index = now, -1
	if e.dead {
		e.fail(now, j, ErrCrashed)
		return
	}
	j.state = jobWaiting
	e.line = append(e.line, j)
	e.waiting++
	e.settle(now)
}

// Cancel takes a job out of the line or off its slot. Jobs that ended are left alone.
func (e *Engine) Cancel(now time.Time, j *Job) {
	e.run(now)
	switch {
	case j.state == jobWaiting:
		e.waiting--
		j.state, j.Ended = jobEnded, now
	case j.state == jobPrefill && e.set.FinishPrefill:
		j.state = jobDraining
	case j.running():
		e.free(now, j)
	}
	e.settle(now)
}

// Stop ends the engine: every job fails with err.
func (e *Engine) Stop(now time.Time, err error) {
	e.run(now)
	e.die(now, err)
}

// Next is when the next event comes, if one is to come.
func (e *Engine) Next() (time.Time, bool) {
	at := e.iterEnd
	if len(e.paced) > 0 && (at.IsZero() || e.paced[0].next.Before(at)) {
		at = e.paced[0].next
	}
	return at, !at.IsZero()
}

// Advance brings the engine to a time and returns what happened since the last call, in order. The slice is valid
// until the next call of any method.
func (e *Engine) Advance(now time.Time) []Event {
	e.run(now)
	events := e.events
	e.events = e.events[:0]
	return events
}

func (e *Engine) run(now time.Time) {
	for {
		at, ok := e.Next()
		if !ok || at.After(now) {
			return
		}
		if len(e.paced) > 0 && !e.paced[0].next.After(at) {
			e.step(at, e.paced[0])
		} else {
			e.endIteration(at)
		}
		e.settle(at)
	}
}

// settle fills free slots from the line and starts an iteration when there is work for one.
func (e *Engine) settle(now time.Time) {
	for e.busy < len(e.slots) && len(e.line) > 0 {
		j := e.line[0]
		e.line[0] = nil
		if e.line = e.line[1:]; len(e.line) == 0 {
			e.line = nil
		}
		if j.state == jobWaiting {
			e.waiting--
			e.start(now, j)
		}
	}
	if e.iterEnd.IsZero() && !e.dead {
		e.beginIteration(now)
	}
}

func (e *Engine) start(now time.Time, j *Job) {
	e.take(j)
	j.Started, j.state = now, jobPrefill
	e.emit(Event{Job: j, Kind: Started, At: now})
	if !j.paced() {
		j.left = max(j.PromptTokens-j.Cached, 1) // the last prompt token always runs: it gives the first token
		return
	}
	j.each = e.set.scale(paceOr(j.Each, e.set.decode(1)))
	switch {
	case j.Embed:
		j.PromptTime, j.each = e.set.scale(paceOr(j.Prefill, e.set.Embed)), 0
	default:
		j.PromptTime = e.set.scale(paceOr(j.Prefill, e.set.prefill(j.PromptTokens-j.Cached)))
	}
	j.next = now.Add(j.PromptTime + j.each)
	heap.Push(&e.paced, j)
}

// step is a paced job's next token, or the end of an embedding.
func (e *Engine) step(at time.Time, j *Job) {
	e.made(at, j)
	if j.state == jobDecoding {
		j.next = at.Add(j.each)
		heap.Fix(&e.paced, j.index)
	}
}

// made is the moment at which a job's next token comes, unless its fault does.
func (e *Engine) made(at time.Time, j *Job) {
	if j.state == jobDraining {
		e.free(at, j)
		return
	}
	if j.Fault.Kind != NoFault && j.Made >= j.Fault.After {
		e.fault(at, j)
		return
	}
	j.state = jobDecoding
	if !j.Embed {
		j.Made++
		e.emit(Event{Job: j, Kind: Token, At: at, N: j.Made})
	}
	if j.Embed || j.Made >= j.Tokens {
		e.free(at, j)
		e.emit(Event{Job: j, Kind: Done, At: at})
	}
}

func (e *Engine) fault(at time.Time, j *Job) {
	switch j.Fault.Kind {
	case Crash:
		e.die(at, ErrCrashed)
	case Stall:
		j.state = jobStalled
		e.unpace(j)
	case Cut:
		e.free(at, j)
		e.emit(Event{Job: j, Kind: Done, At: at, Cut: true})
	case Reset:
		e.free(at, j)
		e.fail(at, j, ErrReset)
	default:
		e.free(at, j)
		e.fail(at, j, ErrFailed)
	}
}

func (e *Engine) die(at time.Time, err error) {
	e.dead = true
	for i := range e.slots {
		if j := e.slots[i].job; j != nil {
			e.free(at, j)
			e.fail(at, j, err)
		}
	}
	for _, j := range e.line {
		if j.state == jobWaiting {
			e.fail(at, j, err)
		}
	}
	e.line, e.waiting, e.iterEnd = nil, 0, time.Time{}
}

func (e *Engine) fail(at time.Time, j *Job, err error) {
	j.state, j.Ended = jobEnded, at
	e.emit(Event{Job: j, Kind: Failed, At: at, Err: err})
}

func (e *Engine) emit(ev Event) { e.events = append(e.events, ev) }
