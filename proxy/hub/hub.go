package hub

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/proto/agent"
	"sigs.k8s.io/apiserver-network-proxy/proto/header"

	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/proxy/roster"
	"github.com/cellfed/cellfed/proxy/window"
)

// Lane is the kind of traffic that a connection carries.
type Lane int

// The lanes. Control is what must not wait; Bulk may be large, and its readers may be slow.
const (
	Control Lane = iota
	Bulk
	lanes
)

// String is the lane's name in metrics and metadata.
func (l Lane) String() string {
	if l == Bulk {
		return "bulk"
	}
	return "control"
}

const (
	// maxStreams bounds what the agents of one member may hold open.
	maxStreams = 64
	// Streams may come in a burst, as when a server has started anew, and then now and then.
	comeBurst = 4 * maxStreams
	comeRate  = 5 // per second
)

// Options say how a hub works. The zero value of each field is the default.
type Options struct {
	// Name is this server's name, which no other server has: agents tell servers apart by it.
	Name string
	// Servers is how many servers stand behind one address that agents connect to (1).
	Servers int
	// DialTimeout bounds a dial, from the call to the agent's answer (10s).
	DialTimeout time.Duration
	// ControlStall and BulkStall are how long the others of a stream may wait for a reader who does not read, or too slowly
	// (200ms, 5s), when the agent does not keep to a window and sends more than is held for it.
	ControlStall, BulkStall time.Duration
	// SendStall is how long an agent may take nothing at all while something waits to be sent (10s).
	SendStall time.Duration
	// Log tells of agents that come, go and are refused.
	Log logr.Logger
	// Metrics registers the metrics; nil = nobody sees them.
	Metrics prometheus.Registerer
}

func (o Options) withDefaults() Options {
	o.Name = cmp.Or(o.Name, "cellfed")
	o.Servers = cmp.Or(o.Servers, 1)
	o.DialTimeout = cmp.Or(o.DialTimeout, 10*time.Second)
	o.ControlStall = cmp.Or(o.ControlStall, 200*time.Millisecond)
	o.BulkStall = cmp.Or(o.BulkStall, 5*time.Second)
	o.SendStall = cmp.Or(o.SendStall, 10*time.Second)
	return o
}

func (o Options) stall(l Lane) time.Duration {
	if l == Bulk {
		return o.BulkStall
	}
	return o.ControlStall
}

// Hub holds the tunnels of all members.
type Hub struct {
	opts    Options
	metrics *metrics
	told    *told

	watchers roster.Watchers

	mu       sync.Mutex
	closed   bool
	clusters map[string]*cluster
}

// cluster is one member: who of its agents is admitted, and who is connected.
type cluster struct {
	enrolment string
	streams   []*stream // in the order in which they came
	turn      int
	// came counts the streams that have come, less what was forgiven since then.
	came   float64
	cameAt time.Time
	lane   Lane // of the last stream that lacked none
}

// New returns a hub that admits nobody yet.
func New(opts Options) *Hub {
	opts = opts.withDefaults()
	return &Hub{
		opts: opts, metrics: newMetrics(opts.Metrics), told: newTold(opts.Log),
		clusters: map[string]*cluster{},
	}
}

// Admit lets the agents of one enrolment serve a member, and ends the streams of any other. An empty enrolment admits none.
func (h *Hub) Admit(name, enrolment string) {
	h.mu.Lock()
	c := h.clusters[name]
	if c == nil {
		c = &cluster{}
		h.clusters[name] = c
	}
	former := c.enrolment
	c.enrolment = enrolment
	var ended []*stream
	if former != enrolment {
		ended = slices.Clone(c.streams)
	}
	h.mu.Unlock()
	for _, s := range ended {
		s.end(&RevokedError{Cluster: name})
	}
}

// Forget takes a member away, with all its streams.
func (h *Hub) Forget(name string) {
	h.mu.Lock()
	c := h.clusters[name]
	delete(h.clusters, name)
	var ended []*stream
	if c != nil {
		ended = slices.Clone(c.streams)
	}
	h.metrics.forget(name)
	h.mu.Unlock()
	for _, s := range ended {
		s.end(&RevokedError{Cluster: name})
	}
}

// Close ends all streams and admits no more.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	var all []*stream
	for _, c := range h.clusters {
		all = append(all, c.streams...)
	}
	h.mu.Unlock()
	for _, s := range all {
		s.end(errClosing)
	}
}

// Agent is an agent that is connected.
type Agent struct {
	// ID tells the agents of a member apart: it is what the agent says, and means nothing else.
	ID string
	// Since is when its first stream came, NotAfter the end of the certificate that ends first.
	Since, NotAfter time.Time
	// Streams is how many it holds.
	Streams int
}

// Agents are the agents of a member that are connected.
func (h *Hub) Agents(name string) []Agent {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clusters[name]
	if c == nil {
		return nil
	}
	return c.agents()
}

// Connected are the agents of all members that have any.
func (h *Hub) Connected() map[string][]Agent {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string][]Agent{}
	for name, c := range h.clusters {
		if agents := c.agents(); len(agents) > 0 {
			all[name] = agents
		}
	}
	return all
}

func (c *cluster) agents() []Agent {
	var out []Agent
	for _, s := range c.streams {
		i := slices.IndexFunc(out, func(a Agent) bool { return a.ID == s.agent })
		if i < 0 {
			out = append(out, Agent{ID: s.agent, Since: s.since, NotAfter: s.notAfter})
			i = len(out) - 1
		}
		out[i].Streams++
		if s.notAfter.Before(out[i].NotAfter) {
			out[i].NotAfter = s.notAfter
		}
	}
	return out
}

// Subscribe has changed called with the name of a member whose agents have come or gone, until ctx ends.
func (h *Hub) Subscribe(ctx context.Context, changed func(member string)) {
	h.watchers.Subscribe(ctx, changed)
}

// Serve serves one stream of an agent until it or ctx ends; why ctx ended is then told. Who the agent is says the
// certificate, which the caller has verified.
func (h *Hub) Serve(ctx context.Context, wire agent.AgentService_ConnectServer, cert *x509.Certificate, remote net.Addr) error {
	who, err := identity.FromCertificate(cert)
	if err != nil {
		return h.refuse("certificate", remote, codes.Unauthenticated, "the certificate is not of an agent: %v", err)
	}
	s, err := h.enter(wire, who, cert.NotAfter, remote)
	if err != nil {
		return err
	}
	h.watchers.Tell(who.Cluster)
	h.opts.Log.Info("An agent's tunnel is open", "member", who.Cluster, "agent", s.agent, "lane", s.lane.String(), "from", remote.String(), "certificateEnds", s.notAfter.UTC().Format(time.RFC3339))
	err = s.run(ctx)
	h.leave(s)
	h.watchers.Tell(who.Cluster)
	h.opts.Log.Info("An agent's tunnel ended", "member", who.Cluster, "agent", s.agent, "lane", s.lane.String(), "reason", err.Error())
	return err
}

// refuse counts and tells a refusal, and is the answer to whoever is refused.
func (h *Hub) refuse(reason string, remote net.Addr, code codes.Code, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	h.Refused(reason, remote, message)
	return status.Error(code, message)
}

// Refused counts somebody who was refused, and tells it, but not each time: who is refused comes again.
func (h *Hub) Refused(reason string, remote net.Addr, message string) {
	h.metrics.refused.WithLabelValues(reason).Inc()
	h.told.once(reason, remote, message)
}

func (h *Hub) enter(wire agent.AgentService_ConnectServer, who identity.Identity, notAfter time.Time, remote net.Addr) (*stream, error) {
	h.mu.Lock()
	c := h.clusters[who.Cluster]
	var err error
	switch {
	case h.closed:
		err = status.Error(codes.Unavailable, errClosing.Error())
	case c == nil:
		h.mu.Unlock()
		return nil, h.refuse("unknown", remote, codes.PermissionDenied, "there is no member %s with a tunnel", who.Cluster)
	case c.enrolment == "" || c.enrolment != who.Enrolment:
		h.mu.Unlock()
		return nil, h.refuse("revoked", remote, codes.PermissionDenied, "the agents of enrolment %s of member %s are not admitted (any more): join the member anew", who.Enrolment, who.Cluster)
	case len(c.streams) >= maxStreams:
		h.mu.Unlock()
		return nil, h.refuse("many", remote, codes.ResourceExhausted, "the agents of member %s hold %d streams already", who.Cluster, maxStreams)
	case !c.mayCome(time.Now()):
		h.mu.Unlock()
		return nil, h.refuse("often", remote, codes.ResourceExhausted, "the agents of member %s come and go too often", who.Cluster)
	}
	if err != nil {
		h.mu.Unlock()
		return nil, err
	}
	id := agentID(wire.Context())
	md, _ := metadata.FromIncomingContext(wire.Context())
	s := newStream(h, wire, who, id, c.lacking(id), notAfter)
	s.window = window.Of(md)
	s.sending <- struct{}{} // nobody sends before the header
	c.streams = append(c.streams, s)
	h.measure(who.Cluster, c)
	h.mu.Unlock()
	// As if each lane were a server: agents hold one stream to each server that there is.
	err = wire.SendHeader(metadata.Pairs(header.ServerID, h.opts.Name+"/"+s.lane.String(), header.ServerCount, strconv.Itoa(int(lanes)*h.opts.Servers),
		window.Header, strconv.Itoa(window.Size)))
	<-s.sending
	if err != nil {
		h.leave(s)
		return nil, fmt.Errorf("answering an agent of %s: %w", who.Cluster, err)
	}
	return s, nil
}

// agentID is what an agent calls itself.
func agentID(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if ids := md.Get(header.AgentID); len(ids) > 0 {
		return ids[0][:min(len(ids[0]), 64)]
	}
	return ""
}

// lacking is the lane in which an agent has fewest streams. One that has lost a stream without our knowing comes again
// until it is told the one that it lacks; the streams that nobody is behind end by themselves.
func (c *cluster) lacking(agent string) Lane {
	var have [lanes]int
	for _, s := range c.streams {
		if s.agent == agent {
			have[s.lane]++
		}
	}
	switch {
	case have[Control] < have[Bulk]:
		return Control
	case have[Bulk] < have[Control]:
		return Bulk
	case have[Control] == 0:
		return Control
	}
	c.lane = (c.lane + 1) % lanes
	return c.lane
}

func (h *Hub) leave(s *stream) {
	h.mu.Lock()
	c := h.clusters[s.who.Cluster]
	if c != nil {
		c.streams = slices.DeleteFunc(c.streams, func(o *stream) bool { return o == s })
		h.measure(s.who.Cluster, c)
	}
	h.mu.Unlock()
	s.end(errGone)
}

// mayCome tells whether one more stream is no flood of them.
func (c *cluster) mayCome(now time.Time) bool {
	c.came = max(0, c.came-now.Sub(c.cameAt).Seconds()*comeRate)
	c.cameAt = now
	if c.came >= comeBurst {
		return false
	}
	c.came++
	return true
}

// measure shows a member's agents. It is called with the hub locked, so that what is shown is what is.
func (h *Hub) measure(name string, c *cluster) {
	var held [lanes]int
	for _, s := range c.streams {
		held[s.lane]++
	}
	for lane, n := range held {
		h.metrics.streams.WithLabelValues(name, Lane(lane).String()).Set(float64(n))
	}
	agents := c.agents()
	h.metrics.agents.WithLabelValues(name).Set(float64(len(agents)))
	if len(agents) == 0 {
		h.metrics.expiry.DeleteLabelValues(name)
		return
	}
	h.metrics.expiry.WithLabelValues(name).Set(float64(earliest(agents).Unix()))
}

func earliest(agents []Agent) time.Time {
	return slices.MinFunc(agents, func(a, b Agent) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
}

// Dial opens a connection to an address as seen from a member. Its errors are *NoAgentError, *RevokedError, *RefusedError
// (in the agent's words), or ctx's.
func (h *Hub) Dial(ctx context.Context, name, address string, lane Lane) (net.Conn, error) {
	began := time.Now()
	conn, err := h.dial(ctx, name, address, lane)
	h.metrics.dialled(err, time.Since(began))
	return conn, err
}

func (h *Hub) dial(ctx context.Context, name, address string, lane Lane) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.opts.DialTimeout, &SlowAgentError{Cluster: name, Address: address, After: h.opts.DialTimeout})
	defer cancel()
	var tried []*stream
	for {
		s, err := h.pick(name, lane, tried)
		if err != nil {
			return nil, err
		}
		conn, err := s.dial(ctx, address)
		if err == nil {
			return conn, nil
		}
		if s.ended() == nil || ctx.Err() != nil {
			return nil, err
		}
		tried = append(tried, s) // it ended before it answered: another agent may be there
	}
}

// pick chooses the stream for a dial: the agents in turn, of each the newest stream, rather in the wanted lane, and rather
// of an agent that is not about to leave.
func (h *Hub) pick(name string, lane Lane, tried []*stream) (*stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clusters[name]
	if c == nil {
		return nil, &NoAgentError{Cluster: name, Unknown: true}
	}
	if c.enrolment == "" {
		return nil, &RevokedError{Cluster: name}
	}
	var best []*stream
	bestRank := -1
	for _, s := range c.streams {
		if slices.Contains(tried, s) || s.ended() != nil {
			continue
		}
		rank := 0
		if !s.draining.Load() {
			rank += 2
		}
		if s.lane == lane {
			rank++
		}
		if rank < bestRank {
			continue
		}
		if rank > bestRank {
			best, bestRank = best[:0], rank
		}
		// Streams are in the order in which they came: a later one of the same agent takes the place of the former.
		if i := slices.IndexFunc(best, func(o *stream) bool { return o.agent == s.agent }); i >= 0 {
			best[i] = s
		} else {
			best = append(best, s)
		}
	}
	if len(best) == 0 {
		return nil, &NoAgentError{Cluster: name}
	}
	c.turn++
	return best[c.turn%len(best)], nil
}
