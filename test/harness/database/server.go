package database

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/harness/process"
)

// Host is where all databases of this package listen.
const Host = "127.0.0.1"

// Times that only a machine in trouble exceeds.
const (
	startTimeout = time.Minute
	stopTimeout  = time.Minute
	poll         = 10 * time.Millisecond
)

// server is what MariaDB and etcd have in common: a process that can be ended and started again on the same data and
// the same port.
type server struct {
	// Log is the path of what the process wrote, of all its starts.
	Log string

	name    string
	dir     *directory
	command func() *exec.Cmd
	// probe succeeds when the server serves.
	probe func(context.Context) error

	mu      sync.Mutex
	current *process.Process
	closing sync.Once
	closed  error
}

func newServer(name string) (*server, error) {
	dir, err := newDirectory(name)
	if err != nil {
		return nil, err
	}
	return &server{name: name, dir: dir, Log: filepath.Join(dir.path, "log")}, nil
}

// file is the path of something in the server's directory.
func (s *server) file(name string) string { return filepath.Join(s.dir.path, name) }

// Start starts a server that was stopped or killed, on the same data and port, and returns when it serves.
func (s *server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		return fmt.Errorf("starting %s: it runs already", s.name)
	}
	life, err := process.Start(s.name, s.Log, s.command())
	if err != nil {
		return err
	}
	s.current = life
	if err := s.await(ctx, life); err != nil {
		return errors.Join(err, s.end(syscall.SIGKILL))
	}
	return nil
}

func (s *server) await(ctx context.Context, life *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		last := s.probe(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-life.Gone():
			return fmt.Errorf("starting %s: it ended: %w\n%s", s.name, life.Exit(), life.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w\n%s", s.name, ctx.Err(), last, life.LogTail())
		case <-tick.C:
		}
	}
}

// Stop ends the server in an orderly way (SIGTERM).
func (s *server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGTERM)
}

// Kill ends the server as a crash does (SIGKILL), also one that is paused.
func (s *server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGKILL)
}

func (s *server) end(signal syscall.Signal) error {
	life := s.current
	if life == nil {
		return fmt.Errorf("ending %s: it does not run", s.name)
	}
	s.current = nil
	return life.End(signal, stopTimeout)
}

// Pause freezes the server (SIGSTOP): connections stay open and nothing answers.
func (s *server) Pause() error { return s.signal((*process.Process).Pause) }

// Continue lets a paused server go on.
func (s *server) Continue() error { return s.signal((*process.Process).Continue) }

func (s *server) signal(send func(*process.Process) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return fmt.Errorf("signalling %s: it does not run", s.name)
	}
	return send(s.current)
}

// PID is the server's process; 0 while there is none.
func (s *server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	return s.current.PID()
}

// Close ends the server, when it still runs, and removes its data. It may be called more than once.
func (s *server) Close() error {
	s.closing.Do(func() {
		// Nobody will read the data again, so that nothing is lost with SIGKILL but time.
		if s.PID() != 0 {
			s.closed = s.Kill()
		}
		s.closed = errors.Join(s.closed, s.dir.remove())
	})
	return s.closed
}

// endWith ends the server with the test. When the test failed, the server's log is part of its output.
func (s *server) endWith(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.name, process.LogTail(s.Log))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
