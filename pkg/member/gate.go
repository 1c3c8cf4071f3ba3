package member

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	firstGate = time.Second
	lastGate  = time.Minute
	// bearable is how long a call waits for the gate itself, so that a member that is busy for a moment fails nothing.
	bearable = 2 * time.Second
)

// BusyError says that a member asked not to be called for a while, and that the while is not over.
type BusyError struct {
	Member string
	Until  time.Time
}

// Error implements error. It does not name the time: what it says goes into status, and must stay the same.
func (e *BusyError) Error() string {
	return fmt.Sprintf("member %s asked to be left alone for a while (429 Too Many Requests)", e.Member)
}

// gate keeps calls from a member that said that there are too many. It is closed for as long as the member asked for,
// and longer each time that it says so again; then one call goes first, and the others follow when it is let through.
type gate struct {
	member string

	mu       sync.Mutex
	until    time.Time // zero = open
	refusals int
	trying   bool
	changed  chan struct{} // closed when a try has ended
}

// enter waits until a call may go, if that is soon. Tries is true for the call that goes first.
func (g *gate) enter(ctx context.Context) (tries bool, err error) {
	for {
		g.mu.Lock()
		if g.until.IsZero() {
			g.mu.Unlock()
			return false, nil
		}
		wait := time.Until(g.until)
		if wait <= 0 && !g.trying {
			g.trying, g.changed = true, make(chan struct{})
			g.mu.Unlock()
			return true, nil
		}
		until, changed := g.until, g.changed
		if wait <= 0 { // somebody tries
			g.mu.Unlock()
			timer := time.NewTimer(bearable)
			select {
			case <-changed:
				timer.Stop()
				continue
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
			return false, &BusyError{Member: g.member, Until: time.Now().Add(firstGate)}
		}
		g.mu.Unlock()
		if wait > bearable {
			return false, &BusyError{Member: g.member, Until: until}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, context.Cause(ctx)
		}
	}
}

// leave tells what came of a call: nil for one without an answer.
func (g *gate) leave(tried bool, resp *http.Response) {
	refused := resp != nil && resp.StatusCode == http.StatusTooManyRequests
	g.mu.Lock()
	defer g.mu.Unlock()
	if tried {
		g.trying = false
		close(g.changed)
	}
	switch {
	case refused && (tried || g.until.IsZero()):
		g.refusals++
		g.until = time.Now().Add(g.pause(resp.Header.Get("Retry-After")))
	case tried && resp == nil: // it was not heard: the next one tries
	case tried:
		g.until, g.refusals = time.Time{}, 0
	}
	if refused || resp != nil && resp.StatusCode >= 500 {
		// The library below would repeat the call by itself, as often as ten times, and at once if told so.
		resp.Header.Del("Retry-After")
	}
}

func (g *gate) pause(asked string) time.Duration {
	d := firstGate << min(g.refusals-1, 6)
	if s, err := strconv.Atoi(asked); err == nil && s > 0 {
		d = max(d, time.Duration(min(s, int(lastGate.Seconds())))*time.Second)
	}
	d = min(d, lastGate)
	return d + rand.N(d/10)
}
