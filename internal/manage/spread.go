package manage

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"corral/internal/dialect"
	"corral/internal/fleet"
)

// spread is a pull or create: it runs on one instance first, because only the model itself tells where it belongs,
// and then on all others that want it at once.
type spread struct {
	*task
	verb      string
	canonical string
	known     *fleet.Model // what is known of the model beforehand, nil: nothing
	progress  *progress

	done   []string // where the model is now, as it should be
	failed []mishap
}

// mishap is an instance where it failed, and why.
type mishap struct {
	place fleet.Place
	*failure
}

// free says that role and size do not matter: the client named instances, or the model runs elsewhere.
func (s *spread) free() bool { return s.named || dialect.IsCloud(s.model()) }

// run answers the request. candidates are the instances that may want the model, at least one.
func (s *spread) run(candidates []fleet.Place) {
	s.outcome.Instances = listed(candidates)
	var write func([]byte)
	if s.streams() {
		write = flushing(s.w)
	}
	s.progress = newProgress(len(candidates), func() {
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.Header().Set("X-Accel-Buffering", "no")
		s.begun(s.outcome.Instances, http.StatusOK)
		s.w.WriteHeader(http.StatusOK)
	}, write)

	first, had, rest := s.first(candidates)
	if first == nil {
		s.conclude()
		return
	}
	model := s.look(*first)
	wanting, reasons := s.sift([]fleet.Place{*first}, model)
	here := len(wanting) > 0
	others, more := s.sift(rest, model)
	reasons = append(reasons, more...)
	s.failed = slices.DeleteFunc(s.failed, func(m mishap) bool { // it would not have stayed there
		wanting, _ := s.sift([]fleet.Place{m.place}, model)
		return len(wanting) == 0
	})
	s.settle(rest, others)
	if !here {
		// Before the answer ends, and also when the client leaves: it would fill a disk where nobody looks for it.
		defer func() {
			if !had {
				s.remove(*first)
			}
			s.conclude()
		}()
		if len(others) == 0 {
			s.nobody(reasons)
			return
		}
	} else {
		s.done = append(s.done, first.Name)
		defer s.conclude()
	}
	s.all(others)
}

// sift parts instances by whether they want the model, as far as it matters.
func (s *spread) sift(places []fleet.Place, m *fleet.Model) (wanting []fleet.Place, reasons []string) {
	if s.free() {
		return places, nil
	}
	return sift(places, s.canonical, m)
}

// first runs the operation on one candidate: the next one if that fails. had says whether it had a model of that
// name before, or may have had; rest is who has not been tried. Without success on any, first is nil.
func (s *spread) first(candidates []fleet.Place) (first *fleet.Place, had bool, rest []fleet.Place) {
	for i, p := range candidates {
		had := s.refresh(p.Name) != nil || s.has(p.Name)
		f := s.one(p)
		if f == nil {
			return &p, had, candidates[i+1:]
		}
		if s.hopeless() {
			break
		}
	}
	return nil, false, nil
}

// hopeless says whether no other instance would fare better: the request is wrong, or two have said the same of it,
// which is then the registry's word.
func (s *spread) hopeless() bool {
	n := len(s.failed)
	last := s.failed[n-1]
	return s.r.Context().Err() != nil || last.status < http.StatusInternalServerError ||
		n > 1 && !last.lost && s.failed[n-2].message == last.message
}

// one runs the operation on one instance.
func (s *spread) one(p fleet.Place) *failure {
	f := s.follow(s.r.Context(), p, func(l line) { s.progress.say(p.Name, l) })
	if f != nil {
		s.progress.end(p.Name)
		s.failed = append(s.failed, mishap{p, f})
	}
	return f
}

// all runs the operation on instances at once.
func (s *spread) all(places []fleet.Place) {
	if len(places) > 0 && len(s.done)+len(places) > 1 {
		s.progress.tell(s.verb + " on " + namesOf(places))
	}
	results := make([]*failure, len(places))
	var all sync.WaitGroup
	for i, p := range places {
		all.Go(func() {
			results[i] = s.follow(s.r.Context(), p, func(l line) { s.progress.say(p.Name, l) })
			s.progress.end(p.Name)
			if results[i] == nil {
				_ = s.refresh(p.Name) // a chat right after the answer finds the model
			}
		})
	}
	all.Wait()
	for i, p := range places {
		if results[i] != nil {
			s.failed = append(s.failed, mishap{p, results[i]})
		} else {
			s.done = append(s.done, p.Name)
		}
	}
}

// look learns what the model is from the instance that has it now; nil if that does not tell.
func (s *spread) look(p fleet.Place) *fleet.Model {
	s.progress.end(p.Name)
	_ = s.refresh(p.Name)
	for _, now := range s.desk.Fleet.Places() {
		if now.Name == p.Name {
			if m, ok := now.Has(s.canonical); ok {
				return &m
			}
		}
	}
	return s.known
}

func (s *spread) has(instance string) bool {
	return slices.ContainsFunc(s.desk.Fleet.Places(), func(p fleet.Place) bool {
		_, has := p.Has(s.canonical)
		return p.Name == instance && has
	})
}

// settle tells the progress which instances will not take part.
func (s *spread) settle(places, others []fleet.Place) {
	for _, p := range places {
		if !slices.ContainsFunc(others, func(o fleet.Place) bool { return o.Name == p.Name }) {
			s.progress.end(p.Name)
		}
	}
}

// remove takes the model away from the instance that only told what it is.
func (s *spread) remove(p fleet.Place) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.r.Context()), cleanMost)
	defer cancel()
	resp, err := p.Target.Do(ctx, http.MethodDelete, "/api/delete", http.Header{"Content-Type": {"application/json"}}, modelBody(s.model()))
	if err == nil {
		_ = resp.Body.Close()
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		s.desk.Log.Warn("a model stays where it does not belong: delete it there", "instance", p.Name, "model", s.canonical, "error", err)
	}
	_ = s.refresh(p.Name)
}
