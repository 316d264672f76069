package ollamatest

import (
	"context"
	"sync"
	"time"
)

// Driver runs an Engine in real time, or in virtual time inside a testing/synctest bubble: it sleeps with one
// timer until the engine's next event. Safe for concurrent use.
type Driver struct {
	mu    sync.Mutex
	eng   *Engine
	timer *time.Timer
	armed time.Time
}

// NewDriver starts no goroutine; Stop ends its timer.
func NewDriver(s Settings) *Driver { return &Driver{eng: NewEngine(s)} }

// Settings of the engine, with defaults filled in.
func (d *Driver) Settings() Settings { return d.eng.Settings() }

// Load is how many jobs have a slot and how many wait for one.
func (d *Driver) Load() (running, waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.eng.Running(), d.eng.Waiting()
}

// Run submits a job and returns its events.
func (d *Driver) Run(j *Job) *Stream {
	s := &Stream{driver: d, job: j, wake: make(chan struct{}, 1)}
	j.on = s.put
	d.do(func(now time.Time) { d.eng.Submit(now, j) })
	return s
}

// Stop fails every job with err; later ones fail with ErrCrashed.
func (d *Driver) Stop(err error) {
	d.do(func(now time.Time) { d.eng.Stop(now, err) })
}

func (d *Driver) do(act func(now time.Time)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	act(now)
	d.deliver(now)
}

func (d *Driver) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = time.Time{}
	d.deliver(time.Now())
}

// deliver hands out what happened and sets the timer to the next event.
func (d *Driver) deliver(now time.Time) {
	for _, ev := range d.eng.Advance(now) {
		if ev.Job.on != nil {
			ev.Job.on(ev)
		}
	}
	next, ok := d.eng.Next()
	if !ok {
		if d.timer != nil {
			d.timer.Stop()
		}
		d.armed = time.Time{}
		return
	}
	if next.Equal(d.armed) {
		return
	}
	d.armed = next
	if d.timer == nil {
		d.timer = time.AfterFunc(next.Sub(now), d.tick)
		return
	}
	d.timer.Reset(next.Sub(now))
}

// Stream is the events of one job, for one reader.
type Stream struct {
	driver *Driver
	job    *Job
	wake   chan struct{}

	mu     sync.Mutex
	events []Event
}

func (s *Stream) put(ev Event) {
	s.mu.Lock()
	s.events = append(s.events, ev)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for the job's next event. It returns ctx's error when ctx ends first; the job then still runs until
// Cancel.
func (s *Stream) Next(ctx context.Context) (Event, error) {
	for {
		s.mu.Lock()
		if len(s.events) > 0 {
			ev := s.events[0]
			s.events = s.events[1:]
			s.mu.Unlock()
			return ev, nil
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Cancel gives the job's slot or place in line back and returns the tokens made for it so far. After the job's
// last event it changes nothing.
func (s *Stream) Cancel() (made int) {
	s.driver.do(func(now time.Time) { s.driver.eng.Cancel(now, s.job) })
	s.driver.mu.Lock()
	defer s.driver.mu.Unlock()
	return s.job.Made
}

// Job is the stream's job. Its result fields may be read once its last event has come.
func (s *Stream) Job() *Job { return s.job }
