package server_test

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
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cellfed/cellfed/webhooks/conversion"
	"github.com/cellfed/cellfed/webhooks/server"
)

// certificate writes a self-signed certificate for 127.0.0.1 into dir, and returns it as its own authority.
func certificate(t *testing.T, dir string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "webhooks"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

func options(dir string) server.Options {
	return server.Options{
		Address: "127.0.0.1:0", CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"),
		GracePeriod: 5 * time.Second,
	}
}

// start serves mux until the test ends, or until stop is called, which returns what Serve returned.
func start(t *testing.T, opts server.Options, mux *http.ServeMux) (url string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := server.Listen(ctx, opts, mux)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	stop = func() error {
		cancel()
		err, open := <-ended
		if open {
			close(ended)
		}
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return "https://" + s.Address(), stop
}

func client(pool *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true},
	}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	response, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestAReviewIsAnsweredOverHTTPS(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir, 1)
	mux := http.NewServeMux()
	mux.Handle(conversion.Path, conversion.Handler())
	url, stop := start(t, options(dir), mux)

	review := &apiextensionsv1.ConversionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "ConversionReview"},
		Request: &apiextensionsv1.ConversionRequest{UID: "u", DesiredAPIVersion: "types.kubefed.io/v2beta1", Objects: []runtime.RawExtension{{
			Raw: []byte(`{"apiVersion":"types.kubefed.io/v1beta1","metadata":{"namespace":"acme"},"spec":{"topologyType":"cell","placement":{"clusters":[{"name":"a.acme.cell"}]}}}`),
		}}},
	}
	body, err := json.Marshal(review)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client(pool).Post(url+conversion.Path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer := &apiextensionsv1.ConversionReview{}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
	if answer.Response == nil || answer.Response.UID != "u" || answer.Response.Result.Status != metav1.StatusSuccess ||
		len(answer.Response.ConvertedObjects) != 1 || !bytes.Contains(answer.Response.ConvertedObjects[0].Raw, []byte(`"topologies":[{"name":"a"}]`)) {
		t.Errorf("the answer is %+v", answer.Response)
	}
	if code, text := get(t, client(pool), url+"/healthz"); code != http.StatusOK || text != "ok" {
		t.Errorf("/healthz answers %d %q", code, text)
	}
	if code, _ := get(t, client(pool), url+"/elsewhere"); code != http.StatusNotFound {
		t.Errorf("a path of nobody answers %d", code)
	}
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestAStrangersCertificateIsNotTrusted(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, 1)
	url, _ := start(t, options(dir), http.NewServeMux())
	response, err := client(certificate(t, t.TempDir(), 1)).Get(url + "/healthz")
	if err == nil {
		_ = response.Body.Close()
		t.Fatal("a client that trusts another authority got an answer")
	}
}

func TestANewCertificateIsServedWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	oldPool := certificate(t, dir, 1)
	url, _ := start(t, options(dir), http.NewServeMux())
	get(t, client(oldPool), url+"/healthz")

	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	get(t, client(oldPool), url+"/healthz") // the last good one serves meanwhile

	newPool := certificate(t, dir, 2)
	later := time.Now().Add(time.Minute) // file times may be coarser than this test is quick
	if err := os.Chtimes(filepath.Join(dir, "tls.crt"), later, later); err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, client(newPool), url+"/healthz"); code != http.StatusOK {
		t.Errorf("it answers %d", code)
	}
}

func TestARunningRequestIsAnsweredBeforeTheEnd(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir, 1)
	arrived, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = w.Write([]byte("done"))
	})
	url, stop := start(t, options(dir), mux)
	answers := make(chan string, 1)
	go func() {
		response, err := client(pool).Get(url + "/slow")
		if err != nil {
			answers <- err.Error()
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		answers <- string(body)
	}()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("it ended with a request running: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	if answer := <-answers; answer != "done" {
		t.Errorf("the request got %q", answer)
	}
	if err := <-stopped; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestARequestThatNeverEndsHoldsTheEndUpOnlyForTheGracePeriod(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir, 1)
	arrived, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	mux := http.NewServeMux()
	mux.HandleFunc("/never", func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	})
	opts := options(dir)
	opts.GracePeriod = 50 * time.Millisecond
	url, stop := start(t, opts, mux)
	go func() {
		if response, err := client(pool).Get(url + "/never"); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-arrived
	if err := stop(); err == nil || !strings.Contains(err.Error(), "ending the webhook server") {
		t.Errorf("it ended with %v", err)
	}
}

func TestListeningFailsAtOnceWhen(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, 1)
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for name, tc := range map[string]struct {
		change func(*server.Options)
		want   string
	}{
		"the port is taken":         {func(o *server.Options) { o.Address = taken.Addr().String() }, "address already in use"},
		"there is no certificate":   {func(o *server.Options) { o.CertFile = filepath.Join(dir, "none") }, "no such file"},
		"the key is no key":         {func(o *server.Options) { o.KeyFile = o.CertFile }, "reading the certificate"},
		"the address is no address": {func(o *server.Options) { o.Address = "nowhere" }, "listening for webhooks"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(dir)
			tc.change(&opts)
			_, err := server.Listen(t.Context(), opts, http.NewServeMux())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}
