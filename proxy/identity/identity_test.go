package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"
)

func TestACommonNameSaysWhoItWasMadeFor(t *testing.T) {
	for _, i := range []Identity{{"hz-1", "abcd1234"}, {"a.b-c.example", strings.Repeat("z", 40)}, {strings.Repeat("a", 63), "00000000"}} {
		if back, err := Parse(i.CommonName()); err != nil || back != i {
			t.Errorf("%s: %+v, %v", i.CommonName(), back, err)
		}
	}
}

func TestOtherCommonNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "hz-1", "system:masters", "system:node:hz-1", "cellfed:tunnel-agent:", "cellfed:tunnel-agent:hz-1", "cellfed:tunnel-agent:hz-1:",
		"cellfed:tunnel-agent::abcd1234", "cellfed:tunnel-agent:hz-1:abcd1234:x", "cellfed:tunnel-agent:hz-1:short", "cellfed:tunnel-agent:HZ-1:abcd1234",
		"cellfed:tunnel-agent:*:abcd1234", "cellfed:tunnel-agent:hz-1:ABCD1234", " cellfed:tunnel-agent:hz-1:abcd1234", "cellfed:tunnel-agent:hz-1:abcd1234\n",
		"cellfed:tunnel-agent:../x:abcd1234",
	} {
		if i, err := Parse(name); err == nil {
			t.Errorf("%q is taken for %+v", name, i)
		}
	}
}

func TestACertificateOfAnotherShapeIsNoAgents(t *testing.T) {
	good := func() *x509.Certificate {
		return &x509.Certificate{
			Subject:     pkix.Name{CommonName: Identity{"hz-1", "abcd1234"}.CommonName(), Organization: []string{Organization}},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
	}
	if i, err := FromCertificate(good()); err != nil || i != (Identity{"hz-1", "abcd1234"}) {
		t.Fatalf("%+v, %v", i, err)
	}
	for name, spoil := range map[string]func(*x509.Certificate){
		"another organization": func(c *x509.Certificate) { c.Subject.Organization = []string{"system:masters"} },
		"two organizations":    func(c *x509.Certificate) { c.Subject.Organization = append(c.Subject.Organization, "system:masters") },
		"no organization":      func(c *x509.Certificate) { c.Subject.Organization = nil },
		"a DNS name":           func(c *x509.Certificate) { c.DNSNames = []string{"*"} },
		"a URI":                func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe"}} },
		"another usage":        func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
	} {
		c := good()
		spoil(c)
		if i, err := FromCertificate(c); err == nil {
			t.Errorf("a certificate with %s is taken for %+v", name, i)
		}
	}
}
