package manage

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"corral/internal/dialect"
	"corral/internal/fleet"
)

// copy gives a model a second name on every instance that has it and wants the second name too.
func (t *task) copy() {
	if !t.clear || !dialect.ValidModel(t.q.Source) || !dialect.ValidModel(t.q.Destination) {
		t.pass(t.places[0]) // Ollama says what is wrong
		return
	}
	free, ok := t.take(t.q.Destination)
	if !ok {
		return
	}
	defer free()
	places := t.serving(t.q.Source)
	if !t.named && len(places) > 0 {
		wanting, reasons := sift(places, dialect.CanonicalModel(t.q.Destination), nil)
		if len(wanting) == 0 {
			t.q.Model = t.q.Destination
			t.refuse(dialect.Error{Status: http.StatusBadRequest, Message: t.unplaced(reasons)})
			return
		}
		places = wanting
	}
	t.each("copy "+t.q.Source+" to "+t.q.Destination, t.q.Source, places)
}

// delete removes a model from every instance that has it.
func (t *task) delete() {
	if !t.clear || !dialect.ValidModel(t.model()) {
		t.pass(t.places[0]) // Ollama says what is wrong
		return
	}
	free, ok := t.take(t.model())
	if !ok {
		return
	}
	defer free()
	t.each("delete "+t.model(), t.model(), t.serving(t.model()))
}

// serving is the instances that may serve a model: on others it is not to be seen, so it is not touched either.
func (t *task) serving(model string) (places []fleet.Place) {
	for _, p := range t.places {
		if t.named || p.Config.Serves(dialect.CanonicalModel(model)) {
			places = append(places, p)
		}
	}
	return places
}

// each has instances do the same at once. All that can be reached are asked, because one may have the model without
// Corral's knowledge; those that do not have it do not matter, as long as another has.
func (t *task) each(what, model string, places []fleet.Place) {
	failures := make([]*failure, len(places))
	var all sync.WaitGroup
	for i, p := range places {
		all.Go(func() {
			failures[i] = t.ask(p)
			if failures[i] == nil {
				_ = t.refresh(p.Name) // before the answer: who lists models next sees what was done
			}
		})
	}
	all.Wait()
	if t.r.Context().Err() != nil {
		t.outcome.Error = "the client left"
		return
	}
	var done []string
	var failed, absent []mishap
	for i, p := range places {
		switch f := failures[i]; {
		case f == nil:
			done = append(done, p.Name)
		case f.status == http.StatusNotFound:
			absent = append(absent, mishap{p, f})
		default:
			failed = append(failed, mishap{p, f})
		}
	}
	if !t.named && (t.r.Method == http.MethodDelete || len(done) == 0) {
		failed = append(failed, t.unreached(model)...)
	}
	t.outcome.Instances = strings.Join(done, ",")
	switch {
	case len(failed) > 0:
		e := t.summary(what, done, failed)
		t.desk.Log.Warn("not everywhere as it should be", "request", what, "error", e.Message)
		t.refuse(e)
	case len(done) > 0:
		t.answer(http.StatusOK, "", nil)
	case len(absent) > 0:
		t.refuse(dialect.Error{Status: http.StatusNotFound, Message: absent[0].message})
	default: // no instance may serve such a model
		t.refuse(dialect.Error{Status: http.StatusNotFound, Message: "model '" + model + "' not found"})
	}
}

// unreached is the instances that have a model and can not be asked: it would come back with them.
func (t *task) unreached(model string) (failed []mishap) {
	canonical := dialect.CanonicalModel(model)
	for _, p := range t.desk.Fleet.Places() {
		if _, has := p.Has(canonical); has && !p.Up && p.Config.Serves(canonical) {
			failed = append(failed, mishap{p, &failure{
				status: http.StatusServiceUnavailable, message: "it has the model but can not be reached now", lost: true,
			}})
		}
	}
	return failed
}

// ask has one instance do what is done at once.
func (t *task) ask(p fleet.Place) *failure {
	ctx, cancel := context.WithTimeout(t.r.Context(), askMost)
	defer cancel()
	resp, err := p.Target.Do(ctx, t.r.Method, t.r.URL.RequestURI(), t.r.Header, t.body)
	if err != nil {
		return t.broke(ctx, p, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failed(resp)
	}
	return nil
}
