package fleet

import (
	"context"
	"encoding/json"
	"time"

	"corral/internal/dialect"
	"corral/internal/lane"
)

// How long an instance may take to unload a model before it is loaded all the same, and how often it is asked.
// Ollama waits up to 5 s for a GPU's memory to come back.
const (
	unpinMost  = 10 * time.Second
	unpinEvery = 50 * time.Millisecond
)

// pins says whether a load with a signature decides where the model runs for all who come after it: Ollama takes a
// request without num_gpu for one that is content with any, so the first one's value stays. num_gpu: 0, the CPU,
// would stay for everybody.
func pins(signature string) bool {
	var options struct {
		NumGPU *int `json:"num_gpu"`
	}
	_ = json.Unmarshal([]byte(signature), &options) // canonical JSON of Corral's own, or nothing
	return options.NumGPU != nil && *options.NumGPU >= 0
}

// unpin unloads a model that was loaded with a num_gpu before it is loaded without one.
func (in *instance) unpin(ctx context.Context, id lane.ID, m *model, signature string) error {
	f := in.fleet
	f.mu.Lock()
	pinned := f.pinned[id]
	if pins(signature) {
		f.pinned[id] = true
	}
	f.mu.Unlock()
	if !pinned || pins(signature) {
		return nil
	}
	question := map[string]any{"model": m.name, "keep_alive": 0, "stream": false}
	if err := in.postJSON(ctx, "/api/generate", question, nil); err != nil {
		return err
	}
	// The answer comes before the end of the unload.
	for started := time.Now(); time.Since(started) < unpinMost; {
		loaded, err := in.hasLoaded(ctx, m.weights)
		if err != nil {
			return err
		}
		if !loaded {
			break
		}
		select {
		case <-time.After(unpinEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	delete(f.pinned, id)
	f.mu.Unlock()
	return nil
}

// hasLoaded asks the instance whether it has weights in memory.
func (in *instance) hasLoaded(ctx context.Context, weights string) (bool, error) {
	var ps psAnswer
	if _, err := in.getJSON(ctx, probeTimeout, "/api/ps", &ps); err != nil {
		return false, err
	}
	in.fleet.mu.RLock()
	defer in.fleet.mu.RUnlock()
	for _, row := range ps.Models {
		if m := in.models[dialect.CanonicalModel(row.Name)]; m != nil && m.weights == weights {
			return true, nil
		}
	}
	return false, nil
}
