package fleet

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"corral/internal/config"
	"corral/internal/dialect"
	"corral/internal/dispatch"
	"corral/internal/lane"
)

// model is a name that an instance knows, and what it stands for.
type model struct {
	name   string // as the instance spells it
	digest string // of the manifest
	size   int64  // bytes
	details
}

// details are what a manifest stands for. They never change for a digest.
type details struct {
	weights   string // short id of the weights
	signature string // load options in the Modelfile
	embeds    bool   // an embedding model: it cannot complete
	serial    bool   // Ollama runs it one request at a time, whatever OLLAMA_NUM_PARALLEL says
}

// showTimeout bounds the question what a model is, and showsAtOnce how many are asked together.
const (
	showTimeout = 10 * time.Second
	showsAtOnce = 4
)

// takeInventory learns which models the instance has and tells the dispatcher of its lanes.
func (in *instance) takeInventory(ctx context.Context) error {
	turn := in.beginInventory()
	rows, err := in.askRows(ctx, probeTimeout, "/api/tags", "models")
	if err != nil {
		return err
	}
	found := make([]*model, len(rows))
	var group errgroup.Group
	group.SetLimit(showsAtOnce)
	for i, row := range rows {
		if dialect.IsCloud(row.Name) {
			continue // runs elsewhere: it needs no slot
		}
		group.Go(func() error {
			found[i] = in.describe(ctx, row)
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return ctx.Err() // half an inventory is none
	}
	models := make(map[string]*model, len(found))
	for _, m := range found {
		if m != nil {
			models[dialect.CanonicalModel(m.name)] = m
		}
	}
	if in.endInventory(turn, models) {
		in.fleet.syncLanes(in)
		in.fleet.compareDigests()
	}
	return nil
}

// beginInventory is called before an instance is asked what it has.
func (in *instance) beginInventory() (turn uint64) {
	in.fleet.mu.Lock()
	defer in.fleet.mu.Unlock()
	in.asked++
	return in.asked
}

// endInventory keeps what the instance has said, unless a question that was asked later is answered already: its
// answer is newer.
func (in *instance) endInventory(turn uint64, models map[string]*model) bool {
	in.fleet.mu.Lock()
	defer in.fleet.mu.Unlock()
	if turn < in.answered {
		return false
	}
	in.answered, in.models = turn, models
	return true
}

type showAnswer struct {
	Modelfile    string   `json:"modelfile"`
	Parameters   string   `json:"parameters"`
	Capabilities []string `json:"capabilities"`
	Details      struct {
		Format string `json:"format"`
		Family string `json:"family"`
	} `json:"details"`
}

// describe asks what a model is, once a digest. A model that the instance cannot describe is left out.
func (in *instance) describe(ctx context.Context, row Row) *model {
	f, name, digest := in.fleet, row.Name, row.Digest
	f.mu.RLock()
	d, known := f.details[digest]
	f.mu.RUnlock()
	if !known {
		ctx, cancel := context.WithTimeout(ctx, showTimeout)
		defer cancel()
		var show showAnswer
		if err := in.postJSON(ctx, "/api/show", map[string]string{"model": name}, &show); err != nil {
			in.leaveOut(name, err)
			return nil
		}
		d = show.details(digest)
		f.mu.Lock()
		f.details[digest] = d
		f.mu.Unlock()
	}
	return &model{name: name, digest: digest, size: row.Size, details: d}
}

// leaveOut says, once a model, that it can not be used.
func (in *instance) leaveOut(name string, err error) {
	in.fleet.mu.Lock()
	said := in.leftOut[name]
	in.leftOut[name] = true
	in.fleet.mu.Unlock()
	if !said && in.ctx.Err() == nil {
		in.fleet.log.Warn("model left out until its instance can describe it", "instance", in.name, "model", name, "error", err)
	}
}

// details reads what identifies the weights: the blob that the Modelfile names in FROM; without one (weights in
// another format) the manifest stands for them. Adapters change the weights, so they are part of the id.
func (s showAnswer) details(digest string) details {
	var blobs []string
	for line := range strings.Lines(s.Modelfile) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.EqualFold(word, "FROM") || strings.EqualFold(word, "ADAPTER") {
			if _, hash, ok := strings.Cut(path.Base(strings.ReplaceAll(rest, `\`, "/")), "sha256-"); ok {
				blobs = append(blobs, shortID(hash))
			}
		}
	}
	if len(blobs) == 0 {
		blobs = []string{shortID(strings.TrimPrefix(digest, "sha256:"))}
	}
	return details{
		weights:   strings.Join(blobs, "+"),
		signature: dialect.ParametersSignature(s.Parameters),
		embeds:    slices.Contains(s.Capabilities, "embedding") && !slices.Contains(s.Capabilities, "completion"),
		serial:    s.serial(),
	}
}

// shortID is enough of a hash to tell weights apart.
func shortID(hash string) string { return hash[:min(len(hash), 12)] }

// syncLanes tells the dispatcher which lanes the instance has.
func (f *Fleet) syncLanes(in *instance) {
	f.tell.Lock()
	defer f.tell.Unlock()
	f.mu.Lock()
	if in.ctx.Err() != nil || !in.speaks() { // removed, or replaced
		f.mu.Unlock()
		return
	}
	specs := in.laneSpecs()
	var gone []lane.ID
	for id, owner := range f.lanes {
		if owner == in && specs[id] == nil {
			gone = append(gone, id)
			delete(f.lanes, id)
		}
	}
	for id := range specs {
		f.lanes[id] = in
	}
	f.mu.Unlock()
	for _, id := range gone {
		f.dispatcher.DropLane(id)
	}
	for _, spec := range specs {
		f.dispatcher.SetLane(*spec)
	}
}

// laneSpecs is one lane for every weights that the instance may serve. The caller holds Fleet.mu.
func (in *instance) laneSpecs() map[lane.ID]*dispatch.LaneSpec {
	specs := map[lane.ID]*dispatch.LaneSpec{}
	for name, m := range in.models {
		if !in.config.Serves(name) {
			continue
		}
		id := lane.NewID(in.name, m.weights)
		spec := specs[id]
		if spec == nil {
			spec = &dispatch.LaneSpec{
				ID: id, Instance: in.name, Weights: m.weights, Order: in.order, Models: map[string]bool{},
				Slots: slotsOf(in.config, m), Limit: in.config.Limit,
			}
			for _, role := range []lane.Role{lane.Generate, lane.Embed} {
				if in.config.HasRole(string(role)) {
					spec.Roles = append(spec.Roles, role)
				}
			}
			specs[id] = spec
		}
		spec.Models[shortName(name)] = true
	}
	return specs
}

// slotsOf is how many requests of a model the instance runs at once: as configured, else one, Ollama's own
// default. More than Ollama runs would wait inside it, unseen.
func slotsOf(c config.Instance, m *model) int {
	if c.Slots == 0 || m.serial {
		return 1
	}
	return c.Slots
}

// maxName bounds a model's name in a ticket, in bytes.
const maxName = 96

// shortName is a canonical name as tickets carry it: very long ones are cut, and told apart by a hash.
func shortName(canonical string) string {
	if len(canonical) <= maxName {
		return canonical
	}
	return canonical[:maxName-17] + "~" + hash16(canonical)
}

type psAnswer struct {
	Models []struct {
		Name      string    `json:"name"`
		ExpiresAt time.Time `json:"expires_at"`
		Context   int       `json:"context_length"` // tokens, of one slot
	} `json:"models"`
}

// setContexts keeps how much each loaded model holds.
func (in *instance) setContexts(ps psAnswer) {
	f := in.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, row := range ps.Models {
		if m := in.models[dialect.CanonicalModel(row.Name)]; m != nil {
			in.contexts[lane.NewID(in.name, m.weights)] = row.Context
		}
	}
}

// Context is how many tokens the model of a lane held when its instance was last asked, 0 if that is not known.
func (f *Fleet) Context(id lane.ID) int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if in := f.lanes[id]; in != nil {
		return in.contexts[id]
	}
	return 0
}

// checkLoaded closes the lanes whose weights the instance has unloaded since, and says when to look again: when
// the first of the loaded models is due to go, so that no request finds it gone and loads it in its own name.
func (in *instance) checkLoaded(ctx context.Context, started time.Time) (next time.Duration, err error) {
	var ps psAnswer
	if _, err := in.getJSON(ctx, probeTimeout, "/api/ps", &ps); err != nil {
		return 0, err
	}
	next = pollEvery
	f := in.fleet
	in.setContexts(ps)
	f.mu.RLock()
	resident := map[string]bool{}
	for _, row := range ps.Models {
		if m := in.models[dialect.CanonicalModel(row.Name)]; m != nil {
			resident[m.weights] = true
		}
		if due := time.Until(row.ExpiresAt) + 50*time.Millisecond; due > 0 {
			next = min(next, due)
		}
	}
	var evicted []lane.ID
	for _, m := range in.models {
		id := lane.NewID(in.name, m.weights)
		if !resident[m.weights] && in.loaded[id].Before(started) {
			evicted = append(evicted, id)
		}
	}
	f.mu.RUnlock()
	for _, id := range evicted {
		f.dispatcher.Evicted(id)
	}
	return next, nil
}
