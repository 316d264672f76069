package manage

import (
	"context"
	"sync"
)

// names lets one operation at a time work on a model's name. The zero value is ready to use.
type names struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the name is free
}

// take waits until nobody works on the name; waiting is called once if it must. The name is free again after free.
func (n *names) take(ctx context.Context, name string, waiting func()) (free func(), err error) {
	for first := true; ; first = false {
		n.mu.Lock()
		taken := n.busy[name]
		if taken == nil {
			mine := make(chan struct{})
			if n.busy == nil {
				n.busy = map[string]chan struct{}{}
			}
			n.busy[name] = mine
			n.mu.Unlock()
			return func() { n.free(name, mine) }, nil
		}
		n.mu.Unlock()
		if first {
			waiting()
		}
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (n *names) free(name string, mine chan struct{}) {
	n.mu.Lock()
	delete(n.busy, name)
	n.mu.Unlock()
	close(mine)
}
