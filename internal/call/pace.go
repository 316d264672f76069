package call

import (
	"sync"
	"time"

	"corral/internal/lane"
)

// How long a slot is held after its client left: the instance goes on with a prefill it has begun, and
// notices a closed connection within about a second.
const (
	minHold = time.Second
	maxHold = 30 * time.Second
)

// pace learns how fast lanes read prompts, from the time streams take to their first byte. The zero value is
// ready to use.
type pace struct {
	mu      sync.Mutex
	perByte map[lane.ID]float64 // nanoseconds a prompt byte, moving average
}

// paceWeight is the weight of a new observation.
const paceWeight = 0.2

func (p *pace) observe(id lane.ID, promptBytes int, firstByte time.Duration) {
	sample := float64(firstByte) / float64(max(promptBytes, 1))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perByte == nil {
		p.perByte = map[lane.ID]float64{}
	}
	if old, ok := p.perByte[id]; ok {
		sample = old + paceWeight*(sample-old)
	}
	p.perByte[id] = sample
}

// rest is how long the prefill of an abandoned prompt will go on, between minHold and maxHold.
func (p *pace) rest(id lane.ID, promptBytes int, elapsed time.Duration) time.Duration {
	p.mu.Lock()
	perByte := p.perByte[id]
	p.mu.Unlock()
	predicted := time.Duration(perByte * float64(promptBytes))
	return min(max(predicted-elapsed, minHold), maxHold)
}
