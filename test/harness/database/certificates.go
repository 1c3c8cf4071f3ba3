package database

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates are the paths of a certificate authority, what a database on Host needs of it, and what a client needs.
// A test that wants a stranger's makes others of its own.
type Certificates struct {
	CA                    string
	ServerCert, ServerKey string
	ClientCert, ClientKey string

	client *tls.Config
}

// Client is the TLS configuration of a client with the certificate.
func (c *Certificates) Client() *tls.Config { return c.client.Clone() }

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCertificates makes an authority and its certificates as files in a directory, which it makes too.
func NewCertificates(dir string) (*Certificates, error) {
	c := &Certificates{
		CA:         filepath.Join(dir, "ca.crt"),
		ServerCert: filepath.Join(dir, "server.crt"), ServerKey: filepath.Join(dir, "server.key"),
		ClientCert: filepath.Join(dir, "client.crt"), ClientKey: filepath.Join(dir, "client.key"),
	}
	if err := c.write(dir); err != nil {
		return nil, fmt.Errorf("making certificates in %s: %w", dir, err)
	}
	return c, nil
}

func (c *Certificates) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &authority{key: key, certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "databases of a test"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}}
	err = errors.Join(
		ca.issue(ca.certificate, &key.PublicKey, c.CA),
		ca.pair(&x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "database"},
			IPAddresses: []net.IP{net.ParseIP(Host)}, DNSNames: []string{"localhost"},
			// etcd speaks to itself as a client.
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, c.ServerCert, c.ServerKey),
		ca.pair(&x509.Certificate{
			SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "cellfed"},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, c.ClientCert, c.ClientKey),
	)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
	if err != nil {
		return err
	}
	authorities, err := os.ReadFile(c.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authorities)
	c.client = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: Host, MinVersion: tls.VersionTLS12}
	return nil
}

// pair writes a certificate and its key.
func (a *authority) pair(template *x509.Certificate, cert, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.NotBefore, template.NotAfter = a.certificate.NotBefore, a.certificate.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return errors.Join(a.issue(template, &key.PublicKey, cert), os.WriteFile(keyFile, block, 0o600))
}

func (a *authority) issue(template *x509.Certificate, key *ecdsa.PublicKey, file string) error {
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key, a.key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}
