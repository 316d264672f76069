package manage

import (
	"net/http"
	"slices"
	"strings"

	"corral/internal/dialect"
	"corral/internal/fleet"
)

// pull puts a model of a registry everywhere it belongs.
func (t *task) pull() {
	if !t.clear || !dialect.ValidModel(t.model()) {
		t.pass(t.places[0]) // Ollama says what is wrong
		return
	}
	s, free := t.spread("pull")
	if s == nil {
		return
	}
	defer free()
	s.known = t.knownAs(s.canonical)
	candidates, reasons := s.sift(t.places, s.known)
	if len(candidates) == 0 {
		t.refuse(dialect.Error{Status: http.StatusBadRequest, Message: t.unplaced(reasons)})
		return
	}
	s.run(candidates)
}

// spread begins an operation that works on a model's name: nil if the client left before it was its turn, or the
// instances that it was for.
func (t *task) spread(verb string) (s *spread, free func()) {
	free, ok := t.take(t.model())
	if !ok {
		return nil, nil
	}
	return &spread{task: t, verb: verb, canonical: dialect.CanonicalModel(t.model())}, free
}

// take waits for its turn on a model's name. Afterwards the instances are looked at anew.
func (t *task) take(name string) (free func(), ok bool) {
	waited := false
	free, err := t.desk.names.take(t.r.Context(), dialect.CanonicalModel(name), func() { waited = true })
	if err != nil {
		t.outcome.Error = "the client left"
		return nil, false
	}
	if waited {
		t.places = nil
		if err := t.choose(); err != nil {
			free()
			t.refuse(err)
			return nil, false
		}
	}
	return free, true
}

// knownAs is what an instance, reachable or not, knows of a model; nil if none does.
func (t *task) knownAs(canonical string) *fleet.Model {
	for _, p := range t.desk.Fleet.Places() {
		if m, ok := p.Has(canonical); ok {
			return &m
		}
	}
	return nil
}

// push sends a model to its registry, from one instance that has it.
func (t *task) push() {
	canonical := dialect.CanonicalModel(t.model())
	holder := func(p fleet.Place) bool {
		_, has := p.Has(canonical)
		return has && (t.named || p.Config.Serves(canonical))
	}
	if i := slices.IndexFunc(t.places, holder); i >= 0 {
		t.pass(t.places[i])
		return
	}
	if down := t.missing(canonical); len(down) > 0 && !t.named {
		t.refuse(dialect.Error{Status: http.StatusServiceUnavailable,
			Message: "push " + t.model() + ": only " + strings.Join(down, ", ") + " has it, which can not be reached now"})
		return
	}
	t.pass(t.places[0])
}

// missing is the instances that have a model but can not be reached.
func (t *task) missing(canonical string) (down []string) {
	for _, p := range t.desk.Fleet.Places() {
		if _, has := p.Has(canonical); has && !p.Up && p.Config.Serves(canonical) {
			down = append(down, p.Name)
		}
	}
	return down
}
