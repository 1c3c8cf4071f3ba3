package playground

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Action is what can be done to a member of a running playground.
type Action string

// The actions on a member.
const (
	ActionStart  Action = "start"
	ActionStop   Action = "stop"
	ActionPause  Action = "pause"
	ActionResume Action = "resume"
)

// ErrNotRunning is returned when no playground runs on a directory.
var ErrNotRunning = errors.New("no playground runs")

// controlFile tells where a running playground listens. It is a loopback port and a secret in a file that
// only the owner reads: a unix socket would fail in directories with long names.
type controlFile struct {
	Address string `json:"address"`
	Token   string `json:"token"`
	PID     int    `json:"pid"`
}

// serveControl listens for other processes' wishes.
func (s *Supervisor) serveControl() (closeControl func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for control: %w", err)
	}
	file := controlFile{Address: listener.Addr().String(), Token: rand.Text(), PID: os.Getpid()}
	data, err := json.Marshal(file)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("encoding control file: %w", err)
	}
	part := s.layout.control() + ".part"
	if err = os.WriteFile(part, data, 0o600); err == nil {
		err = os.Rename(part, s.layout.control())
	}
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("writing control file: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Status()) // A caller that has gone needs no answer.
	})
	mux.HandleFunc("POST /down", func(http.ResponseWriter, *http.Request) { s.askDown() })
	mux.HandleFunc("POST /members/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.do(r.Context(), Action(r.PathValue("action")), r.PathValue("name")); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		}
	})
	mux.HandleFunc("POST /members/{name}/enter/{pid}", func(w http.ResponseWriter, r *http.Request) {
		pid, err := strconv.Atoi(r.PathValue("pid"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		network, err := s.admit(r.PathValue("name"), pid)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		_, _ = io.WriteString(w, network) // A caller that has gone needs no answer.
	})
	server := &http.Server{Handler: onlyWith(file.Token, mux), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // Ends with Close below.
	return func() error {
		if err := os.Remove(s.layout.control()); err != nil {
			return fmt.Errorf("removing control file: %w", err)
		}
		return server.Close()
	}, nil
}

func onlyWith(token string, next http.Handler) http.Handler {
	want := []byte("Bearer " + token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Client talks to a running playground.
type Client struct {
	layout Layout
	file   controlFile
}

// NewClient finds the playground that runs on dir; ErrNotRunning if none does.
func NewClient(dir string) (*Client, error) {
	layout, err := NewLayout(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(layout.control())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w on %s", ErrNotRunning, layout.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("reading control file: %w", err)
	}
	c := &Client{layout: layout}
	if err := json.Unmarshal(data, &c.file); err != nil {
		return nil, fmt.Errorf("reading control file %s: %w", layout.control(), err)
	}
	return c, nil
}

// Do carries out an action on a member and returns when it is done: stopped, or started and ready.
func (c *Client) Do(ctx context.Context, action Action, name string) error {
	_, err := c.call(ctx, http.MethodPost, "/members/"+name+"/"+string(action))
	return err
}

// Status asks how the members are.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	data, err := c.call(ctx, http.MethodGet, "/status")
	if err != nil {
		return nil, err
	}
	status := &Status{}
	if err := json.Unmarshal(data, status); err != nil {
		return nil, fmt.Errorf("reading status: %w", err)
	}
	return status, nil
}

// Enter brings this process inside the firewall of a member: what it becomes by exec runs there. The caller's goroutine has
// to be locked to its thread, and is not to be unlocked any more.
func (c *Client) Enter(ctx context.Context, name string) error {
	network, err := c.call(ctx, http.MethodPost, "/members/"+name+"/enter/"+strconv.Itoa(os.Getpid()))
	if err != nil || len(network) == 0 {
		return err
	}
	return enterNetwork(string(network))
}

// Down ends the playground and returns when it is gone.
func (c *Client) Down(ctx context.Context) error {
	if _, err := c.call(ctx, http.MethodPost, "/down"); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// The lock is the last thing a playground lets go of.
		if unlock, err := c.layout.takeLock(); err == nil {
			unlock()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the playground to end: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.file.Address+path, bytes.NewReader(nil))
	if err != nil {
		return nil, fmt.Errorf("asking the playground: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.file.Token)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		if ctx.Err() == nil {
			// The file outlives a playground that was killed.
			return nil, fmt.Errorf("%w on %s", ErrNotRunning, c.layout.Dir)
		}
		return nil, fmt.Errorf("asking the playground: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the playground's answer: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return nil, errors.New(strings.TrimSpace(string(data)))
	}
	return data, nil
}
