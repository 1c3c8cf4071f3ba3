package enrolment

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/cellfed/cellfed/proxy/identity"
)

// How long a certificate may be good for.
const (
	DefaultDuration = 7 * 24 * time.Hour
	MinDuration     = 10 * time.Minute
	MaxDuration     = 30 * 24 * time.Hour
)

// Bounds on RSA keys: the lower one for what they protect, the upper one for what it costs to check them.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Refusal is why a request is not granted. Reason is one word for programs, Message is for people.
type Refusal struct{ Reason, Message string }

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

// Reasons of refusals that are about what is asked for.
const (
	ReasonMalformed = "MalformedRequest"
	ReasonSigner    = "OtherSigner"
	ReasonSubject   = "SubjectNotAllowed"
	ReasonNames     = "NamesNotAllowed"
	ReasonUsages    = "UsagesNotAllowed"
	ReasonKey       = "KeyNotAllowed"
	ReasonDuration  = "DurationNotAllowed"
)

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Request is what a CertificateSigningRequest asks for.
type Request struct {
	Identity identity.Identity
	// PublicKey is the key as crypto/x509 knows it, and Fingerprint its name.
	PublicKey   any
	Fingerprint string
	// Duration is how long the certificate shall be good for.
	Duration time.Duration
}

var (
	commonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	organization = asn1.ObjectIdentifier{2, 5, 4, 10}
)

// Read reads a request and judges what it asks for. Who asks is not looked at.
func Read(spec certificatesv1.CertificateSigningRequestSpec) (Request, *Refusal) {
	if spec.SignerName != identity.SignerName {
		return Request{}, refuse(ReasonSigner, "the signer asked for is %q and not %q", spec.SignerName, identity.SignerName)
	}
	block, rest := pem.Decode(spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(block.Headers) > 0 || len(rest) > 0 {
		return Request{}, refuse(ReasonMalformed, "the request is not one PEM block of type CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return Request{}, refuse(ReasonMalformed, "the request cannot be read: %v", err)
	}
	who, refusal := subject(csr)
	if refusal != nil {
		return Request{}, refusal
	}
	// Before the signature: to check one by a key of any size is work that anybody can ask for.
	if refusal := key(csr.PublicKey); refusal != nil {
		return Request{}, refusal
	}
	if err := csr.CheckSignature(); err != nil {
		return Request{}, refuse(ReasonMalformed, "the request is not signed with the key that it is for: %v", err)
	}
	if refusal := usages(spec.Usages); refusal != nil {
		return Request{}, refusal
	}
	duration, refusal := duration(spec.ExpirationSeconds)
	if refusal != nil {
		return Request{}, refusal
	}
	return Request{Identity: who, PublicKey: csr.PublicKey, Fingerprint: identity.Fingerprint(csr.RawSubjectPublicKeyInfo), Duration: duration}, nil
}

// subject demands one common name, one organization and no other name of any kind.
func subject(csr *x509.CertificateRequest) (identity.Identity, *Refusal) {
	var names, organizations []string
	for _, n := range csr.Subject.Names {
		value, _ := n.Value.(string)
		switch {
		case n.Type.Equal(commonName):
			names = append(names, value)
		case n.Type.Equal(organization):
			organizations = append(organizations, value)
		default:
			return identity.Identity{}, refuse(ReasonSubject, "the subject has more than a common name and an organization: %s", n.Type)
		}
	}
	if len(names) != 1 || !slices.Equal(organizations, []string{identity.Organization}) {
		return identity.Identity{}, refuse(ReasonSubject, "the subject must be one common name and the organization %q, and is %q and %q",
			identity.Organization, names, organizations)
	}
	who, err := identity.Parse(names[0])
	if err != nil {
		return identity.Identity{}, refuse(ReasonSubject, "%v", err)
	}
	if len(csr.DNSNames)+len(csr.IPAddresses)+len(csr.URIs)+len(csr.EmailAddresses) > 0 {
		return identity.Identity{}, refuse(ReasonNames, "the request asks for alternative names, which an agent has not")
	}
	if len(csr.Extensions)+len(csr.ExtraExtensions) > 0 || hasAttributes(csr) {
		return identity.Identity{}, refuse(ReasonNames, "the request asks for extensions, which an agent's certificate has not")
	}
	return who, nil
}

// hasAttributes tells of extensions asked for in a form that is not known.
func hasAttributes(csr *x509.CertificateRequest) bool {
	return len(csr.Attributes) > 0 //nolint:staticcheck // deprecated for making requests; here it is only counted
}

func key(public any) *Refusal {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return refuse(ReasonKey, "the RSA key has %d bits: %d to %d are allowed", bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return refuse(ReasonKey, "the key is on the curve %s: P-256 and P-384 are allowed", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return refuse(ReasonKey, "the key is of the type %T: RSA, ECDSA and Ed25519 are allowed", public)
	}
	return nil
}

func usages(asked []certificatesv1.KeyUsage) *Refusal {
	client := false
	for _, u := range asked {
		switch u {
		case certificatesv1.UsageClientAuth:
			client = true
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		default:
			return refuse(ReasonUsages, "the usage %q is not an agent's: ask for %q", u, certificatesv1.UsageClientAuth)
		}
	}
	if !client {
		return refuse(ReasonUsages, "the usage %q is not asked for", certificatesv1.UsageClientAuth)
	}
	return nil
}

func duration(seconds *int32) (time.Duration, *Refusal) {
	if seconds == nil {
		return DefaultDuration, nil
	}
	d := time.Duration(*seconds) * time.Second
	if d < MinDuration || d > MaxDuration {
		return 0, refuse(ReasonDuration, "a certificate for %s is asked for: %s to %s are allowed", d, MinDuration, MaxDuration)
	}
	return d, nil
}
