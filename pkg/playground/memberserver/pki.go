package memberserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// validity is long because a playground directory may be brought up again much later; nothing here is a
// secret worth rotating.
const validity = 10 * 365 * 24 * time.Hour

// serviceIP is the first address of the service range, by which pods know their API server.
const serviceIP = "10.96.0.1"

// pki holds the files that one member's components read. They are made once and kept, so that a kubeconfig
// handed out earlier stays valid when the member comes back.
type pki struct {
	dir string
}

func (p pki) path(name string) string { return filepath.Join(p.dir, name) }
func (p pki) caCert() string          { return p.path("ca.crt") }
func (p pki) servingCert() string     { return p.path("apiserver.crt") }
func (p pki) servingKey() string      { return p.path("apiserver.key") }
func (p pki) accountKey() string      { return p.path("service-accounts.key") }

// ensurePKI makes the member's certificates and keys unless a finished set is there.
func ensurePKI(dir string) (pki, error) {
	p := pki{dir: dir}
	done := p.path("complete")
	if _, err := os.Stat(done); err == nil {
		return p, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("reading certificates: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, fmt.Errorf("making folder for certificates: %w", err)
	}
	ca, err := newAuthority()
	if err != nil {
		return p, err
	}
	if err := p.write("ca", ca.cert.Raw, ca.key); err != nil {
		return p, err
	}
	serving, err := ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serviceIP)},
	})
	if err != nil {
		return p, err
	}
	if err := p.write("apiserver", serving.cert.Raw, serving.key); err != nil {
		return p, err
	}
	// Every component of a member is an administrator: the members are there to be written to by a
	// federation, whose own rights are what tests look at. Names differ so that audit logs tell them apart.
	for _, user := range users() {
		pair, err := ca.issue(&x509.Certificate{
			Subject:     pkix.Name{CommonName: user, Organization: []string{"system:masters"}},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return p, err
		}
		if err := p.write(fileOf(user), pair.cert.Raw, pair.key); err != nil {
			return p, err
		}
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, fmt.Errorf("making service account key: %w", err)
	}
	if err := p.writeKey("service-accounts", accounts); err != nil {
		return p, err
	}
	// Written last: a process killed half-way leaves no set that looks finished.
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		return p, fmt.Errorf("writing certificates: %w", err)
	}
	return p, nil
}

const (
	userAdmin             = "admin"
	userControllerManager = "system:kube-controller-manager"
	userScheduler         = "system:kube-scheduler"
	userNodes             = "system:playground-nodes"
)

func users() []string {
	return []string{userAdmin, userControllerManager, userScheduler, userNodes}
}

// fileOf turns a user into a file name.
func fileOf(user string) string {
	return strings.TrimPrefix(user, "system:")
}

// writeKubeconfig writes a self-contained kubeconfig of user to path.
func (p pki) writeKubeconfig(path, name, server, user string) error {
	ca, err := os.ReadFile(p.caCert())
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	cert, err := os.ReadFile(p.path(fileOf(user) + ".crt"))
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	key, err := os.ReadFile(p.path(fileOf(user) + ".key"))
	if err != nil {
		return fmt.Errorf("reading key: %w", err)
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return fmt.Errorf("encoding kubeconfig: %w", err)
	}
	// By rename, because others read the file while a member starts again.
	part := path + ".part"
	if err := os.WriteFile(part, data, 0o600); err != nil {
		return fmt.Errorf("writing kubeconfig: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("writing kubeconfig: %w", err)
	}
	return nil
}

func (p pki) write(name string, cert []byte, key *ecdsa.PrivateKey) error {
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	if err := os.WriteFile(p.path(name+".crt"), block, 0o600); err != nil {
		return fmt.Errorf("writing certificate: %w", err)
	}
	return p.writeKey(name, key)
}

func (p pki) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding key %s: %w", name, err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(p.path(name+".key"), block, 0o600); err != nil {
		return fmt.Errorf("writing key: %w", err)
	}
	return nil
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() (*pair, error) {
	return (&pair{}).issue(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "playground member"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
}

// issue signs a certificate made from template; a pair without a certificate signs itself.
func (ca *pair) issue(template *x509.Certificate) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making serial number: %w", err)
	}
	template.SerialNumber = serial
	// An hour of slack, for clocks that were set back since.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(validity)
	if !template.IsCA {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	parent, signer := template, key
	if ca.cert != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("signing certificate %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s: %w", template.Subject.CommonName, err)
	}
	return &pair{cert: cert, key: key}, nil
}
