package host

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/cellfed/cellfed/proxy/identity"
)

// How long certificates last, and how long before their end they are made anew.
const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	caRenewal      = 365 * 24 * time.Hour
	leafLifetime   = 365 * 24 * time.Hour
	leafRenewal    = 90 * 24 * time.Hour
	backdate       = time.Hour // clocks of clients may be behind
	adminUser      = "cellfed-admin"
	adminGroup     = "system:masters"
	servingCAName  = "cellfed-serving-ca"
	clientCAName   = "cellfed-client-ca"
	tunnelCAName   = "cellfed-tunnel-ca"
	servingSubject = "cellfed"
	tunnelClient   = "cellfed:tunnel-client"
)

// Keys are the files that a plane serves and signs with.
type Keys struct {
	// ServingCA signs the serving certificate: what clients trust.
	ServingCA string
	// ServingCert and ServingKey are what the server shows.
	ServingCert, ServingKey string
	// ClientCA signs client certificates: whom the server trusts.
	ClientCA, ClientCAKey string
	// TunnelCA signs the certificates of members' agents, and nothing else.
	TunnelCA, TunnelCAKey string
	// ClientCAs are both of these in one file, for the API server: agents come to it for their next certificate. It is
	// written anew from the two at every start and renewal.
	ClientCAs string
	// TunnelClientCert and TunnelClientKey are what this server dials through other proxy servers with.
	TunnelClientCert, TunnelClientKey string
	// AdminCert and AdminKey are the administrator's.
	AdminCert, AdminKey string
	// ServiceAccountKey signs service account tokens.
	ServiceAccountKey string
	// Encryption is the configuration of encryption at rest, with its key.
	Encryption string
}

// Keys makes what is missing among the keys of a data directory, makes anew what
// is near its end at the given time, and leaves all else as it is. ips and names
// are what clients call the server.
func (d *Dir) Keys(now time.Time, ips []net.IP, names []string) (Keys, error) {
	k := Keys{
		ServingCA:   d.file("serving-ca.crt"),
		ServingCert: d.file("serving.crt"), ServingKey: d.file("serving.key"),
		ClientCA: d.file("client-ca.crt"), ClientCAKey: d.file("client-ca.key"),
		TunnelCA: d.file(tunnelCACert), TunnelCAKey: d.file(tunnelCAKey), ClientCAs: d.file("client-cas.crt"),
		TunnelClientCert: d.file("tunnel-client.crt"), TunnelClientKey: d.file("tunnel-client.key"),
		AdminCert: d.file("admin.crt"), AdminKey: d.file("admin.key"),
		ServiceAccountKey: d.file("service-account.key"),
		Encryption:        d.file(encryptionFile),
	}
	if err := encryption(k.Encryption, d.Database()); err != nil {
		return Keys{}, err
	}
	serving, err := authority(servingCAName, k.ServingCA, d.file("serving-ca.key"), now)
	if err != nil {
		return Keys{}, err
	}
	client, err := authority(clientCAName, k.ClientCA, k.ClientCAKey, now)
	if err != nil {
		return Keys{}, err
	}
	tunnel, err := authority(tunnelCAName, k.TunnelCA, k.TunnelCAKey, now)
	if err != nil {
		return Keys{}, err
	}
	if err := bundle(k.ClientCAs, client.cert, tunnel.cert); err != nil {
		return Keys{}, err
	}
	if err := leaf(servingTemplate(ips, names), serving, k.ServingCert, k.ServingKey, now); err != nil {
		return Keys{}, err
	}
	if err := leaf(clientTemplate(adminUser, adminGroup), client, k.AdminCert, k.AdminKey, now); err != nil {
		return Keys{}, err
	}
	if err := leaf(clientTemplate(tunnelClient, identity.ClientOrganization), client, k.TunnelClientCert, k.TunnelClientKey, now); err != nil {
		return Keys{}, err
	}
	if _, err := privateKey(k.ServiceAccountKey); err != nil {
		return Keys{}, err
	}
	return k, nil
}

// bundle writes certificates into one file, unless they are what it holds.
func bundle(path string, certs ...*x509.Certificate) error {
	var data []byte
	for _, c := range certs {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err := writeFile(path, data); err != nil {
		return fmt.Errorf("writing certificates: %w", err)
	}
	return nil
}

// privateKey reads a key, or makes it when there is none. A key that is there
// but cannot be read is an error and never replaced: others rely on it.
func privateKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newPrivateKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("reading key %s: it holds no PEM block", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", path, err)
	}
	return key, nil
}

func newPrivateKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key %s: %w", path, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making key %s: %w", path, err)
	}
	if err := writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})); err != nil {
		return nil, fmt.Errorf("writing key: %w", err)
	}
	return key, nil
}

// certificate reads a certificate. None there is no error.
func certificate(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("reading certificate %s: it holds no PEM block", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s: %w", path, err)
	}
	return cert, nil
}

func writeCertificate(path string, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, maxSerial)
	if err != nil {
		return nil, fmt.Errorf("making certificate %s: %w", path, err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("making certificate %s: %w", path, err)
	}
	if err := writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, fmt.Errorf("writing certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
