package playground

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// Notice is one line that a member's process tells its supervisor, as JSON on file descriptor NoticeFD.
type Notice struct {
	// Ready says that the member can be used.
	Ready bool `json:"ready,omitempty"`
	// Failed says why the process is about to end.
	Failed string `json:"failed,omitempty"`
}

// NoticeFD is the file descriptor on which a member's process finds the pipe for its notices.
const NoticeFD = 3

// MemberArgs are what a member's process is told on its command line, after the word MemberCommand.
type MemberArgs struct {
	Name  string
	Dir   string
	Port  int
	Nodes int
	Audit bool
	// Private is where it listens when something that listens at Port stands before it; 0 = at Port.
	Private int
}

// MemberCommand is the subcommand, not meant for people, under which the binary becomes one member.
const MemberCommand = "member"

func (a MemberArgs) strings() []string {
	return []string{
		MemberCommand,
		"--name=" + a.Name,
		"--dir=" + a.Dir,
		"--port=" + strconv.Itoa(a.Port),
		"--nodes=" + strconv.Itoa(a.Nodes),
		"--audit=" + strconv.FormatBool(a.Audit),
		"--private-port=" + strconv.Itoa(a.Private),
	}
}

// process is one running member.
type process struct {
	cmd *exec.Cmd
	// stdin is never written to. It closes when the supervisor dies, which ends a member also where the
	// system knows no parent-death signal.
	stdin io.WriteCloser
	// notices ends when the process does.
	notices <-chan Notice
	// exited is closed after the process is gone; then exit says how.
	exited chan struct{}
	exit   error
	// noted is closed after the member has taken note of the end.
	noted chan struct{}
}

// spawner starts processes from one thread that lives as long as it: Linux sends the parent-death signal when
// the *thread* that forked ends, and Go ends threads when it likes.
type spawner struct {
	calls chan func()
}

// newSpawner starts the thread, and lets it prepare itself: what it changes in itself, its processes inherit.
func newSpawner(prepare func() error) (*spawner, error) {
	s := &spawner{calls: make(chan func())}
	prepared := make(chan error)
	go func() {
		// It is never unlocked: a thread that prepared itself is good for nothing else, and ends with its goroutine.
		runtime.LockOSThread()
		err := prepare()
		prepared <- err
		if err != nil {
			return
		}
		for call := range s.calls {
			call()
		}
	}()
	if err := <-prepared; err != nil {
		return nil, err
	}
	return s, nil
}

func (s *spawner) close() { close(s.calls) }

// do calls f on the thread.
func (s *spawner) do(f func()) {
	done := make(chan struct{})
	s.calls <- func() { f(); close(done) }
	<-done
}

func (s *spawner) start(cmd *exec.Cmd) (err error) {
	s.do(func() { err = cmd.Start() })
	return err
}

// spawn starts a member's process, its output appended to the file log.
func (s *spawner) spawn(executable string, args MemberArgs, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log of %s: %w", args.Name, err)
	}
	defer func() { _ = out.Close() }() // The process has its own.
	noticesRead, noticesWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making pipe: %w", err)
	}
	defer func() { _ = noticesWrite.Close() }()

	cmd := exec.Command(executable, args.strings()...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{noticesWrite} // The first of them is NoticeFD.
	cmd.SysProcAttr = memberProcess()
	cmd.Env = memberEnvironment(os.Environ())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		_ = noticesRead.Close()
		return nil, fmt.Errorf("making pipe: %w", err)
	}
	if err := s.start(cmd); err != nil {
		_ = noticesRead.Close()
		return nil, fmt.Errorf("starting process of %s: %w", args.Name, err)
	}
	p := &process{cmd: cmd, stdin: stdin, notices: readNotices(noticesRead), exited: make(chan struct{}), noted: make(chan struct{})}
	go func() {
		p.exit = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// memberEnvironment makes the collector of a member work harder, unless the user has a wish of his own: its
// memory is what limits how many fit on a machine, and it idles most of the time.
func memberEnvironment(env []string) []string {
	for _, entry := range env {
		if strings.HasPrefix(entry, "GOGC=") {
			return env
		}
	}
	return append(env, "GOGC=50")
}

func readNotices(r *os.File) <-chan Notice {
	notices := make(chan Notice, 8)
	go func() {
		defer close(notices)
		defer func() { _ = r.Close() }()
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			var notice Notice
			if json.Unmarshal(lines.Bytes(), &notice) != nil {
				continue // Not ours: something in the process wrote to the wrong descriptor.
			}
			notices <- notice
		}
	}()
	return notices
}

// signal sends sig to the process if it is still there.
func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// Notify writes a notice; it is how a member's process talks to its supervisor.
func Notify(w io.Writer, notice Notice) error {
	data, err := json.Marshal(notice)
	if err != nil {
		return fmt.Errorf("encoding notice: %w", err)
	}
	if _, err := w.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("writing notice: %w", err)
	}
	return nil
}
