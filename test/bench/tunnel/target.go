package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// Paths of the target.
const (
	small = "/small"
	long  = "/long"
)

// target is a server in place of a member's API server, over TLS and in the clear.
type target struct {
	secure, plain string // addresses
	roots         *x509.CertPool
}

// serveTarget serves until ctx ends. The long answer has so many MiB.
func serveTarget(ctx context.Context, k *keys, body int) (*target, error) {
	cert, err := k.server("target")
	if err != nil {
		return nil, err
	}
	chunk := make([]byte, 1<<20)
	mux := http.NewServeMux()
	mux.HandleFunc(small, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(chunk[:1024]) })
	mux.HandleFunc(long, func(w http.ResponseWriter, _ *http.Request) {
		for range body {
			if _, err := w.Write(chunk); err != nil {
				return // the client sees that it is short
			}
		}
	})
	secure, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	overTLS := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	clear := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = overTLS.ServeTLS(secure, "", "") }()
	go func() { _ = clear.Serve(plain) }()
	context.AfterFunc(ctx, func() {
		_ = overTLS.Close()
		_ = clear.Close()
	})
	return &target{secure: secure.Addr().String(), plain: plain.Addr().String(), roots: k.pool}, nil
}

func listen(ctx context.Context) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
}
