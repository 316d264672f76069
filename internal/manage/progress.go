package manage

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// line is one line of an instance's progress: Ollama's api.ProgressResponse, or an error.
type line struct {
	Status    string `json:"status,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Total     int64  `json:"total,omitempty"`     // bytes
	Completed int64  `json:"completed,omitempty"` // bytes
	Error     string `json:"error,omitempty"`
}

// lineEvery is how often one layer is told of while it moves, as Ollama does.
const lineEvery = 60 * time.Millisecond

// progress merges what several instances say of one operation into one stream that reads like that of one Ollama.
// The ollama command keeps a bar a digest, whose end is the total that it hears of first, and a line a status:
//
//   - a layer counts once for every instance that takes part, so its total is known from the start and never
//     changes, and what is completed is the sum, which never goes back;
//   - an instance that is done, has failed or is not wanted counts as complete, so that the bars reach their end;
//   - a status is said once, whoever says it first; "success" is said by the caller, at the end of all.
//
// Safe for concurrent use.
type progress struct {
	start func()       // called before the first line
	write func([]byte) // nil: nobody listens

	mu     sync.Mutex
	begun  bool
	shares int // instances that take part
	ended  map[string]bool
	layers map[layer]*moved
	order  []layer
	said   map[string]bool
}

// layer is one bar. A conversion counts all its layers under one digest, with a total each.
type layer struct {
	digest string
	total  int64
}

// moved is how far a layer has come.
type moved struct {
	status string
	by     map[string]int64 // bytes, by instance
	told   int64
	at     time.Time
}

func newProgress(shares int, start func(), write func([]byte)) *progress {
	return &progress{
		start: start, write: write, shares: shares,
		ended: map[string]bool{}, layers: map[layer]*moved{}, said: map[string]bool{},
	}
}

// flushing writes lines to a client at once. That it has left is its context's affair.
func flushing(w http.ResponseWriter) func([]byte) {
	control := http.NewResponseController(w)
	return func(p []byte) {
		_, _ = w.Write(p)
		_ = control.Flush()
	}
}

// say takes a line of an instance.
func (p *progress) say(instance string, l line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case l.Digest != "":
		p.move(instance, l)
	case l.Status != "" && l.Status != "success":
		p.status(l.Status)
	}
}

// tell says a status of Corral's own.
func (p *progress) tell(status string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status(status)
}

func (p *progress) status(status string) {
	if !p.said[status] {
		p.said[status] = true
		p.send(line{Status: status})
	}
}

func (p *progress) move(instance string, l line) {
	key := layer{l.Digest, l.Total}
	m := p.layers[key]
	if m == nil {
		m = &moved{status: l.Status, by: map[string]int64{}}
		p.layers[key] = m
		p.order = append(p.order, key)
	}
	m.by[instance] = max(m.by[instance], min(l.Completed, l.Total))
	p.layer(key, m, m.by[instance] == l.Total)
}

// end says that an instance has nothing more to say: it counts as complete.
func (p *progress) end(instance string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended[instance] {
		return
	}
	p.ended[instance] = true
	for _, key := range p.order {
		p.layer(key, p.layers[key], true)
	}
}

// layer sends how far a layer has come, if that is news; now: at once.
func (p *progress) layer(key layer, m *moved, now bool) {
	done := int64(len(p.ended)) * key.total
	for instance, n := range m.by {
		if !p.ended[instance] {
			done += n
		}
	}
	all := key.total * int64(p.shares)
	done = min(done, all)
	first := m.at.IsZero()
	if !first && (done <= m.told || !now && time.Since(m.at) < lineEvery) {
		return
	}
	m.told, m.at = max(m.told, done), time.Now()
	p.send(line{Status: m.status, Digest: key.digest, Total: all, Completed: m.told})
}

// finish sends the last line.
func (p *progress) finish(l line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(l)
}

// started says whether a line was sent.
func (p *progress) started() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

func (p *progress) send(l line) {
	if p.write == nil {
		return
	}
	if !p.begun {
		p.begun = true
		p.start()
	}
	b, err := json.Marshal(l)
	if err != nil {
		return
	}
	p.write(append(b, '\n'))
}
