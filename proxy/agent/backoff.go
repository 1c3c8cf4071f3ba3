package agent

import (
	"math/rand/v2"
	"time"
)

// backoff are the pauses between attempts: each is of any length up to a bound that doubles. That spreads over time what
// comes back all at once when a server with many agents is started again.
type backoff struct {
	least, most time.Duration
	failures    int
}

func (b *backoff) next() time.Duration {
	bound := b.most
	if b.failures < 20 && b.least<<b.failures < b.most {
		bound = b.least << b.failures
	}
	b.failures++
	// Never none at all: a server that ends each stream at once would be asked without a pause.
	return b.least/10 + rand.N(bound)
}

func (b *backoff) reset() { b.failures = 0 }
