package propagation

import "sync"

// crew is the workers of one type: as many as are wanted now, which may change.
type crew struct {
	// wanted is how many there should be, work takes one key and tells whether there may be more.
	wanted func() int
	work   func() bool

	mu   sync.Mutex
	open bool
	at   int
	done sync.WaitGroup
}

// start lets the crew work.
func (c *crew) start(work func() bool) {
	c.mu.Lock()
	c.open, c.work = true, work
	c.mu.Unlock()
	c.fill()
}

// fill brings in those that are missing. Those that are too many leave by themselves, after the key that each has in
// hand or gets next.
func (c *crew) fill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open && c.at < c.wanted() {
		c.at++
		c.done.Go(func() {
			for c.work() && c.stays() {
			}
		})
	}
}

// stays tells a worker whether it is still wanted. One that is not has left.
func (c *crew) stays() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at > max(c.wanted(), 1) {
		c.at--
		return false
	}
	return true
}

// end waits until all have left. Their work has ended.
func (c *crew) end() {
	c.mu.Lock()
	c.open = false
	c.mu.Unlock()
	c.done.Wait()
}
