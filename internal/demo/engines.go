package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"corral/ollamatest"
)

// engines are the files in which simulated engines count what they did.
type engines struct{ files []string }

// work is what engines did since they started.
type work struct {
	tokens int // generated
	cutOff int // generations that began and were cancelled
}

func (w work) minus(old work) work {
	return work{tokens: w.tokens - old.tokens, cutOff: w.cutOff - old.cutOff}
}

// Engines are at rest when they have ended nothing for restTime: a burst's left-overs are gone within one answer
// of at most 0.2 s.
const (
	restTime = 700 * time.Millisecond
	restStep = 100 * time.Millisecond
	maxRest  = 30 * time.Second
)

// atRest waits until the engines have ended what they were given and returns what they did. Nil engines are
// always at rest.
func (e *engines) atRest(ctx context.Context) (work, error) {
	if e == nil {
		return work{}, nil
	}
	tick := time.NewTicker(restStep)
	defer tick.Stop()
	start := time.Now()
	last, since := -1, start
	for {
		size, err := e.size()
		switch {
		case err != nil:
			return work{}, err
		case size != last:
			last, since = size, time.Now()
		case time.Since(since) >= restTime || time.Since(start) >= maxRest:
			return e.read()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return work{}, ctx.Err()
		}
	}
}

func (e *engines) size() (int, error) {
	sum := 0
	for _, file := range e.files {
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // written with the first request
		}
		if err != nil {
			return 0, fmt.Errorf("read the engines' statistics: %w", err)
		}
		sum += int(info.Size())
	}
	return sum, nil
}

func (e *engines) read() (work, error) {
	var w work
	for _, file := range e.files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return work{}, fmt.Errorf("read the engines' statistics: %w", err)
		}
		if err := w.add(text); err != nil {
			return work{}, fmt.Errorf("read the engines' statistics: %w", err)
		}
	}
	return w, nil
}

func (w *work) add(text []byte) error {
	for line := range bytes.Lines(text) {
		var r ollamatest.EngineRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		w.tokens += r.Tokens
		if r.Kind == "generate" && r.Outcome == "cancelled" {
			w.cutOff++
		}
	}
	return nil
}
