package agent

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	crand "crypto/rand"
)

// Agent holds the streams.
type Agent struct {
	opts  Options
	id    string
	allow allowlist

	// nextID makes the names of connections. They are of one sequence for all streams: a server may put streams of one
	// agent together.
	nextID   atomic.Int64
	queued   atomic.Int64
	draining atomic.Bool
	counts   counts
	keepers  []*keeper

	mu      sync.Mutex
	refused map[string]bool // addresses that were told of
}

// New returns an agent that does nothing until it is run.
func New(opts Options) (*Agent, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	id := make([]byte, 16)
	if _, err := crand.Read(id); err != nil {
		return nil, fmt.Errorf("making the agent's ID: %w", err)
	}
	a := &Agent{opts: opts, id: hex.EncodeToString(id), allow: newAllowlist(opts.Allow), refused: map[string]bool{}}
	for _, address := range opts.Servers {
		a.keepers = append(a.keepers, &keeper{
			agent: a, address: address, wanted: 1, held: map[string]*session{}, changed: make(chan struct{}, 1),
			pauses: backoff{least: opts.MinBackoff, most: opts.MaxBackoff}, keepalive: opts.KeepaliveTime,
		})
	}
	return a, nil
}

// Run keeps the streams up until ctx ends. Then servers are told to send nothing new, connections get the time that was
// given for them, and all ends.
func (a *Agent) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, k := range a.keepers {
		group.Go(func() { k.run(ctx) })
	}
	<-ctx.Done()
	a.draining.Store(true)
	group.Wait() // no stream is opened any more
	var all []*session
	for _, k := range a.keepers {
		all = append(all, k.sessions()...)
	}
	for _, s := range all {
		s.drain()
	}
	if open := a.counts.connections.Load(); open > 0 {
		a.opts.Logger.Info("Waiting for connections to end", "connections", open, "atMost", a.opts.Drain)
	}
	await(a.opts.Drain, func() bool { return a.counts.connections.Load() == 0 })
	for _, s := range all {
		group.Go(func() { s.finish("the agent ends") })
	}
	group.Wait()
}

// await looks until something is so, or time is over.
func await(atMost time.Duration, so func() bool) bool {
	for end := time.Now().Add(atMost); ; time.Sleep(10 * time.Millisecond) {
		if so() {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
	}
}

// Connected tells whether there is a stream to any server; if not, why.
func (a *Agent) Connected() error {
	if a.draining.Load() {
		return errors.New("the agent ends")
	}
	var why []error
	for _, k := range a.keepers {
		err := k.connected()
		if err == nil {
			return nil
		}
		why = append(why, fmt.Errorf("%s: %w", k.address, err))
	}
	return errors.Join(why...)
}

// refuse tells of an address that a server wanted, once.
func (a *Agent) refuse(server, protocol, address string) {
	a.counts.refused.Add(1)
	const remembered = 1000
	a.mu.Lock()
	known := a.refused[address] || len(a.refused) >= remembered
	if !known {
		a.refused[address] = true
	}
	a.mu.Unlock()
	if !known {
		a.opts.Logger.Warn("Refused to connect a server to an address that is not allowed: allow it with --allow if it should be", "server", server, "protocol", protocol, "address", address)
	}
}

// keeper keeps the streams to one address up: one for each server behind it.
type keeper struct {
	agent   *Agent
	address string
	pauses  backoff
	// changed gets a value when there may be something to do.
	changed chan struct{}

	mu       sync.Mutex
	wanted   int
	held     map[string]*session // by the server's ID
	retiring []*session
	failure  error
	told     string
	// keepalive is after how long a silence the server is asked.
	keepalive time.Duration
	// lived and short say that a stream ended since the last attempt, after long enough a life or too short a one.
	lived, short bool
}

func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		current, renewed := k.agent.opts.Credentials.Current()
		due := k.due(current)
		switch {
		case current == nil:
			k.note(errors.New("there is no certificate yet"))
			k.wait(ctx, renewed, k.next())
		case !time.Now().Before(lastMoment(current)):
			// A stream that showed it would have to end at once.
			k.note(fmt.Errorf("the certificate ends at %s, and there is no other yet", current.Leaf.NotAfter.UTC().Format(time.RFC3339)))
			k.retireLate(due)
			k.wait(ctx, renewed, k.next())
		case k.enough() && len(due) == 0:
			k.wait(ctx, renewed, k.next())
		default:
			if k.shortLived() {
				k.wait(ctx, nil, k.pauses.next())
			} else if !k.open(ctx, current) {
				k.retireLate(due)
				k.wait(ctx, nil, k.pauses.next())
			}
		}
	}
}

// wait returns after a time, or when something changed.
func (k *keeper) wait(ctx context.Context, renewed <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	changed := k.changed
	if renewed == nil { // a pause between attempts is kept
		changed = nil
	}
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-changed:
	case <-renewed:
		// Not all agents of all members at once, and a file that is being replaced has both its halves by then.
		time.Sleep(rand.N(50 * time.Millisecond))
	}
}

// shortLived tells, once, that a stream ended soon after it began: as good as an attempt that failed. One that lived has
// the pauses begin anew.
func (k *keeper) shortLived() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lived {
		k.pauses.reset()
	}
	short := k.short
	k.lived, k.short = false, false
	return short
}

func (k *keeper) enough() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held) >= k.wanted
}

// lastMoment is when a stream that showed a certificate has to end, replaced or not.
func lastMoment(certificate *tls.Certificate) time.Time {
	leaf := certificate.Leaf
	return leaf.NotAfter.Add(-min(leaf.NotAfter.Sub(leaf.NotBefore)/20, time.Minute))
}

// due are the streams that another has to take the place of: they show a certificate that is no longer current.
func (k *keeper) due(current *tls.Certificate) []*session {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*session
	for _, s := range k.held {
		if s.certificate != current || !time.Now().Before(s.lastMoment()) {
			out = append(out, s)
		}
	}
	return out
}

// next is how long until a stream is due by itself.
func (k *keeper) next() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := time.Hour
	for _, s := range k.held {
		d = min(d, max(time.Until(s.lastMoment()), time.Millisecond))
	}
	return d
}

// open opens one stream and finds its place. It tells whether that was a step ahead.
func (k *keeper) open(ctx context.Context, current *tls.Certificate) bool {
	s, count, err := k.agent.open(ctx, k.address, current, k.silence())
	if err != nil {
		if ctx.Err() == nil {
			k.agent.counts.openFailures.Add(1)
			k.note(err)
		}
		return false
	}
	k.mu.Lock()
	k.wanted = min(max(count, 1), maxServers)
	before := k.held[s.serverID]
	if before != nil && before.certificate == current && time.Now().Before(before.lastMoment()) {
		k.mu.Unlock()
		s.end()
		return false // the same server again: perhaps another answers the next time
	}
	k.held[s.serverID] = s
	if before != nil {
		k.retiring = append(k.retiring, before)
	}
	k.failure, k.told = nil, ""
	k.mu.Unlock()
	k.agent.counts.opened.Add(1)
	k.agent.opts.Logger.Info("Connected", "server", k.address, "serverID", s.serverID, "serverCount", count)
	s.start(func(err error) { k.gone(s, err) })
	if before != nil {
		go before.retire()
	}
	return true
}

// retireLate ends streams whose certificate ends while nothing takes their place: the next attempt is then a new one.
func (k *keeper) retireLate(due []*session) {
	for _, s := range due {
		if time.Now().Before(s.lastMoment()) {
			continue
		}
		k.mu.Lock()
		if k.held[s.serverID] == s {
			delete(k.held, s.serverID)
			k.retiring = append(k.retiring, s)
		}
		k.mu.Unlock()
		go s.retire()
	}
}

// gone forgets a stream that has ended.
func (k *keeper) gone(s *session, err error) {
	k.mu.Lock()
	wasHeld := k.held[s.serverID] == s
	if wasHeld {
		delete(k.held, s.serverID)
	}
	for i, r := range k.retiring {
		if r == s {
			k.retiring = append(k.retiring[:i], k.retiring[i+1:]...)
			break
		}
	}
	if wasHeld {
		lived := time.Since(s.begun) >= k.agent.opts.Lived
		k.lived, k.short = k.lived || lived, k.short || !lived
		k.keepalive = calmer(k.keepalive, err)
	}
	k.mu.Unlock()
	if !wasHeld || k.agent.draining.Load() {
		return
	}
	k.note(err)
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// calmer is after how long a silence a server is asked that has ended a stream with err. Servers have limits of their own
// to how often they are asked, stock ones 30 s or 5 minutes, and end the streams of who asks more often.
func calmer(d time.Duration, err error) time.Duration {
	const most = 10 * time.Minute
	if err == nil || !strings.Contains(err.Error(), "too_many_pings") {
		return d
	}
	return min(2*max(d, 10*time.Second), most)
}

func (k *keeper) silence() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keepalive
}

// note keeps why there is no stream, and tells it when it is news.
func (k *keeper) note(err error) {
	if err == nil {
		err = errors.New("the server ended the stream")
	}
	k.mu.Lock()
	k.failure = err
	news := k.told != err.Error()
	k.told = err.Error()
	k.mu.Unlock()
	if news {
		k.agent.opts.Logger.Warn("Not connected; trying again", "server", k.address, "error", err)
	}
}

func (k *keeper) connected() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.held) > 0 {
		return nil
	}
	if k.failure != nil {
		return k.failure
	}
	return errors.New("not connected yet")
}

func (k *keeper) sessions() []*session {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := append([]*session(nil), k.retiring...)
	for _, s := range k.held {
		out = append(out, s)
	}
	return out
}
