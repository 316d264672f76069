package fleet

import (
	"context"
	"maps"
	"slices"
	"strings"

	"corral/internal/config"
	"corral/internal/relay"
)

// Place is an instance at one moment, as a place where models can be put.
type Place struct {
	Name   string
	Up     bool
	Config config.Instance
	Target *relay.Target

	models map[string]*model // replaced as a whole, never changed
}

// Model is what an instance has under a name.
type Model struct {
	Digest string // of the manifest
	Size   int64  // bytes
	Embeds bool   // an embedding model; any other generates
}

// Has says what the instance has, or last had, under a canonical name.
func (p Place) Has(canonical string) (Model, bool) {
	m := p.models[canonical]
	if m == nil {
		return Model{}, false
	}
	return Model{Digest: m.digest, Size: m.size, Embeds: m.embeds}, true
}

// Places is every instance, in file order.
func (f *Fleet) Places() []Place {
	f.mu.RLock()
	defer f.mu.RUnlock()
	places := make([]Place, 0, len(f.instances))
	for _, in := range f.instances {
		places = append(places, Place{Name: in.name, Up: in.up, Config: in.config, Target: in.target, models: in.models})
	}
	return places
}

// Refresh takes inventory of one instance now. An instance that has been removed is no error.
func (f *Fleet) Refresh(ctx context.Context, name string) error {
	for _, in := range f.all() {
		if in.name == name {
			return in.takeInventory(ctx)
		}
	}
	return nil
}

// Differing is the models that instances have under one name but with different digests, because they pulled or
// created them at different times: by canonical name and instance, 12 hex digits of the digest. Models that an
// instance may not serve are not compared.
func (f *Fleet) Differing() map[string]map[string]string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.differences()
}

// differences is Differing. The caller holds mu.
func (f *Fleet) differences() map[string]map[string]string {
	first, differ := map[string]string{}, map[string]map[string]string{}
	for _, in := range f.instances {
		for name, m := range in.models {
			switch {
			case !in.config.Serves(name):
			case first[name] == "":
				first[name] = m.digest
			case first[name] != m.digest:
				differ[name] = map[string]string{}
			}
		}
	}
	for name, digests := range differ {
		for _, in := range f.instances {
			if m := in.models[name]; m != nil && in.config.Serves(name) {
				digests[in.name] = shortID(strings.TrimPrefix(m.digest, "sha256:"))
			}
		}
	}
	return differ
}

// compareDigests says, once a model and change, that instances have it with different digests.
func (f *Fleet) compareDigests() {
	f.mu.Lock()
	now, news := map[string]string{}, []string{}
	for name, digests := range f.differences() {
		var parts []string
		for _, instance := range slices.Sorted(maps.Keys(digests)) {
			parts = append(parts, instance+" "+digests[instance])
		}
		now[name] = strings.Join(parts, ", ")
		if now[name] != f.differing[name] {
			news = append(news, name)
		}
	}
	f.differing = now
	f.mu.Unlock()
	slices.Sort(news)
	for _, name := range news {
		f.log.Warn("instances differ in a model of one name: pull it again to have the same everywhere", "model", name, "digests", now[name])
	}
}
