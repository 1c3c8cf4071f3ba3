package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/test/harness/process"
)

// Times that only a machine in trouble exceeds.
const (
	membersStartTimeout = 3 * time.Minute
	membersStopTimeout  = 30 * time.Second
)

// MembersOption changes what Members and StartMembers start.
type MembersOption func(*membersConfig)

type membersConfig struct {
	dir, output string
	names       []string
	nodes       int
	audit       bool
	firewall    playground.Firewall
	firewalled  []string
	waysOut     []string
}

// MembersNamed gives the members these names instead of member-1, member-2, ...
func MembersNamed(names ...string) MembersOption {
	return func(c *membersConfig) { c.names = names }
}

// MembersWithNodes gives each member simulated nodes and a scheduler, so that pods become ready.
func MembersWithNodes(nodes int) MembersOption {
	return func(c *membersConfig) { c.nodes = nodes }
}

// MembersWithAudit makes each member log the requests that reach it: see Member.AuditLog.
func MembersWithAudit() MembersOption {
	return func(c *membersConfig) { c.audit = true }
}

// MembersFirewalled puts the members of these names behind a firewall: nobody connects to them but what runs by Member.Inside
// or Member.Kubectl, and what runs there connects to nothing else but the addresses waysOut. See Member.Firewall.
func MembersFirewalled(firewall playground.Firewall, names []string, waysOut ...string) MembersOption {
	return func(c *membersConfig) { c.firewall, c.firewalled, c.waysOut = firewall, names, waysOut }
}

// MembersIn uses a directory of the caller's, which Close then leaves alone.
func MembersIn(dir string) MembersOption {
	return func(c *membersConfig) { c.dir = dir }
}

// MemberSet is a running playground.
type MemberSet struct {
	// Dir is the playground's directory.
	Dir string
	// Members are in the order of their names as given.
	Members []*Member

	command *exec.Cmd
	// gone is closed when the playground's process has ended, with exit set.
	gone     chan struct{}
	exit     error
	progress *syncBuffer
	ownDir   bool
	closing  sync.Once
	closed   error
}

// Member is one real member of a MemberSet.
type Member struct {
	Name string
	// Kubeconfig is the path of the administrator's kubeconfig; it stays valid when the member starts again.
	Kubeconfig string
	// Config is the same for client-go, without a limit of its own. Copy it before changing it.
	Config *rest.Config
	// AuditLog is where requests are logged, empty without MembersWithAudit.
	AuditLog string
	// Firewall is what it stands behind; empty when it can be reached.
	Firewall playground.Firewall

	dir string
}

// Members starts n real members and ends them with the test.
func Members(t testing.TB, n int, options ...MembersOption) *MemberSet {
	t.Helper()
	set, err := StartMembers(t.Context(), n, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Errorf("ending members: %v", err)
		}
	})
	return set
}

// StartMembers starts n real members and returns when they are ready. ctx bounds the start only; the caller
// must Close. It is for TestMain and for tools; tests use Members.
func StartMembers(ctx context.Context, n int, options ...MembersOption) (_ *MemberSet, err error) {
	config := membersConfig{}
	for _, option := range options {
		option(&config)
	}
	if len(config.names) == 0 {
		config.names = playground.MemberNames(n)
	}
	if len(config.names) != n {
		return nil, fmt.Errorf("%d members asked for, %d names given", n, len(config.names))
	}
	binary, err := Binary("cellfed-playground")
	if err != nil {
		return nil, err
	}
	set := &MemberSet{Dir: config.dir, gone: make(chan struct{}), progress: &syncBuffer{}}
	if set.Dir == "" {
		if set.Dir, err = os.MkdirTemp("", "cellfed-members-"); err != nil {
			return nil, fmt.Errorf("making directory for members: %w", err)
		}
		set.ownDir = true
	}
	if err := set.launch(binary, config); err != nil {
		return nil, errors.Join(err, set.removeDir())
	}
	if err := set.await(ctx); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return set, nil
}

func (s *MemberSet) launch(binary string, config membersConfig) error {
	args := []string{"up", "--dir=" + s.Dir, "--nodes=" + strconv.Itoa(config.nodes), "--audit=" + strconv.FormatBool(config.audit)}
	for _, name := range config.names {
		args = append(args, "--names="+name)
	}
	for _, name := range config.firewalled {
		args = append(args, "--firewalled="+name, "--firewall="+string(config.firewall))
	}
	for _, address := range config.waysOut {
		args = append(args, "--way-out="+address)
	}
	s.command = exec.Command(binary, args...)
	s.command.Stdout, s.command.Stderr = io.Discard, s.progress
	if err := process.StartBound(s.command); err != nil {
		return fmt.Errorf("starting members: %w", err)
	}
	go func() {
		s.exit = s.command.Wait()
		close(s.gone)
	}()
	return nil
}

// await waits for all members to be ready.
func (s *MemberSet) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, membersStartTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := s.status(ctx)
		if err == nil && status.AllReady() && status.PID == s.command.Process.Pid {
			return s.describe(status)
		}
		select {
		case <-s.gone:
			return fmt.Errorf("starting members: %w\n%s", s.exit, s.progress)
		case <-ctx.Done():
			return fmt.Errorf("waiting for members: %w\n%s", ctx.Err(), s.progress)
		case <-tick.C:
		}
	}
}

func (s *MemberSet) describe(status *playground.Status) error {
	for _, m := range status.Members {
		config, err := clientcmd.BuildConfigFromFlags("", m.Kubeconfig)
		if err != nil {
			return fmt.Errorf("reading kubeconfig of member %s: %w", m.Name, err)
		}
		config.QPS = -1
		s.Members = append(s.Members, &Member{
			Name: m.Name, Kubeconfig: m.Kubeconfig, Config: config, AuditLog: m.AuditLog, Firewall: m.Firewall, dir: s.Dir,
		})
	}
	return nil
}

func (s *MemberSet) status(ctx context.Context) (*playground.Status, error) {
	client, err := playground.NewClient(s.Dir)
	if err != nil {
		return nil, err
	}
	return client.Status(ctx)
}

// Status asks the playground how its members are.
func (s *MemberSet) Status(ctx context.Context) (*playground.Status, error) { return s.status(ctx) }

// Named finds a member by its name; nil if there is none.
func (s *MemberSet) Named(name string) *Member {
	for _, m := range s.Members {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// PID is the playground's process, for tests that kill it.
func (s *MemberSet) PID() int { return s.command.Process.Pid }

// Close ends all members and removes what they left, also when some of them died before. It may be called
// more than once.
func (s *MemberSet) Close() error {
	s.closing.Do(func() { s.closed = s.end() })
	return s.closed
}

func (s *MemberSet) end() error {
	// A process that is gone cannot be signalled, and need not be.
	_ = s.command.Process.Signal(syscall.SIGTERM)
	var err error
	select {
	case <-s.gone:
	case <-time.After(membersStopTimeout):
		err = fmt.Errorf("members did not end within %s\n%s", membersStopTimeout, s.progress)
		_ = s.command.Process.Kill()
		<-s.gone
	}
	return errors.Join(err, s.removeDir())
}

func (s *MemberSet) removeDir() error {
	if !s.ownDir {
		return nil
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		return fmt.Errorf("removing directory of members: %w", err)
	}
	return nil
}

// Stop ends the member's process: connections are refused until Start. Its data stays.
func (m *Member) Stop(t testing.TB) { m.must(t, playground.ActionStop) }

// Start brings a stopped member back on the same port and waits until it is ready.
func (m *Member) Start(t testing.TB) { m.must(t, playground.ActionStart) }

// Pause freezes the member: connections are accepted and nothing is answered.
func (m *Member) Pause(t testing.TB) { m.must(t, playground.ActionPause) }

// Resume lets a paused member go on.
func (m *Member) Resume(t testing.TB) { m.must(t, playground.ActionResume) }

// Do carries out an action on the member and returns when it is done.
func (m *Member) Do(ctx context.Context, action playground.Action) error {
	client, err := playground.NewClient(m.dir)
	if err != nil {
		return err
	}
	return client.Do(ctx, action, m.Name)
}

// Inside is a command line that runs another behind the member's firewall; the same one if there is none. It is one process,
// which becomes the command.
func (m *Member) Inside(command ...string) ([]string, error) {
	if m.Firewall == "" {
		return command, nil
	}
	binary, err := Binary("cellfed-playground")
	if err != nil {
		return nil, err
	}
	return append([]string{binary, "exec", "--dir=" + m.dir, m.Name, "--"}, command...), nil
}

func (m *Member) must(t testing.TB, action playground.Action) {
	t.Helper()
	// Not the test's own end: a Cleanup may want its member back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), membersStartTimeout)
	defer cancel()
	if err := m.Do(ctx, action); err != nil {
		t.Fatal(err)
	}
}

// Binary finds a built binary: in CELLFED_BIN_DIR, else in bin/ of the repository.
func Binary(name string) (string, error) { return process.Binary(name) }

// syncBuffer is a buffer that is read while a process still writes to it.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
