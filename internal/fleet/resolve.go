package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"corral/internal/dialect"
	"corral/internal/dispatch"
	"corral/internal/lane"
)

// ErrUnknownModel says that no instance has the model for that role.
var ErrUnknownModel = errors.New("no instance has the model")

// ErrNoInstance says that no instance has answered yet, so nothing is known of models.
var ErrNoInstance = errors.New("no Ollama instance has answered yet")

// refreshTimeout bounds how long an unknown model may take to be looked for, and refreshEvery how often.
const (
	refreshTimeout = 900 * time.Millisecond
	refreshEvery   = time.Second
)

// Class finds what a request must be queued under. A model that nobody is known to have is looked for once
// more before ErrUnknownModel is returned.
func (f *Fleet) Class(ctx context.Context, name string, role lane.Role, signature string) (dispatch.Class, error) {
	canonical := dialect.CanonicalModel(name)
	m := f.find(canonical, role)
	if m == nil {
		f.look(ctx)
		m = f.find(canonical, role)
	}
	switch {
	case m != nil:
		return dispatch.Class{
			Weights: m.weights, Model: shortName(canonical), Role: role,
			Signature: dialect.MergeSignature(m.signature, signature),
		}, nil
	case !f.anySeen():
		return dispatch.Class{}, ErrNoInstance
	}
	return dispatch.Class{}, ErrUnknownModel
}

// find chooses the weights that a name stands for. Where instances differ, the first in file order decides:
// for embeddings for good, because vectors of two models must never mix; for generation among those that can
// be reached, if any can.
func (f *Fleet) find(canonical string, role lane.Role) *model {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var down *model
	for _, in := range f.instances {
		m := in.models[canonical]
		if m == nil || !in.config.HasRole(string(role)) || !in.config.Serves(canonical) {
			continue
		}
		if in.up || role == lane.Embed {
			return m
		}
		if down == nil {
			down = m
		}
	}
	return down
}

func (f *Fleet) anySeen() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, in := range f.instances {
		if in.seen {
			return true
		}
	}
	return false
}

// look takes inventory of all reachable instances at once: somebody asks for a model that was not there, and
// may have been pulled since.
func (f *Fleet) look(ctx context.Context) {
	done := f.refresh.DoChan("", func() (any, error) {
		f.mu.Lock()
		recent := time.Since(f.refreshed) < refreshEvery
		if !recent {
			f.refreshed = time.Now()
		}
		f.mu.Unlock()
		if recent {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(f.ctx, refreshTimeout)
		defer cancel()
		var all sync.WaitGroup
		for _, in := range f.all() {
			if in.isUp() {
				all.Go(func() { _ = in.takeInventory(ctx) }) // its poll tells what is wrong with it
			}
		}
		all.Wait()
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Changed says that somebody changed what instances have: their inventory is taken now.
func (f *Fleet) Changed() {
	for _, in := range f.all() {
		in.lookNow()
	}
}

func hash16(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
