package credential

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// current is a certificate that changes.
type current struct {
	mu          sync.Mutex
	certificate *tls.Certificate
	changed     chan struct{}
}

// Current is the certificate, nil as long as there is none, and a channel that is closed when another takes its place.
func (c *current) Current() (*tls.Certificate, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.certificate, c.changed
}

// set puts another in its place; the same one again is no change.
func (c *current) set(certificate *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.certificate != nil && certificate != nil && bytes.Equal(c.certificate.Certificate[0], certificate.Certificate[0]) {
		return
	}
	c.certificate = certificate
	if c.changed != nil {
		close(c.changed)
	}
	c.changed = make(chan struct{})
}

// Files is a certificate in files that somebody else renews.
type Files struct {
	current
	certFile, keyFile string
	logger            *slog.Logger
}

// NewFiles reads a certificate and its key.
func NewFiles(certFile, keyFile string, logger *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, logger: logger}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Files) read() error {
	cert, err := os.ReadFile(f.certFile)
	if err != nil {
		return fmt.Errorf("reading the client certificate: %w", err)
	}
	key, err := os.ReadFile(f.keyFile)
	if err != nil {
		return fmt.Errorf("reading the client key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("reading the client certificate %s with the key %s: %w", f.certFile, f.keyFile, err)
	}
	f.set(&pair)
	return nil
}

// lookAgain is how often files are looked at.
const lookAgain = 10 * time.Second

// Run looks for new files until ctx ends. Files that cannot be read leave what there is: they may be in the middle of
// being replaced.
func (f *Files) Run(ctx context.Context) { f.run(ctx, lookAgain) }

func (f *Files) run(ctx context.Context, every time.Duration) {
	failed := false
	for pause(ctx, every) {
		err := f.read()
		if err != nil && !failed {
			f.logger.Warn("Keeping the former client certificate", "error", err)
		}
		failed = err != nil
	}
}

// pause waits; false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
