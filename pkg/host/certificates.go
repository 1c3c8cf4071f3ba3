package host

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"
)

var maxSerial = new(big.Int).Lsh(big.NewInt(1), 127)

// signer is a certificate authority that can sign.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authority reads a certificate authority or makes it. Near its end it gets a
// new certificate for the same key and name, so that what it signed stays good.
func authority(name, certPath, keyPath string, now time.Time) (signer, error) {
	key, err := privateKey(keyPath)
	if err != nil {
		return signer{}, err
	}
	cert, err := certificate(certPath)
	if err != nil {
		return signer{}, err
	}
	if cert != nil && now.Before(cert.NotAfter.Add(-caRenewal)) && key.PublicKey.Equal(cert.PublicKey) {
		return signer{cert, key}, nil
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err = writeCertificate(certPath, template, template, &key.PublicKey, key)
	if err != nil {
		return signer{}, err
	}
	return signer{cert, key}, nil
}

func servingTemplate(ips []net.IP, names []string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: servingSubject},
		IPAddresses: ips,
		DNSNames:    names,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// clientTemplate is of a certificate that makes its bearer a user of one group.
func clientTemplate(user, group string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: []string{group}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// leaf makes sure of a certificate as the template asks for it, signed by ca.
func leaf(template *x509.Certificate, ca signer, certPath, keyPath string, now time.Time) error {
	key, err := privateKey(keyPath)
	if err != nil {
		return err
	}
	cert, err := certificate(certPath)
	if err != nil {
		return err
	}
	if cert != nil && serves(cert, template, ca, key, now) {
		return nil
	}
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(leafLifetime)
	template.BasicConstraintsValid = true
	_, err = writeCertificate(certPath, template, ca.cert, &key.PublicKey, ca.key)
	return err
}

// serves tells whether a certificate still does all that the template asks for.
func serves(cert, template *x509.Certificate, ca signer, key *ecdsa.PrivateKey, now time.Time) bool {
	if now.After(cert.NotAfter.Add(-leafRenewal)) || !key.PublicKey.Equal(cert.PublicKey) || cert.CheckSignatureFrom(ca.cert) != nil {
		return false
	}
	for _, name := range template.DNSNames {
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, ip := range template.IPAddresses {
		if cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}
