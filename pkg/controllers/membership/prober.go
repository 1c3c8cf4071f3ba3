package membership

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/metrics"
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
	pinned string   // who the member is, as it is recorded
	who    identity // who it says it is, since it was last connected with
	asked  time.Time
}

// startProber starts asking. pinned is who the member is recorded to be; tell is called when what the member is said to
// be has changed.
func startProber(ctx context.Context, fleet *member.Fleet, name string, config member.Config, pinned string, opts func() *Options, tell func(string)) *prober {
	ctx, cancel := context.WithCancel(ctx)
	p := &prober{name: name, config: config, pinned: pinned, opts: opts, fleet: fleet, tell: tell, cancel: cancel, kicked: make(chan struct{}, 1)}
	go p.run(ctx)
	return p
}

// told returns what the member is said to be, if it has been asked.
func (p *prober) told() (result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.standing()
	return r, p.health.known && !r.pinning
}

// standing is what the probes so far, and who answered them, add up to. It is called with the lock held.
func (p *prober) standing() result {
	if !p.health.told.ok {
		return p.health.told
	}
	return judge(p.health.told, p.pinned, p.who)
}

// identified returns who the member says it is.
func (p *prober) identified() identity {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.who
}

// pin says who the member is recorded to be.
func (p *prober) pin(uid string) {
	p.mu.Lock()
	same := p.pinned == uid
	p.pinned = uid
	known := p.health.known
	p.mu.Unlock()
	if !same && known {
		p.speak()
	}
}

// speak tells the fleet what the member is said to be. A new configuration takes the place of the old one only when it
// is known whom it leads to.
func (p *prober) speak() {
	p.speaking.Lock()
	defer p.speaking.Unlock()
	if p.stopped {
		return
	}
	p.mu.Lock()
	r, who := p.standing(), p.who
	p.mu.Unlock()
	if !r.ok {
		p.fleet.SetReachable(p.name, false, r.reason, r.message)
	}
	p.fleet.Identify(p.name, who.uid)
	p.fleet.Engage(p.name, p.config)
	if r.ok {
		p.fleet.SetReachable(p.name, true, r.reason, r.message)
	}
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
		p.heard(result{reason: ReasonConfigMalformed, message: err.Error()}, nil)
		return
	}
	defer pool.Cut()
	client := &http.Client{
		Transport: pool,
		// A member's answer must not send the plane's credentials elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	base := strings.TrimSuffix(p.config.REST.Host, "/")
	configured, connected := time.Now(), false
	for {
		begun := time.Now()
		opts := p.opts()
		r := probe(ctx, client, base, opts.Timeout)
		metrics.Probed(time.Since(begun))
		if r.reachable && !connected {
			connected = true
			metrics.Connected(time.Since(configured))
		}
		var who *identity
		if r.ok && p.doubtful(begun) {
			w := whoIs(ctx, client, base, opts.Timeout)
			who = &w
		}
		if ctx.Err() != nil {
			return
		}
		if !r.ok {
			pool.Cut() // the next attempt must not hang on a connection that died
		}
		h := p.heard(r, who)
		if !p.wait(ctx, begun, h) {
			return
		}
	}
}

// doubtful tells whether the member must be asked who it is: it was away, something broke, it is not said to be well,
// or it was last asked long ago.
func (p *prober) doubtful(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked.IsZero() || now.Sub(p.asked) >= identityPeriod || !p.standing().ok
}

// heard adds a result, and who gave it if that was asked, and passes on what has changed by it.
func (p *prober) heard(r result, who *identity) health {
	p.mu.Lock()
	before, known := p.standing(), p.health.known
	opts := p.opts()
	p.health = p.health.next(r, Thresholds{Failure: opts.FailureThreshold, Success: opts.SuccessThreshold})
	switch {
	case !r.ok:
		p.asked = time.Time{} // it may be another one that answers next
	case who != nil && (!who.silent || p.who == identity{} || !before.ok):
		p.who, p.asked = *who, time.Now()
	}
	if !p.health.told.ok {
		p.who = identity{}
	}
	after, h := p.standing(), p.health
	p.mu.Unlock()
	if !after.pinning {
		h.told = after
	}
	if known && before == after {
		return h
	}
	p.speak()
	if !p.isStopped() {
		p.tell(p.name)
	}
	return h
}

func (p *prober) isStopped() bool {
	p.speaking.Lock()
	defer p.speaking.Unlock()
	return p.stopped
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
		p.mu.Lock()
		p.asked = time.Time{} // a broken watch may have been another cluster's coming
		p.mu.Unlock()
	}
	timer.Reset(time.Until(asked.Add(min(p.opts().SuspicionPeriod, pause))))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
