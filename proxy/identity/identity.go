package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// SignerName is the signer of agents' certificates.
	SignerName = "cellfed.io/tunnel-agent"
	// Organization is the only organization in an agent's certificate: the group that agents have at the API server.
	Organization = "cellfed:tunnel-agents"

	// BootstrapGroup is the group of whoever asks for an agent's first certificate with a bootstrap token.
	BootstrapGroup = "system:bootstrappers:cellfed:tunnel-agents"
	// BootstrapUserPrefix and the token's ID are the user whom the API server takes the bearer of a bootstrap token for.
	BootstrapUserPrefix = "system:bootstrap:"

	// ClientOrganization is the organization of certificates with which the plane's processes dial members through servers
	// of tunnels. It may do nothing else.
	ClientOrganization = "cellfed:tunnel-clients"
	// ServerOrganization is the organization of certificates with which proxy servers on their own come to the plane:
	// the group that they have at the API server.
	ServerOrganization = "cellfed:tunnel-servers"

	commonNamePrefix = "cellfed:tunnel-agent:"
)

// Keys in the data of a bootstrap token's Secret (kube-system/bootstrap-token-<id>) that make it a token for the agents of
// one member.
const (
	// TokenCluster and TokenEnrolment are whom the token is for.
	TokenCluster   = "cellfed-cluster"
	TokenEnrolment = "cellfed-enrolment"
	// TokenPublicKey is the first public key that the token was used for (Fingerprint), and the only one from then on. The
	// plane writes it.
	TokenPublicKey = "cellfed-public-key"
)

// enrolment names are made by us; the form leaves out what would make a common name ambiguous.
var enrolment = regexp.MustCompile(`^[a-z0-9]{8,40}$`)

// Identity is who an agent is.
type Identity struct {
	// Cluster is the KubeFedCluster that it serves.
	Cluster string
	// Enrolment is the generation of agents that it belongs to.
	Enrolment string
}

// CommonName is the identity as a certificate and the API server say it.
func (i Identity) CommonName() string { return commonNamePrefix + i.Cluster + ":" + i.Enrolment }

// String is the identity as a log says it.
func (i Identity) String() string { return i.Cluster + "/" + i.Enrolment }

// Parse reads a common name.
func Parse(commonName string) (Identity, error) {
	rest, ok := strings.CutPrefix(commonName, commonNamePrefix)
	if !ok {
		return Identity{}, fmt.Errorf("the common name %q is not of an agent: it does not begin with %q", commonName, commonNamePrefix)
	}
	cluster, generation, ok := strings.Cut(rest, ":")
	if !ok {
		return Identity{}, fmt.Errorf("the common name %q names no enrolment", commonName)
	}
	if problems := validation.IsDNS1123Subdomain(cluster); len(problems) > 0 {
		return Identity{}, fmt.Errorf("the common name %q names no cluster: %s", commonName, problems[0])
	}
	if !enrolment.MatchString(generation) {
		return Identity{}, fmt.Errorf("the common name %q names no enrolment: %q is not made of 8 to 40 letters a-z and digits", commonName, generation)
	}
	return Identity{Cluster: cluster, Enrolment: generation}, nil
}

// Fingerprint is how a public key is named, given as the DER of its SubjectPublicKeyInfo.
func Fingerprint(publicKey []byte) string {
	sum := sha256.Sum256(publicKey)
	return hex.EncodeToString(sum[:])
}

// FromCertificate is who a verified certificate is of. It trusts no chain itself: that is the TLS server's part. A
// certificate with any name besides its common name is refused, because the signer makes none.
func FromCertificate(cert *x509.Certificate) (Identity, error) {
	switch {
	case cert == nil:
		return Identity{}, errors.New("there is no certificate")
	case !slices.Equal(cert.Subject.Organization, []string{Organization}):
		return Identity{}, fmt.Errorf("the certificate's organization is not %q", Organization)
	case len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.URIs)+len(cert.EmailAddresses) > 0:
		return Identity{}, errors.New("the certificate has alternative names, which an agent's has not")
	case !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return Identity{}, errors.New("the certificate is not for client authentication")
	}
	return Parse(cert.Subject.CommonName)
}
