package membership

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cellfed/cellfed/pkg/member"
)

// prober watches over one member under one configuration.
type prober struct {
	name   string
	config member.Config
	opts   func() *Options // as they are now
	fleet  *member.Fleet
	tell   func(name string)

	cancel context.CancelFunc
	kicked chan struct{}

	// speaking is held while the fleet is told, so that nothing is told after stop: another prober speaks then.
	speaking sync.Mutex
	stopped  bool

	mu     sync.Mutex
	health health
}

// startProber starts asking. tell is called when what the member is said to be has changed.
func startProber(ctx context.Context, fleet *member.Fleet, name string, config member.Config, opts func() *Options, tell func(string)) *prober {
	ctx, cancel := context.WithCancel(ctx)
	p := &prober{name: name, config: config, opts: opts, fleet: fleet, tell: tell, cancel: cancel, kicked: make(chan struct{}, 1)}
	go p.run(ctx)
	return p
}

// told returns what the member is said to be, if it has been asked.
func (p *prober) told() (result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health.told, p.health.known
}

// stop ends the prober. Once it has returned, the fleet hears nothing of it.
func (p *prober) stop() {
	p.cancel()
	p.speaking.Lock()
	defer p.speaking.Unlock()
	p.stopped = true
}

// kick has the member asked now rather than when its time has come.
func (p *prober) kick() {
	select {
	case p.kicked <- struct{}{}:
	default:
	}
}

func (p *prober) run(ctx context.Context) {
	pool, err := member.NewTransport(ctx, p.name, p.config, p.opts().Member)
	if err != nil {
		p.heard(result{reason: ReasonConfigMalformed, message: err.Error()})
		return
	}
	defer pool.Cut()
	client := &http.Client{
		Transport: pool,
		// A member's answer must not send the plane's credentials elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	base := strings.TrimSuffix(p.config.REST.Host, "/")
	for {
		begun := time.Now()
		r := probe(ctx, client, base, p.opts().Timeout)
		if ctx.Err() != nil {
			return
		}
		if !r.ok {
			pool.Cut() // the next attempt must not hang on a connection that died
		}
		h := p.heard(r)
		if !p.wait(ctx, begun, h) {
			return
		}
	}
}

// heard adds a result, and passes on what has changed by it.
func (p *prober) heard(r result) health {
	p.mu.Lock()
	before := p.health
	p.health = before.next(r, Thresholds{Failure: p.opts().FailureThreshold, Success: p.opts().SuccessThreshold})
	after := p.health
	p.mu.Unlock()
	if before.known && before.told == after.told {
		return after
	}
	p.speaking.Lock()
	stopped := p.stopped
	if !stopped {
		p.fleet.SetReachable(p.name, after.told.ok, after.told.reason, after.told.message)
	}
	p.speaking.Unlock()
	if !stopped {
		p.tell(p.name)
	}
	return after
}

// wait waits until the next probe is due, counted from the beginning of the last: one that has timed out has had its
// pause. A suspicion brings it forward, but not below the suspicion period: a member
// that is slow, and therefore suspected all the time, must not be asked all the time.
func (p *prober) wait(ctx context.Context, asked time.Time, h health) bool {
	pause := h.pause(*p.opts())
	pause -= rand.N(pause/10 + 1) // members must not be asked in step
	timer := time.NewTimer(time.Until(asked.Add(pause)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-p.kicked:
	}
	timer.Reset(time.Until(asked.Add(min(p.opts().SuspicionPeriod, pause))))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
