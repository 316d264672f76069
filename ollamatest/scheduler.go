package ollamatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

var (
	errMaxQueue = errors.New("server busy, please try again.  maximum pending requests exceeded")
	errClosed   = errors.New("server closed")
)

// runner is a loaded model.
type runner struct {
	model   *Model
	sig     signature
	driver  *Driver
	gone    chan struct{} // closed when it is unloaded and its memory is free
	unload  time.Duration
	refs    int
	keep    time.Duration
	timer   *time.Timer // runs while it is idle
	expires time.Time
}

// dead says whether the engine crashed: its health check would fail.
func (r *runner) dead() bool {
	r.driver.mu.Lock()
	defer r.driver.mu.Unlock()
	return r.driver.eng.Dead()
}

// loadRequest waits in the pending line for its model to be loaded.
type loadRequest struct {
	ctx    context.Context
	model  *Model
	sig    signature
	keep   *time.Duration
	result chan loadResult
}

type loadResult struct {
	runner *runner
	err    error
}

// scheduler is Ollama's: a request whose model is loaded passes; the others wait in one bounded line for one
// loader, which is blocked while its victim is busy.
type scheduler struct {
	opt    *Options
	record *record

	mu       sync.Mutex
	loaded   map[string]*runner // by weights
	pending  []*loadRequest
	loading  bool // the loader works on a request
	failures map[string]int
	closed   bool
	stop     chan struct{}
	work     chan struct{}
}

func newScheduler(opt *Options, rec *record) *scheduler {
	s := &scheduler{
		opt: opt, record: rec,
		loaded: map[string]*runner{}, failures: map[string]int{},
		stop: make(chan struct{}), work: make(chan struct{}, 1),
	}
	go s.loader()
	return s
}

// acquire returns the runner of a model, loading it if need be. The caller releases it.
func (s *scheduler) acquire(ctx context.Context, m *Model, sig signature, keep *time.Duration) (*runner, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	if r := s.loaded[m.Weights]; r != nil && !r.dead() && r.sig.serves(sig) {
		s.use(r, keep)
		s.mu.Unlock()
		return r, nil
	}
	// The line's bound does not count the request that the loader works on.
	if s.loading && len(s.pending) >= s.opt.MaxQueue {
		s.mu.Unlock()
		return nil, errMaxQueue
	}
	q := &loadRequest{ctx: ctx, model: m, sig: sig, keep: keep, result: make(chan loadResult, 1)}
	s.pending = append(s.pending, q)
	s.loading = true
	s.mu.Unlock()
	wake(s.work)
	select {
	case res := <-q.result:
		return res.runner, res.err
	case <-s.stop:
		return nil, errClosed
	}
}

// use counts a request on a runner. The last request that brings a keep_alive decides it for all.
func (s *scheduler) use(r *runner, keep *time.Duration) {
	r.refs++
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if keep != nil {
		r.keep = *keep
	}
}

func (s *scheduler) release(r *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.refs--; r.refs > 0 || s.loaded[r.model.Weights] != r {
		return
	}
	if r.keep <= 0 {
		s.unloadLocked(r)
		return
	}
	r.expires = time.Now().Add(r.keep)
	if r.keep < math.MaxInt64 {
		r.timer = time.AfterFunc(r.keep, func() { s.expire(r) })
	}
}

// expire unloads a runner, at once when it is idle, else when it gets idle.
func (s *scheduler) expire(r *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(r)
}

func (s *scheduler) expireLocked(r *runner) {
	r.keep = 0
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if r.refs == 0 && s.loaded[r.model.Weights] == r {
		s.unloadLocked(r)
	}
}

func (s *scheduler) unloadLocked(r *runner) {
	delete(s.loaded, r.model.Weights)
	r.driver.Stop(ErrStopped)
	s.record.unloaded(r.model)
	if r.unload <= 0 {
		close(r.gone)
		return
	}
	time.AfterFunc(r.unload, func() { close(r.gone) })
}

// loader works through the pending line, strictly one request after the other.
func (s *scheduler) loader() {
	for {
		s.mu.Lock()
		var q *loadRequest
		if len(s.pending) > 0 {
			q, s.pending = s.pending[0], s.pending[1:]
		}
		s.loading = q != nil
		s.mu.Unlock()
		if q != nil {
			s.serve(q)
			continue
		}
		select {
		case <-s.work:
		case <-s.stop:
			return
		}
	}
}

// serve makes room for a request, loads its model, and answers it.
func (s *scheduler) serve(q *loadRequest) {
	for {
		if q.ctx.Err() != nil {
			q.result <- loadResult{nil, q.ctx.Err()}
			return
		}
		s.mu.Lock()
		victim := s.victim(q)
		if victim == nil {
			if r := s.loaded[q.model.Weights]; r != nil {
				s.use(r, q.keep)
				s.mu.Unlock()
				q.result <- loadResult{r, nil}
				return
			}
			s.mu.Unlock()
			q.result <- s.load(q)
			return
		}
		s.expireLocked(victim)
		s.mu.Unlock()
		select {
		case <-victim.gone:
		case <-s.stop:
			return
		}
	}
}

// victim is the runner that must go before the request can be served, nil: none. Idle ones go first, then the one
// with the shortest keep_alive.
func (s *scheduler) victim(q *loadRequest) *runner {
	if r := s.loaded[q.model.Weights]; r != nil {
		if r.dead() || !r.sig.serves(q.sig) {
			return r
		}
		return nil
	}
	var size int64
	for _, r := range s.loaded {
		size += r.model.Size
	}
	full := s.opt.VRAM > 0 && size > 0 && size+q.model.Size > s.opt.VRAM
	if len(s.loaded) < s.opt.MaxLoaded && !full {
		return nil
	}
	return slices.MinFunc(slices.Collect(maps.Values(s.loaded)), func(a, b *runner) int {
		busyA, busyB := min(a.refs, 1), min(b.refs, 1)
		return cmp.Or(cmp.Compare(busyA, busyB), cmp.Compare(a.keep, b.keep), cmp.Compare(a.model.Weights, b.model.Weights))
	})
}

// load starts an engine. It is aborted when the request that asked for it goes away.
func (s *scheduler) load(q *loadRequest) loadResult {
	set := s.opt.Engine
	if q.model.Engine != nil {
		set = *q.model.Engine
	}
	pace := set.withDefaults() // not for the driver, which applies them itself: twice would undo a negative value
	set.Slots = s.opt.NumParallel
	if q.model.serial() {
		set.Slots = 1
	}
	if err := s.sleep(q.ctx, pace.scale(set.Load)); err != nil {
		s.record.loadEnded(q.model, false)
		return loadResult{nil, fmt.Errorf("timed out waiting for llama-server to start: %w", err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures[q.model.Weights] > 0 {
		s.failures[q.model.Weights]--
		s.record.loadEnded(q.model, false)
		return loadResult{nil, errors.New("llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory")}
	}
	if s.closed {
		return loadResult{nil, errClosed}
	}
	s.record.loadEnded(q.model, true)
	r := &runner{
		model: q.model, sig: q.sig.loaded(set.Slots), driver: NewDriver(set), gone: make(chan struct{}), unload: pace.scale(set.Unload),
		keep: forever(s.opt.KeepAlive),
	}
	s.loaded[q.model.Weights] = r
	s.use(r, q.keep)
	return loadResult{r, nil}
}

func (s *scheduler) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return errClosed
	}
}

// unloadModel is keep_alive 0 with nothing to do.
func (s *scheduler) unloadModel(m *Model) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.loaded[m.Weights]; r != nil {
		s.expireLocked(r)
	}
}

// crashAll kills every engine; the runners stay until somebody notices.
func (s *scheduler) crashAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.loaded {
		r.driver.Stop(ErrCrashed)
	}
}

// unloadAll forgets every runner, busy or not.
func (s *scheduler) unloadAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.loaded {
		r.keep = 0
		if r.timer != nil {
			r.timer.Stop()
			r.timer = nil
		}
		s.unloadLocked(r)
	}
}

func (s *scheduler) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.stop)
	for _, r := range s.loaded {
		if r.timer != nil {
			r.timer.Stop()
		}
		r.driver.Stop(ErrStopped)
	}
}

// forever turns a negative keep_alive into a very long one.
func forever(d time.Duration) time.Duration {
	if d < 0 {
		return math.MaxInt64
	}
	return d
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
