package demo

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// burst is all calls at once.
type burst struct {
	calls  []*call
	stage  *stage
	screen screen
}

// result is what came of a burst.
type result struct {
	name     string
	calls    int
	answered int
	failed   [kinds]int
	example  string // words of one failure
	requests int    // attempts sent
	elapsed  time.Duration
	times    []time.Duration // to each answer, sorted
	counted  bool            // whether the engines counted work and wasted
	work     work
	wasted   int // tokens generated that no client got
}

// tally counts while a burst runs.
type tally struct {
	mu     sync.Mutex
	result result
	tokens int // of the answers that clients got
}

func (t *tally) answered(took time.Duration, tokens int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.answered++
	t.result.times = append(t.result.times, took)
	t.tokens += tokens
}

func (t *tally) failed(f *failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.failed[f.kind]++
	if t.result.example == "" {
		t.result.example = f.Error()
	}
}

// counts are the calls that were answered, failed, and wait.
func (t *tally) counts() (answered, failed, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.result.failed {
		failed += n
	}
	return t.result.answered, failed, t.result.calls - t.result.answered - failed
}

// fire sends the burst to where route says and waits for its end.
func (b *burst) fire(ctx context.Context, name string, route func(*call) string) (result, error) {
	c := newClient(b.stage.client)
	defer c.close()
	if err := b.warm(ctx, name, route); err != nil {
		return result{}, fmt.Errorf("%s: %w", name, err)
	}
	before, err := b.stage.engines.atRest(ctx)
	if err != nil {
		return result{}, err
	}
	t := &tally{result: result{name: name, calls: len(b.calls)}}
	stopProgress := b.screen.follow(name, t)
	start := time.Now()
	var wait sync.WaitGroup
	for _, call := range b.calls {
		wait.Go(func() { b.one(ctx, c, route(call), call, t) })
	}
	wait.Wait()
	r := &t.result
	r.elapsed = time.Since(start)
	stopProgress()
	if ctx.Err() != nil {
		return result{}, ctx.Err()
	}
	r.requests = int(c.attempts.Load())
	slices.Sort(r.times)
	if b.stage.engines != nil {
		after, err := b.stage.engines.atRest(ctx)
		if err != nil {
			return result{}, err
		}
		r.counted, r.work = true, after.minus(before)
		r.wasted = r.work.tokens - t.tokens
	}
	return *r, nil
}

func (b *burst) one(ctx context.Context, c *client, base string, call *call, t *tally) {
	start := time.Now()
	answer, f := c.post(ctx, base+call.path(), call.body)
	if f == nil {
		if err := b.stage.load.check(call, answer); err != nil {
			f = &failure{kind: refused, err: err}
		}
	}
	switch {
	case ctx.Err() != nil: // the demo was stopped, the call did not fail
	case f != nil:
		t.failed(f)
	default:
		t.answered(time.Since(start), call.tokens)
	}
}

// loadPatience is how long a model may take to load.
const loadPatience = 10 * time.Minute

// warm asks each server once, one after the other, so that no model has to be loaded within the burst.
func (b *burst) warm(ctx context.Context, name string, route func(*call) string) error {
	if !b.stage.load.scripted { // a real model may take minutes
		fmt.Fprintf(b.screen.out, "%s: one call ahead, so that the model is loaded ...\n", name)
	}
	patient := newClient(clientOptions{timeout: loadPatience, speed: b.stage.client.speed, dial: b.stage.client.dial})
	defer patient.close()
	seen := map[string]bool{}
	for _, call := range b.calls {
		url := route(call) + call.path()
		if seen[url] {
			continue
		}
		seen[url] = true
		answer, f := patient.post(ctx, url, call.body)
		if f != nil {
			return fmt.Errorf("first call to %s: %w", url, f)
		}
		if err := b.stage.load.check(call, answer); err != nil {
			return fmt.Errorf("first call to %s: %w", url, err)
		}
	}
	return nil
}

// quantile of sorted times, 0 if there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
