package election

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Fence says whether a leader may still write. It belongs to one term: what a former term left behind stays out, even if
// the same server leads again.
type Fence struct {
	valid time.Duration
	now   func() time.Time

	mu      sync.Mutex
	renewed time.Time // zero = not yet
	over    bool
}

// FencedError says that a write was kept back because the server does not lead, or cannot know whether it does.
type FencedError struct {
	// Since is how long ago the lease was last renewed.
	Since time.Duration
	// Over says that the term has ended, so that there is nothing to wait for.
	Over bool
}

// Error implements error. It does not name times: it may go into status, and must stay the same.
func (e *FencedError) Error() string {
	if e.Over {
		return "not written: this server does not lead any more, and its successor makes the write if it is still asked for"
	}
	return "not written: this server has not renewed its lease in time, and another one may lead by now"
}

// Check returns a *FencedError unless the term still holds at this very moment.
func (f *Fence) Check() error {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return &FencedError{Since: now.Sub(f.renewed), Over: true}
	}
	// Round(0) takes off the monotonic clock.
	since := max(now.Sub(f.renewed), now.Round(0).Sub(f.renewed.Round(0)))
	if f.renewed.IsZero() || since >= f.valid {
		return &FencedError{Since: since}
	}
	return nil
}

// renew tells that a renewal has succeeded that was sent at the given time.
func (f *Fence) renew(sent time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed = sent
}

// end closes the fence for good.
func (f *Fence) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// Guard is the configuration with the fence before every write. Reads pass: they harm nobody.
func (f *Fence) Guard(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &guarded{fence: f, next: next} })
	return config
}

// guarded is a connection to the plane whose writes pass the fence.
type guarded struct {
	fence *Fence
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if writes(req.Method) {
		if err := g.fence.Check(); err != nil {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
		}
	}
	return g.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go find the transport below.
func (g *guarded) WrappedRoundTripper() http.RoundTripper { return g.next }

// writes tells whether a request of the given method may change something.
func writes(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, "":
		return false
	}
	return true
}
