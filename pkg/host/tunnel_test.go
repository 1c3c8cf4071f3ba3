package host

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/identity"
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

func TestAServerOfTunnelsGetsCertificatesAndNoKeyOfAnAuthority(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	out := filepath.Join(t.TempDir(), "proxy-1")
	issue := func(now time.Time, ips []net.IP, names ...string) {
		t.Helper()
		if err := IssueProxyServer(d.Path(), out, "https://plane.example:6443", ips, names, now); err != nil {
			t.Fatal(err)
		}
	}
	issue(start, local, "proxy-1.example")
	files := ProxyServerFilesIn(out)
	cert := verify(t, files.Cert, k.ServingCA, x509.ExtKeyUsageServerAuth, start)
	if cert.VerifyHostname("proxy-1.example") != nil || cert.VerifyHostname("127.0.0.1") != nil || cert.VerifyHostname("plane.example") == nil {
		t.Errorf("it is for %v and %v", cert.DNSNames, cert.IPAddresses)
	}
	client := verify(t, filepath.Join(out, "client.crt"), k.ClientCA, x509.ExtKeyUsageClientAuth, start)
	if groups := client.Subject.Organization; len(groups) != 1 || groups[0] != identity.ServerOrganization {
		t.Errorf("it comes to the plane as one of %v", groups)
	}
	secrets := [][]byte{}
	for _, path := range []string{filepath.Join(d.Path(), "pki", "serving-ca.key"), k.ClientCAKey, k.TunnelCAKey, k.ServingKey, k.AdminKey} {
		secret, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	read := func() map[string]string {
		t.Helper()
		found := map[string]string{}
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(out, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			found[e.Name()] = string(data)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", e.Name(), info.Mode())
			}
			for _, secret := range secrets {
				if strings.Contains(string(data), string(secret)) || strings.Contains(string(data), base64.StdEncoding.EncodeToString(secret)) {
					t.Errorf("%s has a key of the plane", e.Name())
				}
			}
		}
		return found
	}
	before := read()
	if len(before) != 7 {
		t.Errorf("it has %d files", len(before))
	}
	issue(start.Add(time.Hour), local, "proxy-1.example")
	if c := changed(before, read()); len(c) != 0 {
		t.Errorf("the same once more changed %v", c)
	}
	issue(start.Add(time.Hour), local, "proxy-1.example", "proxy.example")
	if c := changed(before, read()); len(c) != 1 || c[0] != "serving.crt" {
		t.Errorf("another name changed %v", c)
	}
	issue(start.Add(leafLifetime-leafRenewal+time.Hour), local, "proxy-1.example")
	if c := changed(before, read()); len(c) != 2 {
		t.Errorf("their end changed %v", c)
	}
}

func TestOnlyAPlanesOwnServerIssuesForServersOfTunnels(t *testing.T) {
	empty := t.TempDir()
	err := IssueProxyServer(empty, filepath.Join(t.TempDir(), "x"), "https://plane.example", local, nil, start)
	if err == nil || !strings.Contains(err.Error(), "start a server with that data directory once") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(empty); len(left) > 0 {
		t.Errorf("it made %v there", left)
	}
}

func TestAProxyServersDirectoryIsNotThePlanes(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(d.Path(), link); err != nil {
		t.Fatal(err)
	}
	before := contents(t, d)
	for _, out := range []string{d.Path(), filepath.Join(d.Path(), "pki"), filepath.Join(d.Path(), "a", "b"), filepath.Join(link, "pki"), link} {
		if err := IssueProxyServer(d.Path(), out, "https://plane.example", local, nil, start); err == nil || !strings.Contains(err.Error(), "take another directory") {
			t.Errorf("%s: %v", out, err)
		}
	}
	if c := changed(before, contents(t, d)); len(c) != 0 {
		t.Errorf("%v were changed", c)
	}
	if err := IssueProxyServer(d.Path(), d.Path()+"-proxy", "https://plane.example", local, nil, start); err != nil {
		t.Error(err)
	}
}
