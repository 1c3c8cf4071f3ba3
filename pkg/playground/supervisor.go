package playground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says what a playground is made of.
type Config struct {
	// Dir is where all of it lives.
	Dir string
	// Names are the members' names.
	Names []string
	// Nodes is the number of simulated nodes in each member.
	Nodes int
	// Audit asks every member to log the requests that reach it.
	Audit bool
	// Firewalled are the names of the members that nobody outside can connect to.
	Firewalled []string
	// Firewall is what these stand behind; empty = BestFirewall.
	Firewall Firewall
	// WaysOut are addresses on the machine's loopback that they can connect to, at the same address inside.
	WaysOut []string
	// StartTimeout bounds the start of a member.
	StartTimeout time.Duration
	// Executable is the binary that becomes a member under MemberCommand.
	Executable string
	// Progress is told what happens, in lines for people.
	Progress io.Writer
	// OnReady is called once, when every member is ready.
	OnReady func(*Status) error
}

// Supervisor runs the members of one playground.
type Supervisor struct {
	layout   Layout
	timeout  time.Duration
	members  []*member
	reporter *reporter
	// down is closed when somebody asks for the end.
	down     chan struct{}
	downOnce sync.Once
}

// Up runs a playground until ctx ends or somebody asks it to go down, and returns when every process it
// started is gone. Directories of members that were there before are used again, with their data and ports.
func Up(ctx context.Context, cfg Config) (err error) {
	layout, err := NewLayout(cfg.Dir)
	if err != nil {
		return err
	}
	if err := checkNames(cfg.Names); err != nil {
		return err
	}
	if err := checkFirewall(cfg); err != nil {
		return err
	}
	if cfg.Nodes < 0 {
		return fmt.Errorf("%d nodes: a member cannot have less than none", cfg.Nodes)
	}
	if err := os.MkdirAll(layout.Dir, 0o755); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	unlock, err := layout.takeLock()
	if err != nil {
		return err
	}
	defer unlock()

	s := &Supervisor{layout: layout, timeout: cfg.StartTimeout, reporter: newReporter(cfg.Progress), down: make(chan struct{})}
	defer s.reporter.close()
	spawner, err := newSpawner(func() error { return nil })
	if err != nil {
		return err
	}
	defer spawner.close()
	defer s.closeFirewalls()
	if err := s.addMembers(cfg, spawner); err != nil {
		return err
	}
	closeControl, err := s.serveControl()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeControl()) }()
	defer s.stopAll()
	return s.run(ctx, cfg.OnReady)
}

func (s *Supervisor) addMembers(cfg Config, spawner *spawner) error {
	for _, name := range cfg.Names {
		if err := os.MkdirAll(s.layout.Member(name), 0o755); err != nil {
			return fmt.Errorf("making directory of %s: %w", name, err)
		}
		port, err := s.layout.ensurePort(name)
		if err != nil {
			return err
		}
		m := &member{
			args:       MemberArgs{Name: name, Dir: s.layout.Member(name), Port: port, Nodes: cfg.Nodes, Audit: cfg.Audit},
			layout:     s.layout,
			executable: cfg.Executable,
			spawner:    spawner,
			reporter:   s.reporter,
			state:      Stopped,
		}
		s.members = append(s.members, m)
		if slices.Contains(cfg.Firewalled, name) {
			if err := s.putBehindFirewall(m, cfg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Supervisor) putBehindFirewall(m *member, cfg Config) error {
	f, why, err := newFirewall(cfg, m.args.Port)
	if err != nil {
		return fmt.Errorf("putting %s behind a firewall: %w", m.args.Name, err)
	}
	m.firewall, m.args.Private = f, f.private
	if f.spawner != nil {
		m.spawner = f.spawner
	}
	switch {
	case why != nil:
		s.reporter.line("member %s is behind a doorkeeper: %v", m.args.Name, why)
	case f.kind == Doorkeeper:
		s.reporter.line("member %s is behind a doorkeeper", m.args.Name)
	default:
		s.reporter.line("member %s is in a network namespace of its own", m.args.Name)
	}
	return nil
}

func (s *Supervisor) closeFirewalls() {
	for _, m := range s.members {
		if m.firewall != nil {
			m.firewall.close()
		}
	}
}

// run starts all members and waits for the end.
func (s *Supervisor) run(ctx context.Context, onReady func(*Status) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.down:
			cancel()
		case <-ctx.Done():
		}
	}()
	begin := time.Now()
	starts, startCtx := errgroup.WithContext(ctx)
	for _, m := range s.members {
		starts.Go(func() error { return s.start(startCtx, m) })
	}
	if err := starts.Wait(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("ended before all members were ready")
		}
		return err
	}
	s.reporter.line("all %d members are ready after %.1fs", len(s.members), time.Since(begin).Seconds())
	if onReady != nil {
		if err := onReady(s.Status()); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func (s *Supervisor) start(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return m.start(ctx)
}

func (s *Supervisor) stopAll() {
	var all sync.WaitGroup
	for _, m := range s.members {
		all.Go(m.stop)
	}
	all.Wait()
}

// Status tells how the members are.
func (s *Supervisor) Status() *Status {
	status := &Status{Dir: s.layout.Dir, PID: os.Getpid()}
	for _, m := range s.members {
		status.Members = append(status.Members, m.status())
	}
	return status
}

// askDown makes Up end.
func (s *Supervisor) askDown() { s.downOnce.Do(func() { close(s.down) }) }

// do carries out an action on a member.
func (s *Supervisor) do(ctx context.Context, action Action, name string) error {
	for _, m := range s.members {
		if m.args.Name != name {
			continue
		}
		switch action {
		case ActionStart:
			return s.start(ctx, m)
		case ActionStop:
			m.stop()
			return nil
		case ActionPause:
			return m.pause()
		case ActionResume:
			return m.resume()
		default:
			return fmt.Errorf("unknown action %q", action)
		}
	}
	return fmt.Errorf("no member is named %q", name)
}

// admit lets a process in to a member behind a firewall, and says which network it has to enter itself, if any.
func (s *Supervisor) admit(name string, pid int) (network string, err error) {
	for _, m := range s.members {
		switch {
		case m.args.Name != name:
		case m.firewall == nil:
			return "", fmt.Errorf("member %s is behind no firewall: run the command as it is", name)
		default:
			return m.firewall.admit(pid), nil
		}
	}
	return "", fmt.Errorf("no member is named %q", name)
}

// takeLock makes this process the only one on the directory. The system gives the lock back when the process
// dies, however it does, so nothing stale is ever left behind.
func (l Layout) takeLock() (unlock func(), err error) {
	file, err := os.OpenFile(l.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("a playground runs on %s already", l.Dir)
		}
		return nil, fmt.Errorf("locking directory: %w", err)
	}
	return func() { _ = file.Close() }, nil
}
