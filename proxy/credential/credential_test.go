package credential

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/identity"
)

const soon = 10 * time.Second

var who = identity.Identity{Cluster: "hz-1", Enrolment: "abcd1234"}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// authority signs whatever it is given.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	return authority{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)))), key}
}

func (a authority) sign(public any, subject pkix.Name, from time.Time, life time.Duration) []byte {
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<60))), Subject: subject, NotBefore: from, NotAfter: from.Add(life), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: must(x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key))})
}

// pair is a certificate of an agent with its key.
func (a authority) pair(i identity.Identity, from time.Time, life time.Duration) []byte {
	p := must(newPending(nil))
	key := must(p.signer())
	return append(a.sign(key.Public(), pkix.Name{CommonName: i.CommonName(), Organization: []string{identity.Organization}}, from, life), p.Key...)
}

// fakePlane answers requests for certificates, and keeps one Secret.
type fakePlane struct {
	*httptest.Server
	authority

	mu       sync.Mutex
	requests map[string]*signingRequest
	bearers  []string
	keys     map[string]bool // public keys that were asked for
	deny     string
	moved    string
	life     time.Duration
	secret   map[string][]byte
	version  int
}

func newFakePlane(t *testing.T) *fakePlane {
	t.Helper()
	p := &fakePlane{authority: newAuthority(), requests: map[string]*signingRequest{}, keys: map[string]bool{}, life: time.Hour, secret: map[string][]byte{}, version: 1}
	p.Server = httptest.NewTLSServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *fakePlane) roots() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	return pool, nil
}

func fail(w http.ResponseWriter, code int, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

func (p *fakePlane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bearers = append(p.bearers, r.Header.Get("Authorization"))
	if p.moved != "" {
		http.Redirect(w, r, p.moved+r.URL.Path, http.StatusTemporaryRedirect)
		return
	}
	if strings.Contains(r.URL.Path, "/secrets/") {
		p.serveSecret(w, r)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, requests+"/")
	if r.Method == http.MethodPost {
		made := &signingRequest{}
		if err := json.NewDecoder(r.Body).Decode(made); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		name = made.Metadata.Name
		if p.requests[name] != nil {
			fail(w, http.StatusConflict, "already exists")
			return
		}
		block, _ := pem.Decode(made.Spec.Request)
		csr := must(x509.ParseCertificateRequest(block.Bytes))
		p.keys[identity.Fingerprint(csr.RawSubjectPublicKeyInfo)] = true
		if p.deny != "" {
			must(0, json.Unmarshal([]byte(`{"conditions":[{"type":"Denied","status":"True","reason":"`+p.deny+`","message":"no"}]}`), &made.Status))
		} else {
			made.Status.Certificate = p.sign(csr.PublicKey, csr.Subject, time.Now().Add(-time.Second), p.life)
		}
		p.requests[name] = made
	}
	got := p.requests[name]
	if got == nil {
		fail(w, http.StatusNotFound, "not found")
		return
	}
	_ = json.NewEncoder(w).Encode(got)
}

func (p *fakePlane) serveSecret(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		var patch struct {
			Metadata meta               `json:"metadata"`
			Data     map[string]*[]byte `json:"data"`
		}
		body := must(io.ReadAll(r.Body))
		if err := json.Unmarshal(body, &patch); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		if v := patch.Metadata.ResourceVersion; v != "" && v != strconv.Itoa(p.version) {
			fail(w, http.StatusConflict, "changed")
			return
		}
		for key, value := range patch.Data {
			if value == nil {
				delete(p.secret, key)
			} else {
				p.secret[key] = *value
			}
		}
		p.version++
	}
	_ = json.NewEncoder(w).Encode(secret{Metadata: meta{ResourceVersion: strconv.Itoa(p.version)}, Data: p.secret})
}

func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *fakePlane) enroller(t *testing.T, store Store, token string) *Enroller {
	t.Helper()
	e, err := NewEnroller(Enrolling{
		Plane: p.URL, CA: p.roots, TokenFile: file(t, "token", []byte(token)), Identity: who, Store: store, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		MinPause: time.Millisecond, MaxPause: 10 * time.Millisecond, Poll: time.Millisecond, DeniedPause: 20 * time.Millisecond, Look: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func run(t *testing.T, e *Enroller) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func inSecret(t *testing.T, p *fakePlane) *Secret {
	t.Helper()
	return must(NewSecret("cellfed-agent/state", p.URL, p.roots, file(t, "account", []byte("account-token\n")), "test"))
}

func TestAgentsThatShareASecretShareACertificate(t *testing.T) {
	p := newFakePlane(t)
	var all []*Enroller
	for range 4 {
		e := p.enroller(t, inSecret(t, p), "abcdef.0123456789abcdef")
		run(t, e)
		all = append(all, e)
	}
	for _, e := range all {
		eventually(t, "each has a certificate", func() bool { c, _ := e.Current(); return c != nil })
	}
	first, _ := all[0].Current()
	for _, e := range all {
		if c, _ := e.Current(); !c.Leaf.Equal(first.Leaf) {
			t.Error("two have different certificates")
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.keys) != 1 {
		t.Errorf("%d keys were used with one token", len(p.keys))
	}
	if len(p.secret[pendingName]) > 0 {
		t.Error("the request is still kept")
	}
}

func TestACertificateThatEndedIsHadAgainWithTheTokenForTheSameKey(t *testing.T) {
	p := newFakePlane(t)
	old := p.pair(who, time.Now().Add(-2*time.Hour), time.Hour)
	dir := Dir(t.TempDir())
	if err := dir.Save(t.Context(), Kept{Data: map[string][]byte{pairName: old}}); err != nil {
		t.Fatal(err)
	}
	e := p.enroller(t, dir, "abcdef.0123456789abcdef")
	run(t, e)
	var c *tls.Certificate
	eventually(t, "there is a certificate", func() bool { c, _ = e.Current(); return c != nil })
	was := must(tls.X509KeyPair(old, old))
	if !bytes.Equal(was.Leaf.RawSubjectPublicKeyInfo, c.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("the token was used for another key")
	}
}

func TestACertificateOfAnotherEnrolmentIsNotShown(t *testing.T) {
	p := newFakePlane(t)
	former := p.pair(identity.Identity{Cluster: who.Cluster, Enrolment: "former12"}, time.Now(), time.Hour)
	dir := Dir(t.TempDir())
	if err := dir.Save(t.Context(), Kept{Data: map[string][]byte{pairName: former}}); err != nil {
		t.Fatal(err)
	}
	e := p.enroller(t, dir, "abcdef.0123456789abcdef")
	run(t, e)
	var c *tls.Certificate
	eventually(t, "there is a certificate", func() bool { c, _ = e.Current(); return c != nil })
	if got, err := identity.FromCertificate(c.Leaf); err != nil || got != who {
		t.Errorf("it is of %v, %v", got, err)
	}
}

func TestADenialIsAskedAboutLessAndLessOftenAndWithTheSameKey(t *testing.T) {
	p := newFakePlane(t)
	p.deny = "MemberUnknown"
	e := p.enroller(t, Dir(t.TempDir()), "abcdef.0123456789abcdef")
	run(t, e)
	time.Sleep(600 * time.Millisecond)
	p.mu.Lock()
	if n := len(p.requests); n < 2 || n > 12 || len(p.keys) != 1 {
		t.Errorf("%d requests were made for %d keys", n, len(p.keys))
	}
	p.deny = ""
	p.mu.Unlock()
	eventually(t, "there is a certificate when the plane thinks otherwise", func() bool { c, _ := e.Current(); return c != nil })
}

func TestARedirectionDoesNotGetTheToken(t *testing.T) {
	p, thief := newFakePlane(t), newFakePlane(t)
	p.moved = thief.URL
	e := p.enroller(t, Dir(t.TempDir()), "abcdef.0123456789abcdef")
	e.o.CA = func() (*x509.CertPool, error) {
		pool, _ := p.roots()
		pool.AddCert(thief.Certificate())
		return pool, nil
	}
	run(t, e)
	eventually(t, "it asks the plane", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.bearers) > 2 })
	thief.mu.Lock()
	defer thief.mu.Unlock()
	if len(thief.bearers) > 0 {
		t.Errorf("the other server was asked with %q", thief.bearers)
	}
}

func TestACertificateForAnotherIsNotTaken(t *testing.T) {
	p := newFakePlane(t)
	e := p.enroller(t, Dir(t.TempDir()), "x")
	pending := must(newPending(nil))
	s := state{pending: pending}
	key := must(pending.signer())
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	good := pkix.Name{CommonName: who.CommonName(), Organization: []string{identity.Organization}}
	for name, cert := range map[string][]byte{
		"of another key":    p.sign(&other.PublicKey, good, time.Now(), time.Hour),
		"of another member": p.sign(key.Public(), pkix.Name{CommonName: "cellfed:tunnel-agent:hz-2:abcd1234", Organization: []string{identity.Organization}}, time.Now(), time.Hour),
		"that has ended":    p.sign(key.Public(), good, time.Now().Add(-2*time.Hour), time.Hour),
		"that is none":      []byte("junk"),
	} {
		if _, err := e.accept(t.Context(), s, cert); err == nil {
			t.Errorf("one %s is taken", name)
		}
		if c, _ := e.Current(); c != nil {
			t.Fatalf("one %s is shown", name)
		}
	}
}

func TestRenewalIsAtSeventyToNinetyPercentOfTheLife(t *testing.T) {
	a := newAuthority()
	seen := map[time.Duration]bool{}
	for range 50 {
		data := a.pair(who, time.Now(), 1000*time.Hour)
		leaf := must(tls.X509KeyPair(data, data)).Leaf
		at := renewal(leaf).Sub(leaf.NotBefore)
		if at < 700*time.Hour || at > 900*time.Hour || renewal(leaf) != renewal(leaf) {
			t.Errorf("it is renewed after %s of 1000h", at)
		}
		seen[at] = true
	}
	if len(seen) < 25 {
		t.Errorf("of 50 certificates, %d moments", len(seen))
	}
}

func TestADirectoryKeepsForItsOwnerOnly(t *testing.T) {
	dir := Dir(filepath.Join(t.TempDir(), "a", "b"))
	want := Kept{Data: map[string][]byte{pairName: []byte("x"), pendingName: []byte("y")}}
	if err := dir.Save(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{string(dir), filepath.Join(string(dir), pairName), filepath.Join(string(dir), pendingName)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
	delete(want.Data, pendingName)
	if err := dir.Save(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	entries := must(os.ReadDir(string(dir)))
	got := must(dir.Load(t.Context()))
	if len(entries) != 1 || len(got.Data) != 1 || string(got.Data[pairName]) != "x" {
		t.Errorf("there are %v, and it reads %v", entries, got.Data)
	}
}

func TestASecretThatAnotherChangedIsAConflict(t *testing.T) {
	p := newFakePlane(t)
	s := inSecret(t, p)
	p.secret["other"] = []byte("kept")
	first := must(s.Load(t.Context()))
	second := must(s.Load(t.Context()))
	first.Data = map[string][]byte{pairName: []byte("x")}
	if err := s.Save(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), second); !errors.Is(err, ErrConflict) {
		t.Errorf("got %v", err)
	}
	got := must(s.Load(t.Context()))
	if string(got.Data[pairName]) != "x" || string(got.Data["other"]) != "kept" {
		t.Errorf("it holds %v", got.Data)
	}
	if p.bearers[0] != "Bearer account-token" {
		t.Errorf("it came with %q", p.bearers[0])
	}
}

func TestDamagedStateIsAsGoodAsNoneAndIsNotQuoted(t *testing.T) {
	s, err := understand(Kept{Data: map[string][]byte{pairName: []byte("junk"), pendingName: []byte(`{"request":"a","key":"very secret"}`)}})
	if err == nil || s.pair != nil || s.pending != nil || strings.Contains(err.Error(), "very secret") {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{`{`, `{"key":` + strconv.Quote(must(newPending(nil)).Key) + `}`} {
		if s, err := understand(Kept{Data: map[string][]byte{pendingName: []byte(bad)}}); err == nil || s.pending != nil {
			t.Errorf("%q is understood", bad)
		}
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	a, dir := newAuthority(), t.TempDir()
	put := func(data []byte) {
		for _, name := range []string{"tls.crt", "tls.key"} {
			if err := replace(filepath.Join(dir, name), data); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(a.pair(who, time.Now(), time.Hour))
	f, err := NewFiles(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.run(ctx, time.Millisecond); close(done) }()
	defer func() { cancel(); <-done }()
	first, changed := f.Current()
	time.Sleep(20 * time.Millisecond)
	if again, _ := f.Current(); again != first {
		t.Error("the same files are another certificate")
	}
	put([]byte("junk"))
	time.Sleep(20 * time.Millisecond)
	if again, _ := f.Current(); again != first {
		t.Error("what cannot be read took the place of what is good")
	}
	put(a.pair(who, time.Now(), time.Hour))
	select {
	case <-changed:
	case <-time.After(soon):
		t.Fatal("a new certificate is not noticed")
	}
	if _, err := NewFiles(filepath.Join(dir, "gone"), filepath.Join(dir, "tls.key"), nil); err == nil {
		t.Error("a file that is not there is no error")
	}
}

func TestATokenIsBroughtOnceAndAgainWhenItOrTheSecretChanges(t *testing.T) {
	p := newFakePlane(t)
	token := file(t, "token", []byte("one\n"))
	pair := p.pair(who, time.Now(), time.Hour)
	certificate := must(tls.X509KeyPair(pair, pair))
	d := NewDeliverer(Delivery{
		Plane: p.URL, CA: p.roots, Current: func() (*tls.Certificate, <-chan struct{}) { return &certificate, nil }, Namespace: "n", Name: "s", TokenFile: token,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	step := func() {
		t.Helper()
		if err := d.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	asked := func() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.bearers) }
	step()
	if string(p.secret["token"]) != "one" {
		t.Errorf("the Secret has %q", p.secret["token"])
	}
	n := asked()
	step()
	if asked() != n {
		t.Error("the plane is asked though nothing changed")
	}
	if err := os.WriteFile(token, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	step()
	if string(p.secret["token"]) != "two" {
		t.Errorf("the Secret has %q", p.secret["token"])
	}
	version := p.version
	d.delivered = nil // as after a restart
	step()
	if p.version != version {
		t.Error("a Secret that is as it should be is written")
	}
	p.secret["token"] = []byte("forged")
	d.compared = time.Now().Add(-time.Hour)
	step()
	if string(p.secret["token"]) != "two" {
		t.Errorf("the Secret has %q", p.secret["token"])
	}
	if err := os.WriteFile(token, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.step(t.Context()); err == nil || string(p.secret["token"]) != "two" {
		t.Errorf("an empty file is brought, %v", err)
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	for _, o := range []Enrolling{
		{Plane: "http://x", Identity: who}, {Plane: "https://x"}, {Plane: "https://x", Identity: identity.Identity{Cluster: "A", Enrolment: "abcd1234"}},
	} {
		if _, err := NewEnroller(o); err == nil {
			t.Errorf("%+v is taken", o.Identity)
		}
	}
	for _, r := range []string{"", "a", "/a", "a/", "a/b/c", "a/b?c", "a#/b"} {
		if _, _, err := SplitReference(r); err == nil {
			t.Errorf("%q is taken", r)
		}
	}
}
