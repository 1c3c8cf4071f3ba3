package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/harness/process"
)

// EtcdOptions say how to start etcd. The zero value is one that is durable and speaks without TLS.
type EtcdOptions struct {
	// Flags are more arguments of etcd. They win over what the harness says.
	Flags []string
	// TLS asks clients for a certificate; Etcd.Certificates then has what a client needs.
	TLS bool
}

// Etcd is a private etcd of one member.
type Etcd struct {
	*server
	// Endpoint is its URL.
	Endpoint string
	// Certificates is nil without EtcdOptions.TLS.
	Certificates *Certificates
}

// RunEtcd starts etcd and ends it with the test.
func RunEtcd(t testing.TB, options EtcdOptions) *Etcd {
	t.Helper()
	e, err := StartEtcd(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	e.endWith(t)
	return e
}

// StartEtcd starts etcd with new data and returns when it serves. ctx bounds the start only; the caller must Close. It
// is for TestMain and for tools; tests use RunEtcd or SharedEtcd.
func StartEtcd(ctx context.Context, options EtcdOptions) (*Etcd, error) {
	binary, err := process.Binary(filepath.Join("tools", "etcd"))
	if err != nil {
		return nil, err
	}
	s, err := newServer("etcd")
	if err != nil {
		return nil, err
	}
	e := &Etcd{server: s}
	if err := e.prepare(ctx, binary, options); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Etcd) prepare(ctx context.Context, binary string, options EtcdOptions) error {
	port, err := process.FreePort(Host)
	if err != nil {
		return err
	}
	peerPort, err := process.FreePort(Host)
	if err != nil {
		return err
	}
	e.Endpoint = fmt.Sprintf("http://%s:%d", Host, port)
	if options.TLS {
		if e.Certificates, err = NewCertificates(e.file("certificates")); err != nil {
			return err
		}
		e.Endpoint = fmt.Sprintf("https://%s:%d", Host, port)
	}
	peer := fmt.Sprintf("http://%s:%d", Host, peerPort)
	args := []string{
		"--name=one", "--data-dir=" + e.file("data"), "--log-level=warn",
		"--listen-client-urls=" + e.Endpoint, "--advertise-client-urls=" + e.Endpoint,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=one=" + peer,
	}
	if c := e.Certificates; c != nil {
		args = append(args, "--client-cert-auth", "--trusted-ca-file="+c.CA, "--cert-file="+c.ServerCert, "--key-file="+c.ServerKey)
	}
	args = append(args, options.Flags...)
	e.command = func() *exec.Cmd {
		cmd := exec.Command(binary, args...)
		// Nothing of the caller's: each flag of etcd is a variable too.
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		return cmd
	}
	e.probe = e.healthy
	return e.Start(ctx)
}

// healthy asks etcd whether it has a leader and can write.
func (e *Etcd) healthy(ctx context.Context) error {
	transport := &http.Transport{DisableKeepAlives: true}
	if e.Certificates != nil {
		transport.TLSClientConfig = e.Certificates.Client()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Endpoint+"/health", nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body) // the status says enough
		return fmt.Errorf("etcd is not healthy: %s: %s", response.Status, body)
	}
	return nil
}
