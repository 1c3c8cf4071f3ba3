package storage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certified makes a server's certificate for an address, and the file that it is trusted by.
func certified(t *testing.T, ip net.IP) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{ip}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestADatabaseIsKnownByItsCertificateAt(t *testing.T) {
	for name, tc := range map[string]struct {
		ip, host string
		fits     bool
	}{
		"an IPv6 address":         {"::1", "[::1]:3307", true},
		"one without a port":      {"2001:db8::7", "[2001:db8::7]", true},
		"an IPv4 address":         {"127.0.0.1", "127.0.0.1:3307", true},
		"but at no other address": {"::1", "[::2]:3307", false},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, ca := certified(t, net.ParseIP(tc.ip))
			source, err := parseEndpoint("mysql://u@" + tc.host + "/d?ca-file=" + ca)
			if err != nil {
				t.Fatal(err)
			}
			config, err := source.server.tls()
			if err != nil {
				t.Fatal(err)
			}
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			go func() {
				_ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}).Handshake()
			}()
			if err := tls.Client(near, config).HandshakeContext(t.Context()); (err == nil) != tc.fits {
				t.Errorf("the handshake gives %v", err)
			}
		})
	}
}

func TestTLSOverASocketNeedsAName(t *testing.T) {
	_, ca := certified(t, net.ParseIP("::1"))
	for parameters, says := range map[string]string{"": "give server-name", "&server-name=db": ""} {
		source, err := parseEndpoint("mysql://u@/d?socket=/run/db.sock&ca-file=" + ca + parameters)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.server.tls(); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("with %q it says %v", parameters, err)
		}
	}
}
