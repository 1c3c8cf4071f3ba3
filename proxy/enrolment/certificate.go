package enrolment

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"github.com/cellfed/cellfed/proxy/identity"
)

// backdate is how far the beginning of a certificate lies back: clocks of members may be behind.
const backdate = 5 * time.Minute

// Template is the certificate that a request gets from an authority, all but its serial number.
func Template(r Request, authority *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	end := now.Add(r.Duration)
	if end.After(authority.NotAfter) {
		end = authority.NotAfter
	}
	if !now.Before(end) || now.Before(authority.NotBefore) {
		return nil, fmt.Errorf("the authority %q is good from %s to %s only: look at the clock of this machine", authority.Subject.CommonName,
			authority.NotBefore.UTC().Format(time.RFC3339), authority.NotAfter.UTC().Format(time.RFC3339))
	}
	usage := x509.KeyUsageDigitalSignature
	if _, is := r.PublicKey.(*rsa.PublicKey); is {
		usage |= x509.KeyUsageKeyEncipherment
	}
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.Identity.CommonName(), Organization: []string{identity.Organization}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		KeyUsage:              usage,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, nil
}
