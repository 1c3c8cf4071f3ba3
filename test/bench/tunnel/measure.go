package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// load is what is asked for in a run.
type load struct{ requests, dials, body int }

// figures are those of one run, in milliseconds.
type figures struct {
	secure, plain struct{ p50, p99, body float64 }
	dial          float64
}

// measure takes the figures of one run.
func (l load) measure(ctx context.Context, dial dialFunc, t *target) (f figures, err error) {
	secure := &http.Transport{DialContext: dial, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12}}
	if f.secure.p50, f.secure.p99, f.secure.body, err = l.get(ctx, secure, "https://"+t.secure); err != nil {
		return f, err
	}
	if f.plain.p50, f.plain.p99, f.plain.body, err = l.get(ctx, &http.Transport{DialContext: dial}, "http://"+t.plain); err != nil {
		return f, err
	}
	begun := time.Now()
	for range l.dials {
		conn, err := dial(ctx, "tcp", t.plain)
		if err != nil {
			return f, err
		}
		_ = conn.Close()
	}
	f.dial = since(begun) / float64(l.dials)
	return f, nil
}

// get asks for small answers on one connection, and for the long body.
func (l load) get(ctx context.Context, transport *http.Transport, url string) (p50, p99, body float64, err error) {
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	if _, err := get(ctx, c, url+small); err != nil { // it opens the connection, which is measured elsewhere
		return 0, 0, 0, err
	}
	took := make([]float64, l.requests)
	for i := range took {
		begun := time.Now()
		if _, err := get(ctx, c, url+small); err != nil {
			return 0, 0, 0, err
		}
		took[i] = since(begun)
	}
	slices.Sort(took)
	begun := time.Now()
	n, err := get(ctx, c, url+long)
	if err == nil && n != int64(l.body)<<20 {
		err = fmt.Errorf("%d bytes of the body came, and not %d MiB", n, l.body)
	}
	return took[len(took)/2], took[len(took)*99/100], since(begun), err
}

func get(ctx context.Context, c *http.Client, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

func since(begun time.Time) float64 { return float64(time.Since(begun)) / float64(time.Millisecond) }
