package ollamatest

import (
	"container/heap"
	"time"
)

// slot is one sequence of the engine and what it remembers of its last prompt.
type slot struct {
	job  *Job
	text string
	used uint64 // order of last use
}

// similar is the part of a new prompt that a slot must know to be chosen for it rather than the slot that was
// used longest ago (llama-server's --slot-prompt-similarity).
const similar = 0.1

// take gives a job a free slot; there must be one. The slot with the longest common prefix wins.
func (e *Engine) take(j *Job) {
	best, bestLen := -1, int(similar*float64(len(j.Prompt)))
	oldest := -1
	for i := range e.slots {
		s := &e.slots[i]
		if s.job != nil {
			continue
		}
		if oldest < 0 || s.used < e.slots[oldest].used {
			oldest = i
		}
		if n := commonPrefix(s.text, j.Prompt); n > bestLen {
			best, bestLen = i, n
		}
	}
	if best < 0 || e.set.NoReuse {
		best, bestLen = oldest, 0
	}
	s := &e.slots[best]
	e.uses++
	e.busy++
	s.job, s.used = j, e.uses
	s.text = ""
	if !j.Embed && !e.set.NoReuse {
		s.text = j.Prompt
		j.Cached = min(bestLen/4, max(j.PromptTokens-1, 0))
	}
	j.slot = best
}

// free takes a running job off its slot.
func (e *Engine) free(at time.Time, j *Job) {
	e.unpace(j)
	e.slots[j.slot].job = nil
	e.busy--
	if j.PromptTime == 0 && j.Made == 0 {
		j.PromptTime = at.Sub(j.Started)
	}
	j.state, j.Ended = jobEnded, at
}

func (e *Engine) unpace(j *Job) {
	if j.index >= 0 {
		heap.Remove(&e.paced, j.index)
	}
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// beginIteration plans what the next iteration does: a token for each batched job that decodes, and as many
// prompt tokens as then fit into the batch, first come, first served by slot.
func (e *Engine) beginIteration(now time.Time) {
	decoding, room := 0, e.set.Batch
	for i := range e.slots {
		if j := e.slots[i].job; j != nil && !j.paced() && j.state == jobDecoding {
			j.decodes = true
			decoding++
		}
	}
	room -= decoding
	prompts := 0
	for i := range e.slots {
		j := e.slots[i].job
		if j == nil || j.paced() || (j.state != jobPrefill && j.state != jobDraining) {
			continue
		}
		j.taken = min(j.left, room)
		room -= j.taken
		prompts += j.taken
	}
	if decoding+prompts > 0 {
		e.iterEnd = now.Add(e.set.scale(e.set.decode(decoding) + e.set.prefill(prompts)))
	}
}

// endIteration gives out the tokens of the iteration. Jobs that left meanwhile get none.
func (e *Engine) endIteration(at time.Time) {
	e.iterEnd = time.Time{}
	for i := range e.slots {
		j := e.slots[i].job
		if j == nil || j.paced() {
			continue
		}
		switch {
		case j.decodes:
			j.decodes = false
			e.made(at, j)
		case j.taken > 0:
			j.left -= j.taken
			j.taken = 0
			if j.left == 0 {
				j.PromptTime = at.Sub(j.Started)
				e.made(at, j)
			}
		}
		if e.dead {
			return
		}
	}
}

// pacedHeap orders jobs that follow their own clock by their next event, then by slot.
type pacedHeap []*Job

func (h pacedHeap) Len() int { return len(h) }
func (h pacedHeap) Less(a, b int) bool {
	if h[a].next.Equal(h[b].next) {
		return h[a].slot < h[b].slot
	}
	return h[a].next.Before(h[b].next)
}
func (h pacedHeap) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].index, h[b].index = a, b
}

// Push adds a *Job, for container/heap.
func (h *pacedHeap) Push(x any) {
	j := x.(*Job)
	j.index = len(*h)
	*h = append(*h, j)
}

// Pop takes the last job, for container/heap.
func (h *pacedHeap) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	j.index = -1
	return j
}
