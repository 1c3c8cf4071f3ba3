package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Process is one life of something that was started.
type Process struct {
	name, log string
	command   *exec.Cmd
	// gone is closed when the process has ended, with exit set.
	gone chan struct{}
	exit error
}

// Start starts a command as a process that ends with this one at the latest. What it writes is added to the file log.
func Start(name, log string, command *exec.Cmd) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log of %s: %w", name, err)
	}
	defer func() { _ = out.Close() }() // the process has a descriptor of its own
	command.Stdout, command.Stderr = out, out
	if err := StartBound(command); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{name: name, log: log, command: command, gone: make(chan struct{})}
	go func() {
		p.exit = command.Wait()
		close(p.gone)
	}()
	return p, nil
}

// PID is the number of the process.
func (p *Process) PID() int { return p.command.Process.Pid }

// Gone is closed when the process has ended.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Exit is how the process ended, once it is gone.
func (p *Process) Exit() error { return p.exit }

// Pause stops the process where it stands (SIGSTOP) and returns when it stands.
func (p *Process) Pause() error {
	if err := p.command.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pausing %s: %w", p.name, err)
	}
	for deadline := time.Now().Add(5 * time.Second); p.runs(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("pausing %s: it runs on", p.name)
		}
	}
	return nil
}

// runs tells whether the kernel has not yet stopped the process, where the kernel tells such things.
func (p *Process) runs() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return false
	}
	// The name before the state may hold anything, also parentheses.
	_, state, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return ok && !bytes.HasPrefix(state, []byte("T"))
}

// Continue lets a paused process go on (SIGCONT).
func (p *Process) Continue() error {
	if err := p.command.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("continuing %s: %w", p.name, err)
	}
	return nil
}

// End sends a signal and waits for the process to be gone. One that does not go in time is killed, which is an error.
func (p *Process) End(signal os.Signal, timeout time.Duration) error {
	// A process that is gone cannot be signalled, and need not be.
	_ = p.command.Process.Signal(signal)
	select {
	case <-p.gone:
		return nil
	case <-time.After(timeout):
	}
	_ = p.command.Process.Kill()
	<-p.gone
	return fmt.Errorf("ending %s: it did not end within %s\n%s", p.name, timeout, p.LogTail())
}

// LogTail is the end of what the process wrote.
func (p *Process) LogTail() string { return LogTail(p.log) }

// LogTail is the end of a log.
func LogTail(path string) string {
	const lines = 50
	data, err := os.ReadFile(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	all := slices.Collect(strings.Lines(string(data)))
	return strings.Join(all[max(0, len(all)-lines):], "")
}
