package dispatch

import "container/heap"

// waiter is a ticket in line. The Core never touches ready: it belongs to the shell.
type waiter struct {
	Ticket
	seq   uint64 // breaks ties of arrival
	index int    // in its queue's heap, -1 when in none
	queue *queue
	ready chan verdict
}

// queue is the line of one class: first come, first served, by arrival. A requeued ticket keeps its arrival
// and so regains its place; removal is O(log n) by index.
type queue struct {
	class   Class
	waiters []*waiter
}

func (q *queue) Len() int { return len(q.waiters) }

func (q *queue) Less(i, j int) bool { return before(q.waiters[i], q.waiters[j]) }

func (q *queue) Swap(i, j int) {
	q.waiters[i], q.waiters[j] = q.waiters[j], q.waiters[i]
	q.waiters[i].index, q.waiters[j].index = i, j
}

// Push and Pop serve container/heap; callers use add and remove.
func (q *queue) Push(x any) {
	w := x.(*waiter)
	w.index, w.queue = len(q.waiters), q
	q.waiters = append(q.waiters, w)
}

func (q *queue) Pop() any {
	last := len(q.waiters) - 1
	w := q.waiters[last]
	q.waiters[last] = nil
	q.waiters = q.waiters[:last]
	w.index, w.queue = -1, nil
	return w
}

func (q *queue) add(w *waiter)    { heap.Push(q, w) }
func (q *queue) remove(w *waiter) { heap.Remove(q, w.index) }
func (q *queue) head() *waiter    { return q.waiters[0] }

func before(a, b *waiter) bool {
	if !a.Arrival.Equal(b.Arrival) {
		return a.Arrival.Before(b.Arrival)
	}
	return a.seq < b.seq
}
