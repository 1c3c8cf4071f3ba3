package proxytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/identity"
)

// Enrolment is that of all certificates of agents.
const Enrolment = "abcd1234"

// Authority is a certificate authority of a test.
type Authority struct {
	// Pool trusts it and nobody else.
	Pool *x509.CertPool
	// Certificate is its own.
	Certificate *x509.Certificate

	key *ecdsa.PrivateKey
}

// NewAuthority makes one that is good for an hour.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	key := newKey(t)
	a := &Authority{Pool: x509.NewCertPool(), key: key}
	a.Certificate = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	cert, err := x509.ParseCertificate(a.sign(t, a.Certificate, key))
	if err != nil {
		t.Fatal(err)
	}
	a.Certificate = cert
	a.Pool.AddCert(cert)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *Authority) sign(t testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Issue makes a certificate of a client that is good for an hour; change may make it another or spoil it.
func (a *Authority) Issue(t testing.TB, subject pkix.Name, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	if change != nil {
		change(template)
	}
	der := a.sign(t, template, key)
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Agent makes a certificate of an agent of a member.
func (a *Authority) Agent(t testing.TB, member string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	return a.Issue(t, pkix.Name{CommonName: identity.Identity{Cluster: member, Enrolment: Enrolment}.CommonName(), Organization: []string{identity.Organization}}, change)
}

// Server makes a certificate of a server on 127.0.0.1.
func (a *Authority) Server(t testing.TB) tls.Certificate {
	t.Helper()
	return a.Issue(t, pkix.Name{CommonName: "server"}, func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}
