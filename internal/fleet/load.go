package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"corral/internal/dispatch"
	"corral/internal/lane"
)

const (
	// holdAfter is how long a load may take before the instance's other lanes stop, so that Ollama, which
	// evicts only models at rest, finds room for it.
	holdAfter = 30 * time.Second
	// holdMost is how long they stop: Ollama's own patience with a load that stalls.
	holdMost = 5 * time.Minute
	// loadMost is how long a load may take at all. Ollama gives up by itself when one stalls for
	// OLLAMA_LOAD_TIMEOUT (5 minutes), so this only ends the wait for an instance that is stuck.
	loadMost = 30 * time.Minute
	// backoffFirst doubles with every failure in a row up to backoffMost; half of it is jitter.
	backoffFirst = time.Second
	backoffMost  = 30 * time.Second
	// backoffForget is how long after a failure the next one counts as the first again.
	backoffForget = 2 * backoffMost
)

// backoff is how long a lane's last wait after a failure was, and when it ends or ended.
type backoff struct {
	wait time.Duration
	end  time.Time
}

// Load loads a lane with a request of Corral's own, which no client's disconnect can abort. It returns at once.
func (f *Fleet) Load(l dispatch.Load) {
	f.mu.RLock()
	in := f.lanes[l.Lane]
	var m *model
	if in != nil {
		for name, candidate := range in.models {
			if shortName(name) == l.Class.Model {
				m = candidate
			}
		}
	}
	f.mu.RUnlock()
	switch gone := m == nil || f.ctx.Err() != nil; {
	case gone && l.Unload:
		f.work.Go(func() { f.dispatcher.Unloaded(l) })
	case gone:
		f.work.Go(func() { f.dispatcher.LoadFailed(l, nil) })
	case l.Unload:
		f.work.Go(func() { in.unload(l, m) })
	default:
		f.work.Go(func() { in.load(l, m) })
	}
}

// unload gives a model's memory back: a client said keep_alive: 0, and nobody else uses it.
func (in *instance) unload(l dispatch.Load, m *model) {
	f := in.fleet
	ctx, cancel := context.WithTimeout(in.ctx, unloadTimeout)
	defer cancel()
	err := in.postJSON(ctx, "/api/generate", map[string]any{"model": m.name, "keep_alive": 0, "stream": false}, nil)
	if err != nil {
		f.log.Warn("unload failed", "instance", in.name, "model", m.name, "error", err)
	} else {
		f.log.Info("unloaded: its last client had no more use for it", "instance", in.name, "model", m.name)
	}
	f.dispatcher.Unloaded(l)
}

func (in *instance) load(l dispatch.Load, m *model) {
	f := in.fleet
	log := f.log.With("instance", in.name, "model", m.name, "options", l.Class.Signature)
	log.Debug("loading")
	started := time.Now()
	hold := time.AfterFunc(holdAfter, func() {
		log.Info("load takes long, perhaps it waits for room: the instance's other models get no new requests for a while")
		f.dispatcher.Hold(l, true)
	})
	letGo := time.AfterFunc(holdAfter+holdMost, func() { f.dispatcher.Hold(l, false) })
	path, question := loadQuestion(m, l.Class.Signature)
	ctx, cancel := context.WithTimeout(in.ctx, loadMost)
	defer cancel()
	err := in.unpin(ctx, l.Lane, m, l.Class.Signature)
	if err == nil {
		err = in.postJSON(ctx, path, question, nil)
	}
	hold.Stop()
	letGo.Stop()
	took := time.Since(started).Milliseconds()
	var status *statusError
	switch {
	case err == nil:
		f.mu.Lock()
		in.loaded[l.Lane] = time.Now()
		f.mu.Unlock()
		_, _ = in.checkLoaded(in.ctx, started) // what had to go for it is cold before anyone is sent there
		log.Info("lane is open", "lane", l.Lane, "took_ms", took)
		f.dispatcher.Loaded(l)
	case in.ctx.Err() != nil: // the instance is being removed
		f.dispatcher.LoadFailed(l, nil)
	case errors.As(err, &status) && status.status == 503:
		log.Info("instance is too busy to load, trying again", "took_ms", took)
		f.dispatcher.LoadFailed(l, nil)
	case errors.As(err, &status):
		log.Warn("load failed", "took_ms", took, "status", status.status, "error", status.message)
		in.lookNow()
		f.dispatcher.LoadFailed(l, &dispatch.LoadError{Lane: l.Lane, Status: status.status, Message: status.message})
	default:
		log.Warn("load failed", "took_ms", took, "error", err)
		f.dispatcher.LoadFailed(l, nil) // first: an instance that is out has no loads to fail, nor to back off from
		in.suspect(err)
	}
}

// loadQuestion is the request that loads a model and does nothing else. An empty input loads an embedding
// model, an empty prompt any other.
func loadQuestion(m *model, signature string) (path string, question map[string]any) {
	question = map[string]any{"model": m.name, "stream": false}
	options := map[string]json.RawMessage{}
	if signature != "" {
		_ = json.Unmarshal([]byte(signature), &options) // canonical JSON of Corral's own
	}
	if shift, ok := options["shift"]; ok {
		question["shift"] = shift
		delete(options, "shift")
	}
	if len(options) > 0 {
		question["options"] = options
	}
	if m.embeds {
		question["input"] = []string{}
		return "/api/embed", question
	}
	return "/api/generate", question
}

// Backoff lets a lane be loaded again after a while: exponential, with jitter. It returns at once.
func (f *Fleet) Backoff(id lane.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.backoffs[id]
	switch since := time.Since(b.end); {
	case since < 0:
		return // several failures of one lane at once are one
	case since > backoffForget:
		b.wait = backoffFirst
	default:
		b.wait = min(2*b.wait, backoffMost)
	}
	wait := b.wait/2 + rand.N(b.wait/2)
	b.end = time.Now().Add(wait)
	f.backoffs[id] = b
	time.AfterFunc(wait, func() {
		if f.ctx.Err() == nil {
			f.dispatcher.Retry(id)
		}
	})
}
