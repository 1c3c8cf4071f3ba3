package mysqlproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/harness/process"
)

// host is where proxies listen.
const host = "127.0.0.1"

// Options say what a proxy stands before.
type Options struct {
	// Network and Address are the server's; Network is tcp when empty.
	Network, Address string
	// Seed decides about rules with a probability.
	Seed uint64
	// Log takes a line per statement; nil none.
	Log io.Writer
	// OldEOF has results end as they did before MySQL 5.7.
	OldEOF bool
}

// Proxy is a running proxy.
type Proxy struct {
	options Options
	port    int
	counts  counts
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	server   string // where new connections go
	listener net.Listener
	sessions map[*session]struct{}
	rules    []*Active
	seeded   uint64 // how many rules have got their random numbers
	readOnly *Error
	version  string
	rewrites []rewrite
	// translate changes statements on their way to the server.
	translate []func(string) string
	// open is closed while traffic flows, and not while the proxy is a black hole.
	open chan struct{}
	log  sync.Mutex
}

// rewrite changes the rows of some statements.
type rewrite struct {
	match func(Statement) bool
	row   RowFunc
}

// RowFunc changes a row's values, in place and as text (nil is NULL), and tells whether the row is to be passed on.
type RowFunc func(s Statement, columns []string, values [][]byte) bool

// Run starts a proxy and ends it with the test.
func Run(t testing.TB, options Options) *Proxy {
	t.Helper()
	p, err := Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("ending the proxy: %v", err)
		}
	})
	return p
}

// Start starts a proxy on a free port. The caller must Close. It is for tools; tests use Run.
func Start(options Options) (*Proxy, error) {
	if options.Network == "" {
		options.Network = "tcp"
	}
	port, err := process.FreePort(host)
	if err != nil {
		return nil, err
	}
	open := make(chan struct{})
	close(open)
	// A proxy lives until Close, and has nobody's context.
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{options: options, port: port, ctx: ctx, cancel: cancel, server: options.Address, open: open,
		sessions: map[*session]struct{}{}, counts: counts{kinds: map[string]*atomic.Int64{}}}
	if err := p.listen(); err != nil {
		cancel()
		return nil, err
	}
	return p, nil
}

// Address is where clients connect.
func (p *Proxy) Address() string { return net.JoinHostPort(host, strconv.Itoa(p.port)) }

// Port is the same without the host.
func (p *Proxy) Port() int { return p.port }

func (p *Proxy) listen() error {
	listener, err := net.Listen("tcp", p.Address())
	if err != nil {
		return fmt.Errorf("starting the proxy: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = listener
	p.running.Go(func() { p.accept(listener) })
	return nil
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Too many open files, most likely: they become fewer.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		p.serve(conn)
	}
}

func (p *Proxy) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(p.ctx)
	s := &session{proxy: p, id: p.counts.connections.Add(1), ctx: ctx, cancel: cancel, client: conn,
		toClient: newWriter(conn), prepared: map[uint32]string{}, ended: make(chan struct{})}
	p.mu.Lock()
	p.sessions[s] = struct{}{}
	p.mu.Unlock()
	p.running.Go(func() {
		s.run()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.sessions, s)
		close(s.ended)
	})
}

// Close ends the proxy and all its connections.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.stopListening()
	p.running.Wait()
	return err
}

func (p *Proxy) stopListening() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return nil
	}
	err := p.listener.Close()
	p.listener = nil
	return err
}

// Add puts a rule in force. Of several that match, the one added first happens.
func (p *Proxy) Add(rule Rule) *Active {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &Active{rule: rule, proxy: p, first: make(chan struct{}), random: rand.New(rand.NewPCG(p.options.Seed, p.seeded))}
	p.seeded++
	p.rules = append(p.rules, a)
	return a
}

func (p *Proxy) remove(a *Active) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = slices.DeleteFunc(p.rules, func(r *Active) bool { return r == a })
}

// choose is the fault that a statement meets, and the rule that has it.
func (p *Proxy) choose(s Statement) (Fault, *Active) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readOnly != nil && s.Phase == Executing && s.Writes() {
		return Fail(*p.readOnly), nil
	}
	for _, a := range p.rules {
		if a.choose(s) {
			return a.rule.Fault, a
		}
	}
	return Fault{}, nil
}

// ReadOnly has every statement that writes answered with an error; nil ends it.
func (p *Proxy) ReadOnly(e *Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readOnly = e
}

// RefuseConnections says whether nobody listens. Connections that are there stay.
func (p *Proxy) RefuseConnections(refuse bool) error {
	if refuse {
		return p.stopListening()
	}
	p.mu.Lock()
	listening := p.listener != nil
	p.mu.Unlock()
	if listening {
		return nil
	}
	return p.listen()
}

// Blackhole says whether nothing passes: connections are accepted, and neither they nor those that are there get
// answers. Afterwards everything goes on as if the network had been slow.
func (p *Proxy) Blackhole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		if on {
			p.open = make(chan struct{})
		}
	default:
		if !on {
			close(p.open)
		}
	}
}

// pass waits while the proxy is a black hole.
func (p *Proxy) pass(ctx context.Context) error {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CutAll cuts all connections, whatever they are doing, and returns when they are cut. New ones are served.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	cut := slices.Collect(maps.Keys(p.sessions))
	p.mu.Unlock()
	for _, s := range cut {
		s.cancel()
	}
	for _, s := range cut {
		<-s.ended
	}
}

// Redirect has new connections go to another server, as after a fail-over.
func (p *Proxy) Redirect(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = address
}

// Rewrite changes the rows that some statements get; nil matches all.
func (p *Proxy) Rewrite(match func(Statement) bool, row RowFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rewrites = append(p.rewrites, rewrite{match, row})
}

// Translate changes statements on their way to the server. Rules and rewrites see what the client wrote.
func (p *Proxy) Translate(change func(text string) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.translate = append(p.translate, change)
}

// translated is a statement as the server sees it.
func (p *Proxy) translated(text string) string {
	p.mu.Lock()
	changes := slices.Clone(p.translate)
	p.mu.Unlock()
	for _, change := range changes {
		text = change(text)
	}
	return text
}

// rewriting is what happens to the rows of a statement, nil for nothing.
func (p *Proxy) rewriting(s Statement) []RowFunc {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []RowFunc
	for _, r := range p.rewrites {
		if r.match == nil || r.match(s) {
			out = append(out, r.row)
		}
	}
	return out
}

// counts are what passed.
type counts struct {
	connections, statements, prepares atomic.Int64

	mu    sync.Mutex
	kinds map[string]*atomic.Int64
}

func (c *counts) count(s Statement) {
	switch s.Phase {
	case Preparing:
		c.prepares.Add(1)
	case Executing:
		c.statements.Add(1)
		c.of(s.Kind()).Add(1)
	}
}

func (c *counts) of(kind string) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.kinds[kind]
	if n == nil {
		n = &atomic.Int64{}
		c.kinds[kind] = n
	}
	return n
}

// Statements is how many statements clients asked to execute, also those that met a fault.
func (p *Proxy) Statements() int { return int(p.counts.statements.Load()) }

// Prepares is how many statements clients asked to prepare.
func (p *Proxy) Prepares() int { return int(p.counts.prepares.Load()) }

// Connections is how many connections were accepted.
func (p *Proxy) Connections() int { return int(p.counts.connections.Load()) }

// Open is how many connections there are.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions)
}

// Count is how many statements of a kind (their first word in capitals) clients asked to execute.
func (p *Proxy) Count(kind string) int { return int(p.counts.of(kind).Load()) }

// Counts is Count of every kind there was.
func (p *Proxy) Counts() map[string]int {
	p.counts.mu.Lock()
	defer p.counts.mu.Unlock()
	out := map[string]int{}
	for kind, n := range maps.All(p.counts.kinds) {
		out[kind] = int(n.Load())
	}
	return out
}
