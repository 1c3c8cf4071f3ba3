package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/cellfed/cellfed/test/harness/process"
)

// idle is when a stream ends that nothing happens on: no test waits for that.
const idle = time.Hour

func (k *Kubelet) handler() http.Handler {
	mux := http.NewServeMux()
	// SPDY comes by POST and WebSocket by GET.
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.serveExec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", k.serveAttach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.servePortForward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	return mux
}

// named is the pod that a request is about; without one it is answered.
func (k *Kubelet) named(w http.ResponseWriter, r *http.Request) (key string, pod *Pod) {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	pod = k.pod(namespace, name)
	if c := r.PathValue("container"); pod == nil || c != "" && c != container {
		http.Error(w, fmt.Sprintf("there is no container %q in a pod %s/%s", c, namespace, name), http.StatusNotFound)
		return "", nil
	}
	return namespace + "/" + name, pod
}

func (k *Kubelet) serveExec(w http.ResponseWriter, r *http.Request) {
	key, pod := k.named(w, r)
	if pod == nil {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, runtime{k}, key, "", container, r.URL.Query()["command"], options,
		idle, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) serveAttach(w http.ResponseWriter, r *http.Request) {
	key, pod := k.named(w, r)
	if pod == nil {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, runtime{k}, key, "", container, options,
		idle, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) servePortForward(w http.ResponseWriter, r *http.Request) {
	key, pod := k.named(w, r)
	if pod == nil {
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, runtime{k}, key, "", options, idle, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	_, pod := k.named(w, r)
	if pod == nil {
		return
	}
	follow, offset := false, 0
	for name, values := range r.URL.Query() {
		switch {
		case name == "follow":
			follow = values[0] == "true"
		case name == "stream" && values[0] == "All":
		case name == "tailLines":
			n, err := strconv.Atoi(values[0])
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			log, _ := pod.after(0)
			offset = tail(string(log), n)
		default:
			http.Error(w, fmt.Sprintf("this kubelet knows no %s=%s", name, values[0]), http.StatusBadRequest)
			return
		}
	}
	out := flusher{w, http.NewResponseController(w)}
	if !follow {
		log, _ := pod.after(offset)
		_, _ = out.Write(log) // a client that is gone misses nothing
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(k.life, cancel)()
	if out.Flush() == nil {
		_ = pod.follow(ctx, offset, out)
	}
}

// tail is where the last n lines begin.
func tail(log string, n int) int {
	at := len(strings.TrimSuffix(log, "\n"))
	for ; n > 0 && at >= 0; n-- {
		at = strings.LastIndexByte(log[:at], '\n')
	}
	if n > 0 || at < 0 {
		return 0
	}
	return min(at+1, len(log))
}

// flusher lets a reader see what was written.
type flusher struct {
	io.Writer
	*http.ResponseController
}

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	if err != nil {
		return n, err
	}
	return n, f.Flush()
}

// runtime is what the streams are connected with.
type runtime struct{ *Kubelet }

// ExecInContainer implements remotecommand.Executor.
func (r runtime) ExecInContainer(_ context.Context, _, _, _ string, command []string, in io.Reader, out, problems io.WriteCloser, tty bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	if tty {
		return errors.New("this kubelet has no terminals")
	}
	cmd := r.command(command)
	// Nil interfaces, not interfaces of nil: without a stream the process gets /dev/null.
	if out != nil {
		cmd.Stdout = out
	}
	if problems != nil {
		cmd.Stderr = problems
	}
	if in != nil {
		// Not cmd.Stdin, which Wait would read to its end, also when the process has long ended.
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(stdin, in) // the process may end before its input
			_ = stdin.Close()
		}()
	}
	if err := process.StartBound(cmd); err != nil {
		return err
	}
	r.executing.Add(1)
	defer r.executing.Add(-1)
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

// AttachContainer implements remotecommand.Attacher.
func (r runtime) AttachContainer(_ context.Context, name, _, _ string, in io.Reader, out, _ io.WriteCloser, tty bool, _ <-chan remotecommand.TerminalSize) error {
	if tty {
		return errors.New("this kubelet has no terminals")
	}
	namespace, name, _ := strings.Cut(name, "/")
	pod := r.pod(namespace, name)
	from := pod.length() // before the first byte goes in: what the process answers is all heard
	if in != nil {
		go func() {
			_, _ = io.Copy(pod.stdin, in)
			pod.EndInput()
		}()
	}
	if out == nil {
		out = discard{}
	}
	return pod.follow(r.life, from, out)
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }

// PortForward implements portforward.PortForwarder. All pods are in the network of this machine.
func (r runtime) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := (&net.Dialer{}).DialContext(r.life, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(r.life, func() { _ = conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite() // the client says no more, but may still hear
	}()
	if _, err := io.Copy(stream, conn); err != nil && r.life.Err() == nil {
		return err
	}
	return nil
}
