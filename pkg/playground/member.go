package playground

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a member may take to end by itself before it is killed.
const stopTimeout = 8 * time.Second

// member supervises one member through the processes that are it, one after the other.
type member struct {
	args       MemberArgs
	layout     Layout
	executable string
	spawner    *spawner
	reporter   *reporter
	// firewall stands before it; nil = none does.
	firewall *firewall

	// operation is held by start, stop, pause and resume, which exclude each other.
	operation sync.Mutex

	// mu guards what follows.
	mu      sync.Mutex
	state   State
	process *process
	ready   time.Duration
	message string
}

// start brings the member up and returns when it is ready. A member that is ready already is left alone.
func (m *member) start(ctx context.Context) error {
	m.operation.Lock()
	defer m.operation.Unlock()
	switch m.current() {
	case Ready:
		return nil
	case Paused:
		return fmt.Errorf("member %s is paused: resume it", m.args.Name)
	case Starting, Stopping: // Only a caller that gave up waiting leaves these behind.
		m.end()
	case Stopped, Failed:
	}
	begin := time.Now()
	p, err := m.spawner.spawn(m.executable, m.args, m.layout.Log(m.args.Name))
	if err != nil {
		m.set(Failed, err.Error())
		return err
	}
	if m.firewall != nil {
		m.firewall.admit(p.cmd.Process.Pid)
	}
	m.mu.Lock()
	m.state, m.process, m.message = Starting, p, ""
	m.mu.Unlock()
	m.reporter.starting(m.args.Name)

	ready := make(chan struct{})
	go m.watch(p, begin, ready)
	select {
	case <-ready:
		return nil
	case <-p.noted:
		return fmt.Errorf("member %s did not start: %s (its log: %s)", m.args.Name, m.status().Message, m.layout.Log(m.args.Name))
	case <-ctx.Done():
		m.end()
		return fmt.Errorf("member %s was not ready after %s: %w (its log: %s)",
			m.args.Name, time.Since(begin).Round(time.Second), ctx.Err(), m.layout.Log(m.args.Name))
	}
}

// watch follows one process from its start to its end.
func (m *member) watch(p *process, begin time.Time, ready chan<- struct{}) {
	defer close(p.noted)
	said := ""
	for notice := range p.notices {
		if notice.Failed != "" {
			said = notice.Failed
		}
		if notice.Ready {
			m.mu.Lock()
			if m.state == Starting {
				m.state, m.ready = Ready, time.Since(begin)
			}
			m.mu.Unlock()
			m.reporter.ready(m.args.Name, time.Since(begin))
			close(ready)
		}
	}
	<-p.exited
	m.mu.Lock()
	m.process = nil
	expected, told := m.state == Stopping, m.state == Starting
	if expected {
		m.state, m.message = Stopped, ""
	} else {
		m.state, m.message = Failed, exitMessage(p.exit, said)
	}
	message := m.message
	m.mu.Unlock()
	if told {
		m.reporter.forget(m.args.Name) // Who started it tells why it failed.
		return
	}
	m.reporter.ended(m.args.Name, expected, message)
}

// exitMessage says in one line how a process ended.
func exitMessage(exit error, said string) string {
	switch {
	case said != "":
		return said
	case exit != nil:
		return "its process ended: " + exit.Error()
	default:
		return "its process ended"
	}
}

// stop ends the member's process; its data and its port stay.
func (m *member) stop() {
	m.operation.Lock()
	defer m.operation.Unlock()
	m.end()
}

// end ends the process, with operation held.
func (m *member) end() {
	m.mu.Lock()
	p, wasPaused := m.process, m.state == Paused
	if p == nil {
		m.state, m.message = Stopped, ""
		m.mu.Unlock()
		return
	}
	m.state = Stopping
	m.mu.Unlock()
	// Errors of signals mean that the process is gone or beyond reach; what counts is that it ends.
	_ = p.signal(syscall.SIGTERM)
	if wasPaused {
		_ = p.signal(syscall.SIGCONT)
	}
	select {
	case <-p.noted:
	case <-time.After(stopTimeout):
		_ = p.signal(os.Kill)
		<-p.noted
	}
}

// pause freezes the member: its port accepts connections and nothing answers.
func (m *member) pause() error {
	return m.freeze(syscall.SIGSTOP, Ready, Paused)
}

// resume lets a paused member go on.
func (m *member) resume() error {
	return m.freeze(syscall.SIGCONT, Paused, Ready)
}

// freeze sends sig to a member in state from, which makes it one in state to. One that is there already is
// left alone.
func (m *member) freeze(sig syscall.Signal, from, to State) error {
	m.operation.Lock()
	defer m.operation.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == to {
		return nil
	}
	if m.state != from || m.process == nil {
		return fmt.Errorf("member %s is %s, not %s", m.args.Name, m.state, from)
	}
	if err := m.process.signal(sig); err != nil {
		return err
	}
	m.state = to
	return nil
}

func (m *member) current() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

func (m *member) set(state State, message string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.message = state, message
}

func (m *member) status() MemberStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := MemberStatus{
		Name:         m.args.Name,
		State:        m.state,
		Server:       "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(m.args.Port)),
		Kubeconfig:   m.layout.Kubeconfig(m.args.Name),
		ReadySeconds: m.ready.Round(time.Millisecond).Seconds(),
		Message:      m.message,
	}
	if m.firewall != nil {
		s.Firewall = m.firewall.kind
	}
	if m.args.Audit {
		s.AuditLog = m.layout.AuditLog(m.args.Name)
	}
	if m.process != nil {
		s.PID = m.process.cmd.Process.Pid
		s.ResidentMiB = residentMiB(s.PID)
	}
	return s
}
