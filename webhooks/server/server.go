package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Options say where and as whom to serve.
type Options struct {
	// Address is host:port to listen on; port 0 takes a free one.
	Address string
	// CertFile and KeyFile are PEM files of the serving certificate and its key.
	CertFile, KeyFile string
	// GracePeriod is how long running requests may take after the end has come. Default: 5 s.
	GracePeriod time.Duration
	// ErrorLog takes what goes wrong on single connections. Default: nowhere, because anybody who can connect could
	// fill a log with it.
	ErrorLog *log.Logger
}

const (
	defaultGracePeriod = 5 * time.Second
	// An API server sends a review at once; who is slower than this is not one.
	readTimeout = 30 * time.Second
	idleTimeout = 2 * time.Minute
)

// Server is a listening HTTPS server; Serve answers.
type Server struct {
	opts     Options
	listener net.Listener
	server   *http.Server
	certs    *keyPair
}

// Listen takes the port and reads the certificate, so that what is wrong with either is known at once. The handler of
// /healthz is its own; all else is answered by mux.
func Listen(ctx context.Context, opts Options, mux *http.ServeMux) (*Server, error) {
	if opts.GracePeriod == 0 {
		opts.GracePeriod = defaultGracePeriod
	}
	if opts.ErrorLog == nil {
		opts.ErrorLog = log.New(io.Discard, "", 0)
	}
	certs := &keyPair{certFile: opts.CertFile, keyFile: opts.KeyFile}
	if _, err := certs.get(nil); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", opts.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for webhooks: %w", err)
	}
	root := http.NewServeMux()
	root.HandleFunc("/healthz", healthz)
	root.Handle("/", mux)
	return &Server{
		opts: opts, listener: listener, certs: certs,
		server: &http.Server{
			Handler:           root,
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			IdleTimeout:       idleTimeout,
			ErrorLog:          opts.ErrorLog,
			TLSConfig: &tls.Config{
				MinVersion:     tls.VersionTLS12,
				GetCertificate: certs.get,
			},
		},
	}, nil
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok")) // who asked and left has no use for an error
}

// Address is where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Serve answers until ctx ends, then lets running requests finish. It returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.ServeTLS(s.listener, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("serving webhooks: %w", err)
	case <-ctx.Done():
	}
	// The context is over; the grace period is what is left of it.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.GracePeriod)
	defer cancel()
	err := s.server.Shutdown(grace)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	if stopped := <-served; !errors.Is(stopped, http.ErrServerClosed) {
		err = errors.Join(err, stopped)
	}
	if err != nil {
		return fmt.Errorf("ending the webhook server: %w", err)
	}
	return nil
}

// keyPair is a certificate in files. It is read again when a file has changed; while what is there cannot be read, as
// halfway through a rotation, the last good one serves.
type keyPair struct {
	certFile, keyFile string

	mu      sync.Mutex
	seen    [2]fileState
	current *tls.Certificate
}

type fileState struct {
	modified time.Time
	size     int64
}

func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen, err := k.look()
	if err == nil && (k.current == nil || seen != k.seen) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(k.certFile, k.keyFile); err == nil {
			k.seen, k.current = seen, &pair
		}
	}
	if k.current == nil {
		return nil, fmt.Errorf("reading the certificate of the webhook server: %w", err)
	}
	return k.current, nil
}

func (k *keyPair) look() (seen [2]fileState, err error) {
	for i, name := range []string{k.certFile, k.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return seen, err
		}
		seen[i] = fileState{info.ModTime(), info.Size()}
	}
	return seen, nil
}
