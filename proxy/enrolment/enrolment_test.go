package enrolment

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/proxy/identity"
)

var (
	who   = identity.Identity{Cluster: "hz-1", Enrolment: "abcd1234"}
	now   = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	p256  = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	other = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func subjectOf(i identity.Identity) pkix.Name {
	return pkix.Name{CommonName: i.CommonName(), Organization: []string{identity.Organization}}
}

func encode(template *x509.CertificateRequest, key crypto.Signer) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: must(x509.CreateCertificateRequest(rand.Reader, template, key))})
}

// wanted is a request as an agent with a token makes it.
func wanted() certificatesv1.CertificateSigningRequestSpec {
	return certificatesv1.CertificateSigningRequestSpec{
		Request: encode(&x509.CertificateRequest{Subject: subjectOf(who)}, p256), SignerName: identity.SignerName,
		Usages:   []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature},
		Username: "system:bootstrap:abcdef", Groups: []string{"system:bootstrappers", identity.BootstrapGroup, "system:authenticated"},
	}
}

func token() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{
			"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
			"expiration":          []byte(now.Add(time.Hour).Format(time.RFC3339)),
			identity.TokenCluster: []byte(who.Cluster), identity.TokenEnrolment: []byte(who.Enrolment),
		},
	}
}

func member() *corev1beta1.KubeFedCluster {
	return &corev1beta1.KubeFedCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: who.Cluster},
		Spec:       corev1beta1.KubeFedClusterSpec{Tunnel: &corev1beta1.ClusterTunnel{Enrolment: who.Enrolment}},
	}
}

func TestWhatAnAgentAsksForIsRead(t *testing.T) {
	keys := map[string]crypto.Signer{
		"P-256": p256, "P-384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"RSA 2048": must(rsa.GenerateKey(rand.Reader, 2048)), "Ed25519": must2(ed25519.GenerateKey(rand.Reader)),
	}
	for name, key := range keys {
		spec := wanted()
		spec.Request = encode(&x509.CertificateRequest{Subject: subjectOf(who)}, key)
		r, refusal := Read(spec)
		if refusal != nil || r.Identity != who || r.Duration != DefaultDuration || len(r.Fingerprint) != 64 {
			t.Errorf("%s: %+v, %v", name, r, refusal)
		}
	}
}

func must2(_ ed25519.PublicKey, key ed25519.PrivateKey, err error) ed25519.PrivateKey {
	return must(key, err)
}

func TestWhatIsNotAnAgentsIsRefused(t *testing.T) {
	type spec = certificatesv1.CertificateSigningRequestSpec
	asking := func(change func(*x509.CertificateRequest)) func(*spec) {
		return func(s *spec) {
			csr := &x509.CertificateRequest{Subject: subjectOf(who)}
			change(csr)
			s.Request = encode(csr, p256)
		}
	}
	keyed := func(key crypto.Signer) func(*spec) {
		return func(s *spec) { s.Request = encode(&x509.CertificateRequest{Subject: subjectOf(who)}, key) }
	}
	extra := func(oid asn1.ObjectIdentifier, value string) func(*spec) {
		return asking(func(c *x509.CertificateRequest) {
			// ExtraNames would take the place of the others.
			names := append(subjectOf(who).ToRDNSequence(), pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
			c.RawSubject = must(asn1.Marshal(names))
		})
	}
	using := func(usages ...certificatesv1.KeyUsage) func(*spec) { return func(s *spec) { s.Usages = usages } }
	lasting := func(seconds int32) func(*spec) { return func(s *spec) { s.ExpirationSeconds = &seconds } }
	for _, tt := range []struct {
		name   string
		spoil  func(*spec)
		reason string
	}{
		{"another signer", func(s *spec) { s.SignerName = "kubernetes.io/kube-apiserver-client" }, ReasonSigner},
		{"no PEM", func(s *spec) { s.Request = []byte("x") }, ReasonMalformed},
		{"two PEM blocks", func(s *spec) { s.Request = append(s.Request, s.Request...) }, ReasonMalformed},
		{"PEM of another kind", func(s *spec) {
			s.Request = []byte(strings.ReplaceAll(string(s.Request), "CERTIFICATE REQUEST", "CERTIFICATE"))
		}, ReasonMalformed},
		{"junk in PEM", func(s *spec) {
			s.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("junk")})
		}, ReasonMalformed},
		{"a signature of another key", func(s *spec) {
			block, _ := pem.Decode(s.Request)
			block.Bytes[len(block.Bytes)-1] ^= 1
			s.Request = pem.EncodeToMemory(block)
		}, ReasonMalformed},
		{"an administrator's group", asking(func(c *x509.CertificateRequest) { c.Subject.Organization = []string{"system:masters"} }), ReasonSubject},
		{"one more group", asking(func(c *x509.CertificateRequest) {
			c.Subject.Organization = append(c.Subject.Organization, "system:masters")
		}), ReasonSubject},
		{"the group twice", extra(organization, identity.Organization), ReasonSubject},
		{"no group", asking(func(c *x509.CertificateRequest) { c.Subject.Organization = nil }), ReasonSubject},
		{"a name of no agent", asking(func(c *x509.CertificateRequest) { c.Subject.CommonName = "cellfed-admin" }), ReasonSubject},
		{"no name", asking(func(c *x509.CertificateRequest) { c.Subject.CommonName = "" }), ReasonSubject},
		{"a wildcard", asking(func(c *x509.CertificateRequest) { c.Subject.CommonName = "cellfed:tunnel-agent:*:abcd1234" }), ReasonSubject},
		{"two common names", extra(commonName, identity.Identity{Cluster: "hz-2", Enrolment: "abcd1234"}.CommonName()), ReasonSubject},
		{"an organizational unit", asking(func(c *x509.CertificateRequest) { c.Subject.OrganizationalUnit = []string{"x"} }), ReasonSubject},
		{"a serial number as a name", asking(func(c *x509.CertificateRequest) { c.Subject.SerialNumber = "7" }), ReasonSubject},
		{"a wildcard among DNS names", asking(func(c *x509.CertificateRequest) { c.DNSNames = []string{"*"} }), ReasonNames},
		{"an address", asking(func(c *x509.CertificateRequest) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), ReasonNames},
		{"a URI", asking(func(c *x509.CertificateRequest) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }), ReasonNames},
		{"a mail address", asking(func(c *x509.CertificateRequest) { c.EmailAddresses = []string{"a@example"} }), ReasonNames},
		{"to be an authority", asking(func(c *x509.CertificateRequest) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: must(asn1.Marshal(struct{ CA bool }{true}))}}
		}), ReasonNames},
		{"no usage", using(), ReasonUsages},
		{"to serve", using(certificatesv1.UsageServerAuth), ReasonUsages},
		{"to serve as well", using(certificatesv1.UsageClientAuth, certificatesv1.UsageServerAuth), ReasonUsages},
		{"to sign certificates", using(certificatesv1.UsageClientAuth, certificatesv1.UsageCertSign), ReasonUsages},
		{"any usage", using(certificatesv1.UsageAny), ReasonUsages},
		{"signatures only", using(certificatesv1.UsageDigitalSignature), ReasonUsages},
		{"a weak RSA key", keyed(must(rsa.GenerateKey(rand.Reader, 1024))), ReasonKey},
		{"a small curve", keyed(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))), ReasonKey},
		{"too short a time", lasting(599), ReasonDuration},
		{"no time", lasting(0), ReasonDuration},
		{"a negative time", lasting(-600), ReasonDuration},
		{"too long a time", lasting(30*24*3600 + 1), ReasonDuration},
	} {
		s := wanted()
		tt.spoil(&s)
		if r, refusal := Read(s); refusal == nil || refusal.Reason != tt.reason || refusal.Message == "" {
			t.Errorf("%s: %+v, %+v", tt.name, r, refusal)
		}
	}
}

// trial is one request with all that it is judged by.
type trial struct {
	spec  certificatesv1.CertificateSigningRequestSpec
	facts Facts
}

func judge(t *testing.T, x trial) Verdict {
	t.Helper()
	r, refusal := Read(x.spec)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return Review(r, x.spec, x.facts)
}

func first() trial { return trial{wanted(), Facts{Now: now, Token: token(), Cluster: member()}} }

func renewal() trial {
	x := trial{wanted(), Facts{Now: now, Cluster: member()}}
	x.spec.Username, x.spec.Groups = who.CommonName(), []string{identity.Organization, "system:authenticated"}
	return x
}

func TestWhoAsksForAlternativeNamesIsToldSo(t *testing.T) {
	s := wanted()
	s.Request = encode(&x509.CertificateRequest{Subject: subjectOf(who), DNSNames: []string{"*"}}, p256)
	if _, refusal := Read(s); refusal == nil || !strings.Contains(refusal.Message, "alternative names") {
		t.Errorf("got %v", refusal)
	}
}

func TestTheBearerOfATokenGetsACertificateAndTheTokenIsBoundToItsKey(t *testing.T) {
	x := first()
	if v := judge(t, x); v.Refusal != nil || !v.Bind {
		t.Fatalf("%+v", v.Refusal)
	}
	r, _ := Read(x.spec)
	x.facts.Token.Data[identity.TokenPublicKey] = []byte(r.Fingerprint)
	if v := judge(t, x); v.Refusal != nil || v.Bind {
		t.Errorf("a retry with the same key: %+v", v)
	}
	x.spec.Request = encode(&x509.CertificateRequest{Subject: subjectOf(who)}, other)
	if v := judge(t, x); v.Refusal == nil || v.Refusal.Reason != ReasonTokenUsed {
		t.Errorf("another key: %+v", v)
	}
}

func TestAnAgentRenewsItsOwnCertificate(t *testing.T) {
	if v := judge(t, renewal()); v.Refusal != nil || v.Bind {
		t.Errorf("%+v", v)
	}
}

func TestWhoMayNotHaveWhatIsAskedForIsRefused(t *testing.T) {
	stolen := identity.Identity{Cluster: "hz-2", Enrolment: "abcd1234"}
	later := identity.Identity{Cluster: "hz-1", Enrolment: "efgh5678"}
	as := func(i identity.Identity) func(*trial) {
		return func(x *trial) { x.spec.Request = encode(&x509.CertificateRequest{Subject: subjectOf(i)}, p256) }
	}
	both := func(changes ...func(*trial)) func(*trial) {
		return func(x *trial) {
			for _, c := range changes {
				c(x)
			}
		}
	}
	clusterOf := func(i identity.Identity) func(*trial) {
		return func(x *trial) {
			x.facts.Cluster.Name, x.facts.Cluster.Spec.Tunnel.Enrolment = i.Cluster, i.Enrolment
		}
	}
	tokenSays := func(key, value string) func(*trial) {
		return func(x *trial) { x.facts.Token.Data[key] = []byte(value) }
	}
	user := func(name string, groups ...string) func(*trial) {
		return func(x *trial) { x.spec.Username, x.spec.Groups = name, groups }
	}
	for _, tt := range []struct {
		name   string
		from   func() trial
		spoil  func(*trial)
		reason string
	}{
		{"a token of another member", first, both(as(stolen), clusterOf(stolen)), ReasonTokenOfAnother},
		{"a token of another enrolment", first, both(as(later), clusterOf(later)), ReasonTokenOfAnother},
		{"an ordinary bootstrap token", first, func(x *trial) {
			delete(x.facts.Token.Data, identity.TokenCluster)
			delete(x.facts.Token.Data, identity.TokenEnrolment)
		}, ReasonTokenOfAnother},
		{"a bearer without the group", first, user("system:bootstrap:abcdef", "system:bootstrappers"), ReasonRequester},
		{"a token that is gone", first, func(x *trial) { x.facts.Token = nil }, ReasonTokenGone},
		{"a token that is being deleted", first, func(x *trial) { x.facts.Token.DeletionTimestamp = &metav1.Time{Time: now} }, ReasonTokenGone},
		{"another Secret", first, func(x *trial) { x.facts.Token.Name = "bootstrap-token-ghijkl" }, ReasonTokenGone},
		{"a Secret of another namespace", first, func(x *trial) { x.facts.Token.Namespace = "default" }, ReasonTokenGone},
		{"a Secret of another type", first, func(x *trial) { x.facts.Token.Type = corev1.SecretTypeOpaque }, ReasonTokenGone},
		{"a token with another ID", first, tokenSays("token-id", "ghijkl"), ReasonTokenGone},
		{"a token that is not for authentication", first, tokenSays("usage-bootstrap-authentication", "false"), ReasonTokenGone},
		{"an expired token", first, tokenSays("expiration", now.Add(-time.Second).Format(time.RFC3339)), ReasonTokenExpired},
		{"a token that expires now", first, tokenSays("expiration", now.Format(time.RFC3339)), ReasonTokenExpired},
		{"a token that expires who knows when", first, tokenSays("expiration", "soon"), ReasonTokenExpired},
		{"a used token", first, tokenSays(identity.TokenPublicKey, strings.Repeat("0", 64)), ReasonTokenUsed},
		{"a bearer of nothing", first, user("system:bootstrap:", identity.BootstrapGroup), ReasonRequester},
		{"no member of the name", first, func(x *trial) { x.facts.Cluster = nil }, ReasonMemberUnknown},
		{"a member that is reached directly", first, func(x *trial) { x.facts.Cluster.Spec.Tunnel = nil }, ReasonEnrolmentEnded},
		{"a revoked member", first, func(x *trial) { x.facts.Cluster.Spec.Tunnel.Enrolment = "" }, ReasonEnrolmentEnded},
		{"a changed enrolment", first, func(x *trial) { x.facts.Cluster.Spec.Tunnel.Enrolment = later.Enrolment }, ReasonEnrolmentEnded},
		{"a KubeFedCluster of another namespace", first, func(x *trial) { x.facts.Cluster.Namespace = wellknown.UnitsNamespace }, ReasonMemberUnknown},
		{"a renewal by another member's agent", renewal, user(stolen.CommonName(), identity.Organization), ReasonRequester},
		{"a renewal by a former enrolment's agent", renewal, user(later.CommonName(), identity.Organization), ReasonRequester},
		{"a renewal for another member", renewal, both(as(stolen), clusterOf(stolen)), ReasonRequester},
		{"a renewal by an administrator", renewal, user("cellfed-admin", "system:masters", identity.Organization), ReasonRequester},
		{"a renewal by a service account", renewal, user("system:serviceaccount:default:x", identity.Organization), ReasonRequester},
		{"a renewal by nobody", renewal, user("", identity.Organization), ReasonRequester},
		{"a renewal by a user of the same name", renewal, user(who.CommonName(), "system:authenticated"), ReasonRequester},
		{"a renewal of a revoked member", renewal, func(x *trial) { x.facts.Cluster.Spec.Tunnel = nil }, ReasonEnrolmentEnded},
		{"a renewal after joining anew", renewal, func(x *trial) { x.facts.Cluster.Spec.Tunnel.Enrolment = later.Enrolment }, ReasonEnrolmentEnded},
		{"a renewal of a member that left", renewal, func(x *trial) { x.facts.Cluster = nil }, ReasonMemberUnknown},
	} {
		x := tt.from()
		tt.spoil(&x)
		if v := judge(t, x); v.Refusal == nil || v.Refusal.Reason != tt.reason || v.Bind {
			t.Errorf("%s: %+v", tt.name, v.Refusal)
		}
	}
}

func TestACertificateHoldsTheIdentityAndNothingElse(t *testing.T) {
	authorityKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	authority := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, p256.Params().N)), Subject: pkix.Name{CommonName: "ca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	sign := func(seconds int32) *x509.Certificate {
		s := wanted()
		if seconds > 0 {
			s.ExpirationSeconds = &seconds
		}
		r, refusal := Read(s)
		if refusal != nil {
			t.Fatal(refusal)
		}
		template := must(Template(r, authority, now))
		template.SerialNumber = authority.SerialNumber
		return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, authority, r.PublicKey, authorityKey))))
	}
	c := sign(0)
	if i, err := identity.FromCertificate(c); err != nil || i != who {
		t.Errorf("%v, %v", i, err)
	}
	if c.IsCA || len(c.Subject.Names) != 2 || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || c.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("the certificate is %+v", c)
	}
	if !c.NotAfter.Equal(now.Add(DefaultDuration)) || !c.NotBefore.Equal(now.Add(-5*time.Minute)) {
		t.Errorf("it is good from %s to %s", c.NotBefore, c.NotAfter)
	}
	if c := sign(600); !c.NotAfter.Equal(now.Add(10 * time.Minute)) {
		t.Errorf("one for ten minutes ends %s", c.NotAfter)
	}
	if c := sign(30 * 24 * 3600); !c.NotAfter.Equal(authority.NotAfter) {
		t.Errorf("one for thirty days ends %s, after its authority", c.NotAfter)
	}
	r, _ := Read(wanted())
	for _, at := range []time.Time{authority.NotAfter, authority.NotBefore.Add(-time.Second)} {
		if _, err := Template(r, authority, at); err == nil {
			t.Errorf("an authority that is not good at %s signs", at)
		}
	}
}

func TestOnlyExpiredTokensOfAgentsAreSpent(t *testing.T) {
	past := []byte(now.Add(-time.Second).Format(time.RFC3339))
	for name, tt := range map[string]struct {
		change func(*corev1.Secret)
		want   bool
	}{
		"an expired one":               {func(s *corev1.Secret) { s.Data["expiration"] = past }, true},
		"one that is good":             {func(*corev1.Secret) {}, false},
		"one without an end":           {func(s *corev1.Secret) { delete(s.Data, "expiration") }, false},
		"an expired one of others":     {func(s *corev1.Secret) { s.Data["expiration"] = past; delete(s.Data, identity.TokenCluster) }, false},
		"an expired one of other type": {func(s *corev1.Secret) { s.Data["expiration"] = past; s.Type = corev1.SecretTypeOpaque }, false},
		"one in another namespace":     {func(s *corev1.Secret) { s.Data["expiration"] = past; s.Namespace = "default" }, false},
	} {
		s := token()
		tt.change(s)
		if Spent(s, now) != tt.want {
			t.Errorf("%s: %v", name, !tt.want)
		}
	}
}
