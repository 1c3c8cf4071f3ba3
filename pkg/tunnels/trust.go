package tunnels

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/proxy/server"
)

// readAgain is how long what was read is taken for what the files hold, and readPatience how long when they cannot be read.
const (
	readAgain    = 10 * time.Second
	readPatience = 2 * time.Minute
)

// trust is what the files say, read now and then.
type trust struct {
	files host.TunnelFiles

	mu   sync.Mutex
	at   time.Time
	last server.Trust
}

func (t *trust) now() (server.Trust, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.at) < readAgain {
		return t.last, nil
	}
	read, err := t.read()
	if err != nil {
		if time.Since(t.at) > readPatience {
			return server.Trust{}, err
		}
		return t.last, nil // a file that is being written is one the next time
	}
	t.last, t.at = read, time.Now()
	return read, nil
}

func (t *trust) read() (out server.Trust, err error) {
	if out.Certificate, err = tls.LoadX509KeyPair(t.files.Cert, t.files.Key); err != nil {
		return out, fmt.Errorf("reading the certificate of tunnels: %w", err)
	}
	if usages := out.Certificate.Leaf.ExtKeyUsage; len(usages) > 0 && !slices.Contains(usages, x509.ExtKeyUsageServerAuth) && !slices.Contains(usages, x509.ExtKeyUsageAny) {
		return out, fmt.Errorf("reading the certificate of tunnels: %s is not a server's", t.files.Cert)
	}
	if out.Agents, err = pool(t.files.AgentCA); err != nil {
		return out, err
	}
	out.Clients, err = pool(t.files.ClientCA)
	return out, err
}

func pool(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading an authority: %w", err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("reading an authority: %s holds no certificate", file)
	}
	return p, nil
}
