package ollamatest

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Stats is what a Server did since New.
type Stats struct {
	Requests map[string]int // by path
	Statuses map[int]int    // by HTTP status; 0: the connection was cut

	Loads       int // that succeeded
	FailedLoads int // failed, or aborted because their requester left
	Unloads     int
	LoadsOf     map[string]int // by model name

	InFlight   map[string]int // by model name: requests on a slot now
	PeakFlight map[string]int // by model name: the most requests on slots at once
	Waiting    map[string]int // by model name: requests that wait for a slot now, which no API of Ollama shows
	MaxWaiting map[string]int // by model name: the most at once

	Finished  int // generations and embeddings that ended well
	Cancelled int // whose client left, waiting or running
	Failed    int // that the engine failed

	Tokens int // generated
	Wasted int // of those, for requests that did not end well
}

// Request is one request as it arrived.
type Request struct {
	At     time.Time
	Method string
	Path   string
	Host   string
	Header http.Header
	Body   []byte
}

type record struct {
	mu       sync.Mutex
	stats    Stats
	requests []Request
	keep     int
}

func newRecord(keep int) *record {
	return &record{keep: keep, stats: Stats{
		Requests: map[string]int{}, Statuses: map[int]int{}, LoadsOf: map[string]int{},
		PeakFlight: map[string]int{}, MaxWaiting: map[string]int{},
	}}
}

func (c *record) request(r *http.Request, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Requests[r.URL.Path]++
	if len(c.requests) >= 2*c.keep { // cut rarely, so that a long test does not copy at each request
		c.requests = slices.Clone(c.requests[len(c.requests)-c.keep:])
	}
	c.requests = append(c.requests, Request{time.Now(), r.Method, r.URL.Path, r.Host, r.Header.Clone(), body})
}

func (c *record) status(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Statuses[code]++
}

func (c *record) loadEnded(m *Model, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok {
		c.stats.FailedLoads++
		return
	}
	c.stats.Loads++
	c.stats.LoadsOf[m.Name]++
}

func (c *record) unloaded(*Model) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Unloads++
}

func (c *record) submitted(m *Model, running, waiting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.PeakFlight[m.Name] = max(c.stats.PeakFlight[m.Name], running)
	c.stats.MaxWaiting[m.Name] = max(c.stats.MaxWaiting[m.Name], waiting)
}

type outcome uint8

const (
	finished outcome = iota
	cancelled
	failed
)

func (c *record) ended(how outcome, tokens int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Tokens += tokens
	switch how {
	case finished:
		c.stats.Finished++
		return
	case cancelled:
		c.stats.Cancelled++
	case failed:
		c.stats.Failed++
	}
	c.stats.Wasted += tokens
}

// Stats is a copy of what the server counted.
func (s *Server) Stats() Stats {
	inFlight, waiting := map[string]int{}, map[string]int{}
	s.sched.mu.Lock()
	for _, r := range s.sched.loaded {
		inFlight[r.model.Name], waiting[r.model.Name] = r.driver.Load()
	}
	s.sched.mu.Unlock()
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	st := s.record.stats
	st.InFlight, st.Waiting = inFlight, waiting
	st.Requests, st.Statuses = maps.Clone(st.Requests), maps.Clone(st.Statuses)
	st.LoadsOf, st.PeakFlight = maps.Clone(st.LoadsOf), maps.Clone(st.PeakFlight)
	st.MaxWaiting = maps.Clone(st.MaxWaiting)
	return st
}

// Requests are the last requests, oldest first, at most Options.Keep.
func (s *Server) Requests() []Request {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	from := max(0, len(s.record.requests)-s.record.keep)
	return slices.Clone(s.record.requests[from:])
}

// Last is the last request to a path.
func (s *Server) Last(path string) (Request, bool) {
	for _, r := range slices.Backward(s.Requests()) {
		if r.Path == path {
			return r, true
		}
	}
	return Request{}, false
}
