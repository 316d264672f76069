// Package fleet knows the instances: whether they can be reached, which models they have, how they are
// spoken to. It opens the dispatcher's lanes and closes them.
package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"corral/internal/config"
	"corral/internal/dispatch"
	"corral/internal/lane"
	"corral/internal/relay"
)

// Fleet is the instances of the configuration in force. Safe for concurrent use.
//
// Lock order: tell, then mu. What the fleet knows changes, and the dispatcher is told of it, under tell, so that
// it is told in order. mu is never held while the dispatcher is called, because the dispatcher calls back.
type Fleet struct {
	log        *slog.Logger
	dial       relay.DialFunc
	dispatcher *dispatch.Dispatcher
	refresh    singleflight.Group
	ctx        context.Context // ends with Close: polls and loads stop
	close      context.CancelFunc
	work       sync.WaitGroup

	tell      sync.Mutex
	mu        sync.RWMutex
	instances []*instance // in file order
	lanes     map[lane.ID]*instance
	backoffs  map[lane.ID]backoff
	pinned    map[lane.ID]bool   // loaded with num_gpu, which sticks until an unload
	details   map[string]details // of a model, by manifest digest
	refreshed time.Time
	differing map[string]string // what was said of models whose digests differ, by canonical name
}

// Options of a Fleet.
type Options struct {
	Log        *slog.Logger
	MaxWaiting int            // tickets that may wait at once
	Dial       relay.DialFunc // how instances are reached; nil for the network
}

// New is a fleet without instances.
func New(o Options) *Fleet {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Fleet{
		log: o.Log, dial: o.Dial, ctx: ctx, close: cancel,
		lanes: map[lane.ID]*instance{}, backoffs: map[lane.ID]backoff{}, pinned: map[lane.ID]bool{}, details: map[string]details{},
	}
	f.dispatcher = dispatch.New(f, o.MaxWaiting)
	return f
}

// Dispatcher is the queue over the fleet's lanes.
func (f *Fleet) Dispatcher() *dispatch.Dispatcher { return f.dispatcher }

// Close stops polls and loads and waits for them. Running requests are not touched.
func (f *Fleet) Close() {
	f.close()
	f.work.Wait()
}

// Apply makes the fleet that of a configuration: unchanged instances stay as they are, changed ones keep
// their lanes, removed ones drain. An error (of a certificate, say) changes nothing.
func (f *Fleet) Apply(instances []config.Instance) error {
	targets := make([]*relay.Target, len(instances))
	for i, c := range instances {
		t, err := newTarget(c, f.dial)
		if err != nil {
			return fmt.Errorf("instance %s: %w", c.Name, err)
		}
		targets[i] = t
	}
	added, changed, removed := f.exchange(instances, targets)
	f.replace(added)
	for _, in := range changed {
		f.syncLanes(in)
	}
	for _, in := range added {
		f.work.Go(func() { in.poll(in.ctx) })
	}
	f.work.Go(func() {
		if len(removed) > 0 { // what waits for them may go to the new ones, once these are known
			f.Meet(f.ctx, changeOver)
		}
		for _, in := range removed {
			f.remove(in)
		}
	})
	return nil
}

// replace makes the lanes of a new instance cold that have the name of an old one: what that had loaded, another
// server has not.
func (f *Fleet) replace(added []*instance) {
	f.tell.Lock()
	defer f.tell.Unlock()
	for _, in := range added {
		f.dispatcher.SetUp(in.name, false)
	}
}

// changeOver is how long removed instances stay until the ones that replace them have shown what they have.
const changeOver = 2 * time.Second

// exchange puts the new instances in place and says what that did to the old ones.
func (f *Fleet) exchange(configs []config.Instance, targets []*relay.Target) (added, changed, removed []*instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.instances
	f.instances = make([]*instance, 0, len(configs))
	for i, c := range configs {
		at := slices.IndexFunc(old, func(in *instance) bool { return in.name == c.Name && sameServer(in.config, c) })
		if at < 0 {
			in := newInstance(f, c, targets[i], i)
			added = append(added, in)
			f.instances = append(f.instances, in)
			continue
		}
		in := old[at]
		old = slices.Delete(slices.Clone(old), at, at+1)
		if !in.config.Equal(c) || in.order != i {
			in.config, in.order = c, i
			changed = append(changed, in)
		}
		f.instances = append(f.instances, in)
	}
	return added, changed, old
}

// sameServer says whether two configurations of an instance differ at most in how its lanes are used.
func sameServer(a, b config.Instance) bool {
	a.Roles, a.Slots, a.Limit, a.Models, a.MaxModel = b.Roles, b.Slots, b.Limit, b.Models, b.MaxModel
	return a.Equal(b)
}

// remove takes an instance out: its lanes drain. One of the same name that took its place keeps lanes of the
// same weights.
func (f *Fleet) remove(in *instance) {
	in.stop()
	f.tell.Lock()
	defer f.tell.Unlock()
	f.mu.Lock()
	var mine []lane.ID
	for id, owner := range f.lanes {
		if owner == in {
			mine = append(mine, id)
			delete(f.lanes, id)
		}
	}
	named := slices.ContainsFunc(f.instances, func(x *instance) bool { return x.config.Name == in.name })
	f.mu.Unlock()
	if !named {
		f.dispatcher.SetUp(in.name, false)
	}
	for _, id := range mine {
		f.dispatcher.DropLane(id)
	}
	f.log.Info("instance removed: running requests end in peace", "instance", in.name)
}

// Target is how a lane's instance is reached; nil when it has been removed.
func (f *Fleet) Target(id lane.ID) *relay.Target {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if in := f.lanes[id]; in != nil {
		return in.target
	}
	return nil
}

// Failed says that a request could not reach an instance: its health is looked at now.
func (f *Fleet) Failed(name string, err error) {
	for _, in := range f.all() {
		if in.name == name {
			in.suspect(err)
		}
	}
}

// all is the instances in file order.
func (f *Fleet) all() []*instance {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.instances // replaced as a whole, never changed
}

// Healthy is how the instances that can be reached are spoken to, in file order.
func (f *Fleet) Healthy() []*relay.Target {
	return f.targets(func(in *instance) bool { return in.up })
}

// Holders is the reachable instances that have a model, in file order.
func (f *Fleet) Holders(canonical string) []*relay.Target {
	return f.targets(func(in *instance) bool {
		return in.up && in.models[canonical] != nil && in.config.Serves(canonical)
	})
}

// Knows says whether an instance has a model, reachable or not, whatever it may be used for.
func (f *Fleet) Knows(canonical string) bool {
	return slices.ContainsFunc(f.all(), func(in *instance) bool {
		f.mu.RLock()
		defer f.mu.RUnlock()
		return in.models[canonical] != nil
	})
}

// targets picks instances under the lock.
func (f *Fleet) targets(ok func(*instance) bool) []*relay.Target {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var ts []*relay.Target
	for _, in := range f.instances {
		if ok(in) {
			ts = append(ts, in.target)
		}
	}
	return ts
}

// View is an instance at one moment.
type View struct {
	Name    string   `json:"name"`
	URL     string   `json:"url"`
	Up      bool     `json:"up"`
	Seen    bool     `json:"seen"` // it has answered at least once
	Looping bool     `json:"looping,omitempty"`
	Version string   `json:"version,omitempty"`
	Roles   []string `json:"roles"`
	Slots   int      `json:"slots"`  // of most models; what Ollama runs one at a time has one
	Stated  bool     `json:"stated"` // the slots are configured, not assumed
	Models  []string `json:"models,omitempty"`
	Chats   []string `json:"-"` // those of the models that can complete
	Error   string   `json:"error,omitempty"`
}

// Views is the fleet at one moment, in file order.
func (f *Fleet) Views() []View {
	f.mu.RLock()
	defer f.mu.RUnlock()
	views := make([]View, 0, len(f.instances))
	for _, in := range f.instances {
		v := View{
			Name: in.name, URL: in.target.URL.String(), Up: in.up, Seen: in.seen, Looping: in.looping,
			Version: in.version, Roles: in.config.Roles, Slots: max(in.config.Slots, 1), Stated: in.config.Slots > 0,
		}
		if in.failure != nil && !in.up {
			v.Error = in.failure.Error()
		}
		for name, m := range in.models {
			v.Models = append(v.Models, name)
			if !m.embeds {
				v.Chats = append(v.Chats, name)
			}
		}
		slices.Sort(v.Models)
		views = append(views, v)
	}
	return views
}

// Meet waits until every instance has been looked at once, for at most limit.
func (f *Fleet) Meet(ctx context.Context, limit time.Duration) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for _, in := range f.all() {
		select {
		case <-in.met:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
