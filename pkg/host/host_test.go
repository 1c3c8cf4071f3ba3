package host

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	local = []net.IP{net.IPv4(127, 0, 0, 1)}
	names = []string{"localhost"}
)

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := OpenDir(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func keys(t *testing.T, d *Dir, now time.Time, ips []net.IP) Keys {
	t.Helper()
	k, err := d.Keys(now, ips, names)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// contents are all files below a directory, but for the empty one that is there to be locked.
func contents(t *testing.T, d *Dir) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(d.Path(), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "encryption.lock" {
			return err
		}
		data, err := os.ReadFile(path)
		files[filepath.Base(path)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// changed are the names of files that differ, or are in one only.
func changed(a, b map[string]string) []string {
	var names []string
	for name := range a {
		if a[name] != b[name] {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, there := a[name]; !there {
			names = append(names, name)
		}
	}
	return names
}

func verify(t *testing.T, certPath, caPath string, usage x509.ExtKeyUsage, at time.Time) *x509.Certificate {
	t.Helper()
	cert, err := certificate(certPath)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := certificate(caPath)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at}); err != nil {
		t.Errorf("%s does not hold: %v", certPath, err)
	}
	return cert
}

func TestKeysAreMadeForTheirPurpose(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	serving := verify(t, k.ServingCert, k.ServingCA, x509.ExtKeyUsageServerAuth, start)
	if serving.VerifyHostname("127.0.0.1") != nil || serving.VerifyHostname("localhost") != nil {
		t.Errorf("the serving certificate is for %v %v", serving.IPAddresses, serving.DNSNames)
	}
	admin := verify(t, k.AdminCert, k.ClientCA, x509.ExtKeyUsageClientAuth, start)
	if len(admin.Subject.Organization) != 1 || admin.Subject.Organization[0] != "system:masters" {
		t.Errorf("the administrator is of %v", admin.Subject.Organization)
	}
	if _, err := admin.Verify(x509.VerifyOptions{Roots: pool(t, k.ServingCA), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: start}); err == nil {
		t.Error("whoever signs serving certificates can make administrators")
	}
}

func pool(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	ca, err := certificate(path)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AddCert(ca)
	return p
}

func TestNobodyElseMayReadAnything(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	if err := d.WriteKubeconfig("https://127.0.0.1:1", k); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(d.Path(), func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeysAreUsedAgain(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	before := contents(t, d)
	keys(t, d, start.Add(leafLifetime-leafRenewal-time.Hour), local)
	if c := changed(before, contents(t, d)); len(c) != 0 {
		t.Errorf("a second start changed %v", c)
	}
}

func TestOnlyWhatNearsItsEndIsRenewed(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	before := contents(t, d)
	later := start.Add(leafLifetime - leafRenewal + time.Hour)
	k := keys(t, d, later, local)
	for _, name := range changed(before, contents(t, d)) {
		if name != "serving.crt" && name != "admin.crt" && name != "tunnel-client.crt" {
			t.Errorf("%s was changed as well", name)
		}
	}
	if cert := verify(t, k.ServingCert, k.ServingCA, x509.ExtKeyUsageServerAuth, later); !cert.NotAfter.After(later.Add(leafRenewal)) {
		t.Errorf("the serving certificate ends %v", cert.NotAfter)
	}
}

func TestARenewedAuthorityStillVouchesForWhatItSigned(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	old := contents(t, d)
	later := start.Add(caLifetime - caRenewal + time.Hour)
	// A client holds a certificate that was signed the day before.
	keys(t, d, later.Add(-24*time.Hour), local)
	signed := filepath.Join(t.TempDir(), "admin.crt")
	data, err := os.ReadFile(k.AdminCert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(signed, data, 0o600); err != nil {
		t.Fatal(err)
	}
	keys(t, d, later, local)
	if contents(t, d)["client-ca.crt"] == old["client-ca.crt"] {
		t.Fatal("the authority was not renewed")
	}
	verify(t, signed, k.ClientCA, x509.ExtKeyUsageClientAuth, later)
}

func TestANewAddressGetsANewServingCertificateOnly(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	before := contents(t, d)
	k := keys(t, d, start, append(local, net.IPv4(192, 0, 2, 7)))
	if c := changed(before, contents(t, d)); len(c) != 1 || c[0] != "serving.crt" {
		t.Errorf("changed were %v", c)
	}
	if cert := verify(t, k.ServingCert, k.ServingCA, x509.ExtKeyUsageServerAuth, start); cert.VerifyHostname("192.0.2.7") != nil {
		t.Errorf("the certificate is for %v", cert.IPAddresses)
	}
}

func TestADamagedKeyIsAnErrorAndNotReplaced(t *testing.T) {
	for _, name := range []string{"serving-ca.key", "client-ca.key", "serving.key", "admin.key", "service-account.key", "serving-ca.crt", "admin.crt"} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			keys(t, d, start, local)
			if err := os.WriteFile(d.file(name), []byte("junk"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Keys(start, local, names); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("the error is %v", err)
			}
			if contents(t, d)[name] != "junk" {
				t.Error("it was replaced")
			}
		})
	}
}

func TestTheEncryptionKeyIs(t *testing.T) {
	t.Run("new and long in every plane", func(t *testing.T) {
		seen := map[string]bool{}
		for range 3 {
			d := open(t)
			keys(t, d, start, local)
			_, rest, _ := strings.Cut(contents(t, d)["encryption.yaml"], "secret: ")
			secret, _, _ := strings.Cut(rest, "\n")
			raw, err := base64.StdEncoding.DecodeString(secret)
			if err != nil || len(raw) != 32 || seen[secret] {
				t.Errorf("the key is %q: %v", secret, err)
			}
			seen[secret] = true
		}
	})
	t.Run("not made anew for a database that is there", func(t *testing.T) {
		d := open(t)
		k := keys(t, d, start, local)
		if err := os.WriteFile(d.Database(), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(k.Encryption); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Keys(start, local, names); err == nil || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestADataDirectoryIsRefusedWhen(t *testing.T) {
	t.Run("another holds it", func(t *testing.T) {
		d := open(t)
		if _, err := OpenDir(d.Path()); !errors.Is(err, ErrInUse) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("a file stands in its place", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDir(path); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestADataDirectoryCanBeTakenAgainAfterClose(t *testing.T) {
	path := t.TempDir()
	for range 2 {
		d, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheKubeconfigStandsOnItsOwn(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	if err := d.WriteKubeconfig("https://127.0.0.1:7", k); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", d.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:7" || len(config.CAData) == 0 || len(config.CertData) == 0 || len(config.KeyData) == 0 {
		t.Errorf("the kubeconfig gives %+v", config)
	}
}

func TestAPlaneIsReachedAt(t *testing.T) {
	for bind, want := range map[string]string{"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "192.0.2.1": "192.0.2.1"} {
		if got := DialHost(net.ParseIP(bind)); got != want {
			t.Errorf("bound to %s it is dialled at %s", bind, got)
		}
	}
}

func TestAQuietLogHas(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		kept bool
	}{
		"no information of libraries":            {`I0101 00:00:00.0 1 x.go:1] "Starting"` + "\n", false},
		"its own information":                    {`I0101 00:00:00.0 1 x.go:1] "Ready" logger="cellfed"` + "\n", true},
		"the information of its parts":           {`I0101 00:00:00.0 1 x.go:1] "Ready" logger="cellfed.unit"` + "\n", true},
		"the warnings of libraries":              {"W0101 00:00:00.0 1 x.go:1] watch out\n", true},
		"the errors of libraries":                {"E0101 00:00:00.0 1 x.go:1] it broke\n", true},
		"no warnings of each attempt to connect": {"W0101 00:00:00.0 1 x.go:1] grpc: addrConn.createTransport failed to connect to {}\n", false},
		"no warnings that come with each start":  {"W0101 00:00:00.0 1 x.go:1] Skipping API a/v1 because it has no resources.\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if n, err := (&quiet{Writer: &out}).Write([]byte(tc.line)); n != len(tc.line) || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			if kept := out.Len() > 0; kept != tc.kept {
				t.Errorf("kept = %v, want %v", kept, tc.kept)
			}
		})
	}
}

func TestAQuietLogEndsWithItsOwnWords(t *testing.T) {
	var out bytes.Buffer
	q := &quiet{Writer: &out}
	q.ending.Store(true)
	for _, line := range []string{
		"E0101 00:00:00.0 1 x.go:1] connection refused\n",
		`E0101 00:00:00.0 1 request.go:1] "Unexpected error when reading response body" err="context canceled" logger="cellfed"` + "\n",
		`I0101 00:00:00.0 1 x.go:1] "Stopping" logger="cellfed"` + "\n",
	} {
		if _, err := q.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(out.String(), "I0101") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("it wrote %s", out.String())
	}
}

func TestSocketsOfAKilledProcessAreClearedAway(t *testing.T) {
	dir, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	sockets, err := dir.Sockets()
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(sockets, "left-behind")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := dir.Sockets()
	if err != nil || again != sockets {
		t.Fatalf("%s, %v; want %s", again, err, sockets)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left behind is still there: %v", err)
	}
}
