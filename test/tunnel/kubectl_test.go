package tunnel

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

// patience is how long anything may take that takes no time.
const patience = time.Minute

// transport is what kubectl carries streams in.
type transport string

const (
	websocket transport = "WebSocket"
	spdy      transport = "SPDY"
)

// verb is what the API server calls a stream that comes so.
func (t transport) verb() string {
	if t == websocket {
		return "get"
	}
	return "create"
}

// user is somebody with kubectl and a way to the member.
type user struct {
	*testing.T
	kubeconfig string
	streams    transport
}

// kubectl is a running kubectl.
type kubectl struct {
	*testing.T
	command       string
	stdin         io.WriteCloser
	out, problems printed
	kill          func() // by force
	done          chan struct{}
	exit          *os.ProcessState
}

// start starts kubectl with a standard input that stays open.
func (u user) start(args ...string) *kubectl {
	u.Helper()
	binary, err := harness.Binary(filepath.Join("tools", "kubectl"))
	if err != nil {
		u.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{"--namespace=default"}, args...)...)
	sockets := fmt.Sprint(u.streams == websocket)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+u.kubeconfig, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+sockets, "KUBECTL_PORT_FORWARD_WEBSOCKETS="+sockets)
	k := &kubectl{T: u.T, command: "kubectl " + strings.Join(args, " "), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &k.out, &k.problems
	if k.stdin, err = cmd.StdinPipe(); err != nil {
		u.Fatal(err)
	}
	if err := process.StartBound(cmd); err != nil {
		u.Fatal(err)
	}
	go func() {
		defer close(k.done)
		_ = cmd.Wait() // the state says it
		k.exit = cmd.ProcessState
	}()
	k.kill = func() {
		_ = cmd.Process.Kill()
		<-k.done
	}
	u.Cleanup(k.kill)
	return k
}

// run runs kubectl to its end, with all its input.
func (u user) run(stdin string, args ...string) *kubectl {
	u.Helper()
	k := u.start(args...)
	k.types(stdin)
	_ = k.stdin.Close()
	k.ends()
	return k
}

func (k *kubectl) types(text string) {
	k.Helper()
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(k.stdin, text)
		written <- err
	}()
	select {
	case err := <-written:
		if err != nil {
			k.Fatalf("%s takes no input: %v\n%s", k.command, err, k.problems.String())
		}
	case <-time.After(patience):
		k.Fatalf("%s takes no more input\n%s", k.command, k.problems.String())
	}
}

// shows waits until kubectl has printed something.
func (k *kubectl) shows(what string) {
	k.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(k.out.String(), what) {
			return
		}
		select {
		case <-k.done:
			if strings.Contains(k.out.String(), what) {
				return
			}
			k.Fatalf("%s ended without %q: %s\n%s%s", k.command, what, k.exit, k.out.String(), k.problems.String())
		default:
		}
	}
	k.Fatalf("%s does not show %q\n%s%s", k.command, what, k.out.String(), k.problems.String())
}

// ends waits for the end of kubectl, and returns its exit code.
func (k *kubectl) ends() int {
	k.Helper()
	select {
	case <-k.done:
		return k.exit.ExitCode()
	case <-time.After(patience):
		k.Fatalf("%s does not end\n%s", k.command, k.problems.String())
		return 0
	}
}

// succeeds wants kubectl to have ended well, having printed exactly this.
func (k *kubectl) succeeds(out string) {
	k.Helper()
	if code := k.ends(); code != 0 || k.out.String() != out {
		k.Errorf("%s ended with %d and printed %d bytes, %.200q in place of %d, %.200q\n%.2000s",
			k.command, code, len(k.out.String()), k.out.String(), len(out), out, k.problems.String())
	}
}

// printed is what a process has printed so far.
type printed struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buffer.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buffer.String()
}
