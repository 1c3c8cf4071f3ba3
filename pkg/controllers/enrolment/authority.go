package enrolment

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	rules "github.com/cellfed/cellfed/proxy/enrolment"
)

var maxSerial = new(big.Int).Lsh(big.NewInt(1), 127)

// authority is what signs.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func readAuthority(certFile, keyFile string) (authority, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return authority{}, fmt.Errorf("reading the authority of agents: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return authority{}, fmt.Errorf("reading the authority of agents: %w", errors.New(certFile+" is no authority's certificate"))
	}
	return authority{pair.Leaf, key}, nil
}

// sign makes a certificate, in PEM.
func (a authority) sign(r rules.Request, now time.Time) ([]byte, error) {
	template, err := rules.Template(r, a.cert, now)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, maxSerial); err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, r.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
