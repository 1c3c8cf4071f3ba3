package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/cellfed/cellfed/proxy/identity"
)

// TunnelFiles are what tunnels are served with, and dialled with through other servers.
type TunnelFiles struct {
	// Cert and Key are the server's own.
	Cert, Key string
	// AgentCA signs agents' certificates, with AgentCAKey; ClientCA signs those of clients, and ServerCA those of servers.
	AgentCA, AgentCAKey, ClientCA, ServerCA string
	// ClientCert and ClientKey are shown to other servers.
	ClientCert, ClientKey string
}

// TunnelFilesIn are those of a data directory that somebody else may hold.
func TunnelFilesIn(dir string) TunnelFiles {
	in := func(name string) string { return filepath.Join(dir, "pki", name) }
	return TunnelFiles{
		Cert: in("serving.crt"), Key: in("serving.key"),
		AgentCA: in(tunnelCACert), AgentCAKey: in(tunnelCAKey), ClientCA: in("client-ca.crt"), ServerCA: in("serving-ca.crt"),
		ClientCert: in("tunnel-client.crt"), ClientKey: in("tunnel-client.key"),
	}
}

// ProxyServerFilesIn are those of a directory that IssueProxyServer made. Nothing is signed there and nobody is dialled.
func ProxyServerFilesIn(dir string) TunnelFiles {
	in := func(name string) string { return filepath.Join(dir, name) }
	return TunnelFiles{Cert: in("serving.crt"), Key: in("serving.key"), AgentCA: in(tunnelCACert), ClientCA: in("client-ca.crt")}
}

// ProxyServerKubeconfigIn is how the server of such a directory reaches the plane.
func ProxyServerKubeconfigIn(dir string) string { return filepath.Join(dir, "kubeconfig") }

// proxyServer is who proxy servers on their own are to the plane.
const proxyServer = "cellfed:tunnel-server"

// IssueProxyServer makes a directory with all that a proxy server needs that runs on its own: its certificate for the
// addresses and names by which it is reached, the authorities of agents and clients, without their keys, and a kubeconfig
// for the plane at url. When the directory is there already, what is near its end or lacks a name is made anew. The server of the
// data directory may be running.
func IssueProxyServer(dataDir, out, url string, ips []net.IP, names []string, now time.Time) error {
	if inside(dataDir, out) {
		return fmt.Errorf("%s is in the data directory %s, whose own files have the same names: take another directory", out, dataDir)
	}
	from, files := TunnelFilesIn(dataDir), ProxyServerFilesIn(out)
	serving, err := existing(from.ServerCA)
	if err != nil {
		return err
	}
	clients, err := existing(from.ClientCA)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	for source, to := range map[string]string{from.AgentCA: files.AgentCA, from.ClientCA: files.ClientCA} {
		data, err := os.ReadFile(source)
		if err != nil {
			return fmt.Errorf("reading certificates: %w", err)
		}
		if err := writeFile(to, data); err != nil {
			return fmt.Errorf("writing certificates: %w", err)
		}
	}
	if err := leaf(servingTemplate(ips, names), serving, files.Cert, files.Key, now); err != nil {
		return err
	}
	cert, key := filepath.Join(out, "client.crt"), filepath.Join(out, "client.key")
	if err := leaf(clientTemplate(proxyServer, identity.ServerOrganization), clients, cert, key, now); err != nil {
		return err
	}
	ca, err := os.ReadFile(from.ServerCA)
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	// By their names, so that a client that runs takes up what is made anew.
	who := &clientcmdapi.AuthInfo{ClientCertificate: filepath.Base(cert), ClientKey: filepath.Base(key)}
	return writeKubeconfigOf(ProxyServerKubeconfigIn(out), url, proxyServer, ca, who)
}

// inside tells whether a path leads to a directory or into it, also by symbolic links.
func inside(dir, path string) bool {
	dir, path = resolved(dir), resolved(path)
	relative, err := filepath.Rel(dir, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// resolved is a path without symbolic links, as far as it is there.
func resolved(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		}
		if at == filepath.Dir(at) {
			return path
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// existing is an authority that is there with its key.
func existing(certFile string) (signer, error) {
	keyFile := certFile[:len(certFile)-len(filepath.Ext(certFile))] + ".key"
	if _, err := os.Stat(keyFile); errors.Is(err, fs.ErrNotExist) {
		return signer{}, fmt.Errorf("there is no %s: start a server with that data directory once, which makes the keys, or import them", keyFile)
	}
	cert, err := certificate(certFile)
	if err != nil {
		return signer{}, err
	}
	if cert == nil {
		return signer{}, fmt.Errorf("there is no %s: start a server with that data directory once, which makes the keys, or import them", certFile)
	}
	key, err := privateKey(keyFile)
	return signer{cert, key}, err
}
