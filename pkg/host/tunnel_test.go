package host

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
)

// former makes a data directory what a version before tunnels left.
func formerKeys(t *testing.T, d *Dir) {
	t.Helper()
	keys(t, d, start, local)
	for _, name := range []string{tunnelCACert, tunnelCAKey, "client-cas.crt"} {
		if err := os.Remove(d.file(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADataDirectoryOfAFormerVersionGetsAnAuthorityForAgents(t *testing.T) {
	d := open(t)
	formerKeys(t, d)
	before := contents(t, d)
	k := keys(t, d, start, local)
	verify(t, k.TunnelCA, k.TunnelCA, x509.ExtKeyUsageAny, start)
	for _, name := range changed(before, contents(t, d)) {
		if name != tunnelCACert && name != tunnelCAKey && name != "client-cas.crt" {
			t.Errorf("%s was changed as well", name)
		}
	}
}

func TestTheAPIServerTrustsBothAuthoritiesAndFollowsTheirRenewal(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	for _, at := range []int{0, 1} {
		if at == 1 {
			k = keys(t, d, start.Add(caLifetime-caRenewal+1), local)
		}
		data, err := os.ReadFile(k.ClientCAs)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{k.ClientCA, k.TunnelCA} {
			cert, err := certificate(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))) {
				t.Errorf("after %d renewals %s is not among those that the API server trusts", at, path)
			}
		}
	}
}

func TestAnAgentsAuthorityIsNoOtherAuthority(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	prints := sharedOf(t, k)
	if prints["tunnel-ca"] == "" || prints["tunnel-ca"] == prints["client-ca"] {
		t.Errorf("fingerprints are %v", prints)
	}
	admin, err := certificate(k.AdminCert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Verify(x509.VerifyOptions{Roots: pool(t, k.TunnelCA), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: start}); err == nil {
		t.Error("whoever signs agents' certificates signed the administrator's")
	}
}

func TestAServerThatMadeAnAuthorityForAgentsByItselfTakesThePlanes(t *testing.T) {
	a, b := open(t), open(t)
	formerKeys(t, a)
	if err := importInto(b, export(t, a)); err != nil { // an export without the authority, as a former version makes it
		t.Fatal(err)
	}
	first, second := keys(t, a, start, local), keys(t, b, start, local)
	if sharedOf(t, first)["tunnel-ca"] == sharedOf(t, second)["tunnel-ca"] {
		t.Fatal("two servers made the same authority")
	}
	own := contents(t, b)
	if err := importInto(b, export(t, a)); err != nil {
		t.Fatal(err)
	}
	second = keys(t, b, start, local)
	if differ := changed(sharedOf(t, first), sharedOf(t, second)); len(differ) != 0 {
		t.Errorf("these differ: %v", differ)
	}
	if contents(t, b)[tunnelCAKey+replaced] != own[tunnelCAKey] {
		t.Error("the key that made room is gone")
	}
}

func TestHalfAnAuthorityIsNotImported(t *testing.T) {
	a, b := open(t), open(t)
	keys(t, a, start, local)
	if err := os.Remove(a.file(tunnelCAKey)); err != nil {
		t.Fatal(err)
	}
	if err := importInto(b, export(t, a)); err == nil || !strings.Contains(err.Error(), "lacks the other") {
		t.Errorf("got %v", err)
	}
}
