package kubelet

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/cellfed/cellfed/test/harness/process"
)

// Pod is a running process.
type Pod struct {
	stdin io.WriteCloser
	// ended is closed when the process has ended and all it wrote is in the log.
	ended chan struct{}

	mu  sync.Mutex
	log []byte
	// grown is closed and replaced when there is more in the log.
	grown chan struct{}
}

// start starts the process of a pod.
func (k *Kubelet) start(command []string) (*Pod, error) {
	p := &Pod{ended: make(chan struct{}), grown: make(chan struct{})}
	cmd := k.command(command)
	cmd.Stdout, cmd.Stderr = printer{p}, printer{p}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting pod: %w", err)
	}
	p.stdin = stdin
	if err := process.StartBound(cmd); err != nil {
		return nil, fmt.Errorf("starting pod: %w", err)
	}
	k.tasks.Go(func() {
		_ = cmd.Wait() // how it ends is of no interest to anybody
		close(p.ended)
	})
	return p, nil
}

// command prepares a process that ends with the kubelet, together with those that it starts.
func (k *Kubelet) command(args []string) *exec.Cmd {
	cmd := exec.CommandContext(k.life, args[0], args[1:]...)
	// StartBound makes it the leader of a group.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// Say gives text to the process as its input, as nobody who is attached does.
func (p *Pod) Say(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		t.Fatal(err)
	}
}

// EndInput ends the process's input.
func (p *Pod) EndInput() { _ = p.stdin.Close() } // it may have ended

// printer takes what the process prints.
type printer struct{ *Pod }

// Write implements io.Writer.
func (p printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, b...)
	close(p.grown)
	p.grown = make(chan struct{})
	return len(b), nil
}

// after is the log from an offset on, and what is closed when there is more.
func (p *Pod) after(offset int) (log []byte, grown <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log[offset:len(p.log):len(p.log)], p.grown
}

// length is the offset of what will be printed next.
func (p *Pod) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.log)
}

// follow writes the log from an offset on, and all that comes until the process or ctx ends.
func (p *Pod) follow(ctx context.Context, offset int, out io.Writer) error {
	for {
		ended := false
		select {
		case <-p.ended:
			ended = true // nothing comes any more, so what is there now is all
		default:
		}
		log, grown := p.after(offset)
		if len(log) > 0 {
			if _, err := out.Write(log); err != nil {
				return err
			}
			offset += len(log)
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-grown:
		case <-p.ended:
		case <-ctx.Done():
			return nil
		}
	}
}
