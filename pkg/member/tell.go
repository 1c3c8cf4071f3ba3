package member

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// repeatPause is how soon a change of the same object is told again. The first is told at once.
const repeatPause = 200 * time.Millisecond

// crier tells of objects that changed, of each only so often: an object that somebody in the member changes a hundred
// times a second is looked at a few times.
type crier struct {
	tell func(types.NamespacedName)

	mu  sync.Mutex
	hot map[types.NamespacedName]bool // told lately; true = and changed since
	on  bool
}

func (c *crier) changed(ctx context.Context, key types.NamespacedName) {
	c.mu.Lock()
	if _, hot := c.hot[key]; hot {
		c.hot[key] = true
		c.mu.Unlock()
		return
	}
	if c.hot == nil {
		c.hot = map[types.NamespacedName]bool{}
	}
	c.hot[key] = false
	start := !c.on
	c.on = true
	c.mu.Unlock()
	if start {
		go c.cool(ctx)
	}
	c.tell(key)
}

// cool tells what changed meanwhile, until nothing is hot any more.
func (c *crier) cool(ctx context.Context) {
	tick := time.NewTicker(repeatPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var again []types.NamespacedName
		c.mu.Lock()
		for key, dirty := range c.hot {
			if dirty {
				c.hot[key] = false
				again = append(again, key)
			} else {
				delete(c.hot, key)
			}
		}
		if len(c.hot) == 0 {
			c.on = false
			c.hot = nil // maps do not shrink
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, key := range again {
			c.tell(key)
		}
	}
}
