package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cellfed/cellfed/test/harness/process"
)

// Times that only a machine in trouble exceeds.
const (
	planeStartTimeout = time.Minute
	planeStopTimeout  = 30 * time.Second
	planePoll         = 20 * time.Millisecond
)

// PlaneOptions say how to start a plane. The zero value is a plane in a directory of its own.
type PlaneOptions struct {
	// DataDir is the plane's data directory, which Close leaves alone; one of its own when empty.
	DataDir string
	// Config is the content of a configuration file, without its data directory and port.
	Config string
	// Args are more arguments for cellfed server. They win over what the harness says.
	Args []string
	// Env is added to the environment.
	Env []string
}

// Plane is a running cellfed server.
type Plane struct {
	// DataDir is the plane's data directory.
	DataDir string
	// Kubeconfig is the path of the administrator's kubeconfig. It stays valid when the plane is started again.
	Kubeconfig string
	// Log is the path of what the process wrote, of all its starts.
	Log string

	options PlaneOptions
	binary  string
	dir     string
	port    string
	config  *rest.Config

	mu      sync.Mutex
	current *planeProcess
}

// planeProcess is one life of a plane.
type planeProcess struct {
	command *exec.Cmd
	// gone is closed when the process has ended, with exit set.
	gone chan struct{}
	exit error
}

// RunPlane starts a plane and ends it with the test. When the test failed, the plane's log is part of its
// output.
func RunPlane(t testing.TB, options PlaneOptions) *Plane {
	t.Helper()
	p, err := StartPlane(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the plane:\n%s", p.logTail())
		}
		if err := p.Close(); err != nil {
			t.Errorf("ending the plane: %v", err)
		}
	})
	return p
}

// StartPlane starts a plane on a free port and returns when it is ready. ctx bounds the start only; the
// caller must Close. It is for TestMain and for tools; tests use RunPlane.
func StartPlane(ctx context.Context, options PlaneOptions) (*Plane, error) {
	binary, err := Binary("cellfed")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "cellfed-plane-")
	if err != nil {
		return nil, fmt.Errorf("making directory for the plane: %w", err)
	}
	p := &Plane{DataDir: options.DataDir, Log: filepath.Join(dir, "log"), options: options, binary: binary, dir: dir, port: "0"}
	if p.DataDir == "" {
		p.DataDir = filepath.Join(dir, "data")
	}
	p.Kubeconfig = filepath.Join(p.DataDir, "admin.kubeconfig")
	if err := p.Start(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Start starts a plane that was stopped or killed, on the same port, and returns when it is ready.
func (p *Plane) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		return errors.New("starting the plane: it runs already")
	}
	// An old kubeconfig must not be taken for a sign of life.
	if err := os.Remove(p.Kubeconfig); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("starting the plane: %w", err)
	}
	process, err := p.launch()
	if err != nil {
		return err
	}
	p.current = process
	if err := p.await(ctx, process); err != nil {
		_, _, stopErr := p.end(syscall.SIGKILL)
		return errors.Join(err, stopErr)
	}
	return nil
}

func (p *Plane) launch() (*planeProcess, error) {
	args := []string{"server", "--data-dir=" + p.DataDir, "--secure-port=" + p.port}
	if p.options.Config != "" {
		path := filepath.Join(p.dir, "config.yaml")
		if err := os.WriteFile(path, []byte(p.options.Config), 0o600); err != nil {
			return nil, fmt.Errorf("writing configuration of the plane: %w", err)
		}
		args = append(args, "--config="+path)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log of the plane: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has a descriptor of its own
	life := &planeProcess{command: exec.Command(p.binary, append(args, p.options.Args...)...), gone: make(chan struct{})}
	life.command.Stdout, life.command.Stderr = log, log
	life.command.Env = append(os.Environ(), p.options.Env...)
	if err := process.StartBound(life.command); err != nil {
		return nil, fmt.Errorf("starting the plane: %w", err)
	}
	go func() {
		life.exit = life.command.Wait()
		close(life.gone)
	}()
	return life, nil
}

// await waits for the plane to be ready and learns where it serves.
func (p *Plane) await(ctx context.Context, process *planeProcess) error {
	ctx, cancel := context.WithTimeout(ctx, planeStartTimeout)
	defer cancel()
	tick := time.NewTicker(planePoll)
	defer tick.Stop()
	for {
		last := p.probe(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-process.gone:
			return fmt.Errorf("starting the plane: %w\n%s", process.exit, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("waiting for the plane: %w: %w\n%s", ctx.Err(), last, p.logTail())
		case <-tick.C:
		}
	}
}

func (p *Plane) probe(ctx context.Context) error {
	if _, err := os.Stat(p.Kubeconfig); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return err
	}
	at, err := url.Parse(config.Host)
	if err != nil {
		return err
	}
	p.config, p.port = config, at.Port()
	return nil
}

// RestConfig is the administrator's configuration for client-go, without a limit of its own.
func (p *Plane) RestConfig() *rest.Config { return rest.CopyConfig(p.config) }

// PID is the plane's process; 0 while there is none.
func (p *Plane) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return 0
	}
	return p.current.command.Process.Pid
}

// Running tells whether the plane's process is there: one that nobody ended should be.
func (p *Plane) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return false
	}
	select {
	case <-p.current.gone:
		return false
	default:
		return true
	}
}

// Stop ends the plane in an orderly way (SIGTERM) and tells how long that took and with which exit code.
func (p *Plane) Stop() (time.Duration, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end(syscall.SIGTERM)
}

// Kill ends the plane as a crash does (SIGKILL).
func (p *Plane) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _, err := p.end(syscall.SIGKILL)
	return err
}

// Restart ends the plane in an orderly way and starts it again.
func (p *Plane) Restart(ctx context.Context) error {
	if _, code, err := p.Stop(); err != nil || code != 0 {
		return errors.Join(err, fmt.Errorf("stopping the plane: exit code %d\n%s", code, p.logTail()))
	}
	return p.Start(ctx)
}

// end sends a signal and waits for the process to be gone.
func (p *Plane) end(signal os.Signal) (time.Duration, int, error) {
	process := p.current
	if process == nil {
		return 0, 0, errors.New("stopping the plane: it does not run")
	}
	begun := time.Now()
	// A process that is gone cannot be signalled, and need not be.
	_ = process.command.Process.Signal(signal)
	var err error
	select {
	case <-process.gone:
	case <-time.After(planeStopTimeout):
		err = fmt.Errorf("the plane did not end within %s\n%s", planeStopTimeout, p.logTail())
		_ = process.command.Process.Kill()
		<-process.gone
	}
	p.current = nil
	return time.Since(begun), process.command.ProcessState.ExitCode(), err
}

// Close ends the plane, when it still runs, and removes what it left. It may be called more than once.
func (p *Plane) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.current != nil {
		_, _, err = p.end(syscall.SIGTERM)
	}
	if removeErr := os.RemoveAll(p.dir); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("removing directory of the plane: %w", removeErr))
	}
	return err
}

// logTail is the end of the plane's log.
func (p *Plane) logTail() string { return process.LogTail(p.Log) }
