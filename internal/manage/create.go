package manage

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"

	"corral/internal/dialect"
	"corral/internal/fleet"
)

// create makes a model everywhere it belongs, of those instances that have what it is made of.
func (t *task) create() {
	if !t.clear || !dialect.ValidModel(t.model()) {
		t.pass(t.places[0]) // Ollama says what is wrong
		return
	}
	s, free := t.spread("create")
	if s == nil {
		return
	}
	defer free()
	base := dialect.CanonicalModel(t.q.From)
	if m := t.knownAs(base); m != nil && t.q.From != "" {
		s.known = &fleet.Model{Embeds: m.Embeds} // its size may change on the way
	}
	candidates, reasons := s.sift(t.places, s.known)
	if len(candidates) == 0 {
		t.refuse(dialect.Error{Status: http.StatusBadRequest, Message: t.unplaced(reasons)})
		return
	}
	if t.q.From != "" && t.q.RemoteHost == "" {
		candidates = some(candidates, func(p fleet.Place) bool { _, has := p.Has(base); return has })
	}
	s.run(t.equipped(candidates))
}

// some is those instances for which ok holds, or all if it does for none: the first of them then says what is
// missing, or fetches it.
func some(places []fleet.Place, ok func(fleet.Place) bool) []fleet.Place {
	var chosen []fleet.Place
	for _, p := range places {
		if ok(p) {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return places
	}
	return chosen
}

// equipped is those instances that have all blobs which the request names.
func (t *task) equipped(places []fleet.Place) []fleet.Place {
	digests := map[string]bool{}
	for _, files := range []map[string]string{t.q.Files, t.q.DraftFiles, t.q.Adapters} {
		for digest := range maps.Values(files) {
			digests[digest] = true
		}
	}
	if len(digests) == 0 {
		return places
	}
	has := make([]bool, len(places))
	var all sync.WaitGroup
	for i, p := range places {
		all.Go(func() { has[i] = t.hasBlobs(p, slices.Sorted(maps.Keys(digests))) })
	}
	all.Wait()
	return some(places, func(p fleet.Place) bool {
		return has[slices.IndexFunc(places, func(o fleet.Place) bool { return o.Name == p.Name })]
	})
}

// hasBlobs asks an instance whether it has all of some blobs.
func (t *task) hasBlobs(p fleet.Place, digests []string) bool {
	ctx, cancel := context.WithTimeout(t.r.Context(), askMost)
	defer cancel()
	for _, digest := range digests {
		if !digestPattern.MatchString(digest) {
			return false
		}
		resp, err := p.Target.Do(ctx, http.MethodHead, "/api/blobs/"+digest, nil, nil)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}
