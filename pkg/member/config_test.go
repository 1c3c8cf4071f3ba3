package member_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/member"
)

const secretWord = "hush-hush-0815"

// certificate makes a self-signed one.
func certificate(t *testing.T, host string, from, to time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})
}

func cluster(change func(*corev1beta1.KubeFedClusterSpec)) *corev1beta1.KubeFedCluster {
	c := &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Name: "hz-1"}}
	c.Spec.APIEndpoint = "https://hz-1.example.org:6443"
	c.Spec.SecretRef.Name = "hz-1"
	if change != nil {
		change(&c.Spec)
	}
	return c
}

func secret(pairs ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "hz-1"}, Data: map[string][]byte{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Data[pairs[i]] = []byte(pairs[i+1])
	}
	return s
}

func kubeconfig(clusterLines, userLines string) string {
	indent := func(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: c, user: u}}]
clusters:
- name: c
  cluster:
%s
users:
- name: u
  user:
%s
`, indent(clusterLines), indent(userLines))
}

func TestConfigForReads(t *testing.T) {
	now := time.Now()
	cert, key := certificate(t, "client", now.Add(-time.Hour), now.Add(time.Hour))
	ca, _ := certificate(t, "ca", now.Add(-time.Hour), now.Add(time.Hour))
	b64 := base64.StdEncoding.EncodeToString
	token := secret("token", secretWord+"\n")
	for name, c := range map[string]struct {
		spec   func(*corev1beta1.KubeFedClusterSpec)
		secret *corev1.Secret
		check  func(member.Config) bool
	}{
		"a token, without the line end that base64 on a command line leaves": {nil, token, func(c member.Config) bool {
			return c.REST.BearerToken == secretWord && c.REST.Host == "https://hz-1.example.org:6443"
		}},
		"a CA bundle": {func(s *corev1beta1.KubeFedClusterSpec) { s.CABundle = ca }, token, func(c member.Config) bool {
			return string(c.REST.CAData) == string(ca)
		}},
		"a bare host as https": {func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "hz-1" }, token, func(c member.Config) bool {
			return c.REST.Host == "https://hz-1"
		}},
		"host and port as https": {func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "10.0.0.1:6443" }, token, func(c member.Config) bool {
			return c.REST.Host == "https://10.0.0.1:6443"
		}},
		"a URL with a path": {func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "https://gw/clusters/hz-1/" }, token, func(c member.Config) bool {
			return c.REST.Host == "https://gw/clusters/hz-1"
		}},
		"a proxy": {func(s *corev1beta1.KubeFedClusterSpec) { s.ProxyURL = "socks5://jump:1080" }, token, func(c member.Config) bool {
			return c.ProxyURL.String() == "socks5://jump:1080"
		}},
		"a tunnel": {func(s *corev1beta1.KubeFedClusterSpec) { s.Tunnel = &corev1beta1.ClusterTunnel{} }, token, func(c member.Config) bool {
			return c.Tunnel && c.ProxyURL == nil
		}},
		"a tunnel, and the authority that the agent brought": {func(s *corev1beta1.KubeFedClusterSpec) { s.Tunnel = &corev1beta1.ClusterTunnel{} },
			secret("token", secretWord, "ca.crt", string(ca)), func(c member.Config) bool { return string(c.REST.CAData) == string(ca) }},
		"no tunnel, and an authority in the secret": {nil, secret("token", secretWord, "ca.crt", string(ca)), func(c member.Config) bool { return c.REST.CAData == nil }},
		"a client certificate": {nil, secret("tls.crt", string(cert), "tls.key", string(key)), func(c member.Config) bool {
			return string(c.REST.CertData) == string(cert) && string(c.REST.KeyData) == string(key) && c.REST.BearerToken == ""
		}},
		"a kubeconfig, whose endpoint spec.apiEndpoint overrides": {nil, secret("kubeconfig", kubeconfig(
			"server: https://elsewhere:1\ncertificate-authority-data: "+b64(ca), "token: "+secretWord)), func(c member.Config) bool {
			return c.REST.Host == "https://hz-1.example.org:6443" && c.REST.BearerToken == secretWord && string(c.REST.CAData) == string(ca)
		}},
		"a kubeconfig alone": {func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "" }, secret("kubeconfig", kubeconfig(
			"server: https://elsewhere:1\nproxy-url: http://p:3128\ntls-server-name: inside", "client-certificate-data: "+b64(cert)+"\nclient-key-data: "+b64(key))),
			func(c member.Config) bool {
				return c.REST.Host == "https://elsewhere:1" && c.ProxyURL.String() == "http://p:3128" && c.REST.ServerName == "inside" && string(c.REST.CertData) == string(cert)
			}},
		"all TLS checks switched off": {func(s *corev1beta1.KubeFedClusterSpec) {
			s.CABundle, s.DisabledTLSValidations = ca, []kubefedv1beta1.TLSValidation{"*"}
		}, token, func(c member.Config) bool { return c.REST.Insecure && c.REST.CAData == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := member.ConfigFor(cluster(c.spec), c.secret)
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(got) {
				t.Fatalf("got %+v, proxy %v", got.REST, got.ProxyURL)
			}
		})
	}
}

func TestConfigForRefuses(t *testing.T) {
	now := time.Now()
	cert, key := certificate(t, "client", now.Add(-time.Hour), now.Add(time.Hour))
	_, otherKey := certificate(t, "client", now.Add(-time.Hour), now.Add(time.Hour))
	token := secret("token", secretWord)
	server := "server: https://elsewhere:1"
	spec := func(change func(*corev1beta1.KubeFedClusterSpec)) func(*corev1beta1.KubeFedClusterSpec) {
		return change
	}
	for name, c := range map[string]struct {
		spec   func(*corev1beta1.KubeFedClusterSpec)
		secret *corev1.Secret
		says   string
	}{
		"a missing secret":                          {nil, nil, "the secret hz-1 is not there"},
		"no name of a secret":                       {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.SecretRef.Name = "" }), token, "spec.secretRef.name"},
		"a secret without a key":                    {nil, secret("password", secretWord), "holds no credentials"},
		"an empty token":                            {nil, secret("token", "\n"), "holds no credentials"},
		"a token with a line end":                   {nil, secret("token", secretWord+"\nX-Header: y"), "no bearer token"},
		"two kinds of credentials":                  {nil, secret("token", secretWord, "tls.crt", string(cert), "tls.key", string(key)), "more than one kind"},
		"another certificate's key":                 {nil, secret("tls.crt", string(cert), "tls.key", string(otherKey)), "no pair"},
		"a certificate without a key":               {nil, secret("tls.crt", string(cert)), "no pair"},
		"no endpoint":                               {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "" }), token, "spec.apiEndpoint is empty"},
		"an endpoint with a bad port":               {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "hz:70000" }), token, `"70000" is no port`},
		"an endpoint with a scheme that is no HTTP": {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "ftp://hz" }), token, `"ftp"`},
		"an endpoint with credentials":              {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "https://u:" + secretWord + "@hz" }), token, "credentials"},
		"an endpoint that is no URL":                {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "https://u:" + secretWord + "@hz:x y" }), token, "no host"},
		"a CA bundle that holds no certificate":     {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.CABundle = []byte("x") }), token, "spec.caBundle"},
		"a proxy of another kind":                   {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.ProxyURL = "ssh://x" }), token, `"ssh"`},
		"a proxy that is no URL":                    {spec(func(s *corev1beta1.KubeFedClusterSpec) { s.ProxyURL = "http://u:" + secretWord + "@h:x" }), token, "spec.proxyURL"},
		"a tunnel and a proxy": {spec(func(s *corev1beta1.KubeFedClusterSpec) {
			s.ProxyURL, s.Tunnel = "http://p", &corev1beta1.ClusterTunnel{}
		}), token, "exclude each other"},
		"* beside others": {spec(func(s *corev1beta1.KubeFedClusterSpec) {
			s.DisabledTLSValidations = []kubefedv1beta1.TLSValidation{"*", "SubjectName"}
		}), token, "must be alone"},
		"an unknown TLS validation": {spec(func(s *corev1beta1.KubeFedClusterSpec) {
			s.DisabledTLSValidations = []kubefedv1beta1.TLSValidation{"Colour"}
		}), token, `"Colour"`},
		"a kubeconfig that is none":                     {nil, secret("kubeconfig", "token: ["+secretWord), "no kubeconfig"},
		"a kubeconfig without its context":              {nil, secret("kubeconfig", "apiVersion: v1\nkind: Config\ncurrent-context: gone"), `no context "gone"`},
		"a kubeconfig that runs a program":              {nil, secret("kubeconfig", kubeconfig(server, "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}")), "exec plug-in"},
		"a kubeconfig with an auth provider":            {nil, secret("kubeconfig", kubeconfig(server, "auth-provider: {name: gcp}")), "auth-provider"},
		"a kubeconfig that reads a token file":          {nil, secret("kubeconfig", kubeconfig(server, "tokenFile: /etc/passwd")), "tokenFile"},
		"a kubeconfig that reads a certificate file":    {nil, secret("kubeconfig", kubeconfig(server, "client-certificate: /c")), "client-certificate"},
		"a kubeconfig that reads a key file":            {nil, secret("kubeconfig", kubeconfig(server, "client-key: /k")), "client-key"},
		"a kubeconfig that reads a CA file":             {nil, secret("kubeconfig", kubeconfig(server+"\ncertificate-authority: /ca", "token: x")), "certificate-authority"},
		"a kubeconfig whose key is another certificate": {nil, secret("kubeconfig", kubeconfig(server, "client-certificate-data: eA==\nclient-key-data: eA==")), "no pair"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := member.ConfigFor(cluster(c.spec), c.secret)
			var ce *member.ConfigError
			if !errors.As(err, &ce) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want a ConfigError that says %q", err, c.says)
			}
			if strings.Contains(err.Error(), secretWord) {
				t.Fatalf("the error tells a secret: %v", err)
			}
			want := member.ReasonMalformedConfig
			if c.secret == nil {
				want = member.ReasonMissingSecret
			}
			if ce.Reason != want {
				t.Fatalf("reason %s, want %s", ce.Reason, want)
			}
		})
	}
}

func TestEachTLSValidationIsSwitchedOffAlone(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		host     string
		from, to time.Time
		disabled []kubefedv1beta1.TLSValidation
		otherCA  bool
		ok       bool
	}{
		"a good certificate":                                        {"127.0.0.1", now.Add(-day), now.Add(day), nil, false, true},
		"another name":                                              {"elsewhere", now.Add(-day), now.Add(day), nil, false, false},
		"another name with SubjectName off":                         {"elsewhere", now.Add(-day), now.Add(day), []kubefedv1beta1.TLSValidation{"SubjectName"}, false, true},
		"another name with ValidityPeriod off":                      {"elsewhere", now.Add(-day), now.Add(day), []kubefedv1beta1.TLSValidation{"ValidityPeriod"}, false, false},
		"expired":                                                   {"127.0.0.1", now.Add(-2 * day), now.Add(-day), nil, false, false},
		"expired with ValidityPeriod off":                           {"127.0.0.1", now.Add(-2 * day), now.Add(-day), []kubefedv1beta1.TLSValidation{"ValidityPeriod"}, false, true},
		"expired with SubjectName off":                              {"127.0.0.1", now.Add(-2 * day), now.Add(-day), []kubefedv1beta1.TLSValidation{"SubjectName"}, false, false},
		"expired, another name, both off":                           {"elsewhere", now.Add(-2 * day), now.Add(-day), []kubefedv1beta1.TLSValidation{"SubjectName", "ValidityPeriod"}, false, true},
		"another CA with both off is another member all the same":   {"127.0.0.1", now.Add(-day), now.Add(day), []kubefedv1beta1.TLSValidation{"SubjectName", "ValidityPeriod"}, true, false},
		"another CA with everything off, as the user has asked for": {"127.0.0.1", now.Add(-day), now.Add(day), []kubefedv1beta1.TLSValidation{"*"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			cert, key := certificate(t, c.host, c.from, c.to)
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			defer s.Close()
			ca := cert
			if c.otherCA {
				ca, _ = certificate(t, c.host, c.from, c.to)
			}
			config, err := member.ConfigFor(cluster(func(spec *corev1beta1.KubeFedClusterSpec) {
				spec.APIEndpoint, spec.CABundle, spec.DisabledTLSValidations = s.URL, ca, c.disabled
			}), secret("token", "t"))
			if err != nil {
				t.Fatal(err)
			}
			pool, err := member.NewTransport(t.Context(), "hz-1", config, member.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Cut()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := pool.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != c.ok {
				t.Fatalf("the connection gave %v", err)
			}
		})
	}
}

func TestConfigurationsAreComparedByAllThatMattersToAConnection(t *testing.T) {
	base := func() *corev1beta1.KubeFedCluster { return cluster(nil) }
	config := func(c *corev1beta1.KubeFedCluster, s *corev1.Secret) member.Config {
		t.Helper()
		got, err := member.ConfigFor(c, s)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	one := config(base(), secret("token", "a"))
	if !one.Equal(config(base(), secret("token", "a"))) {
		t.Fatal("equal configurations differ")
	}
	for name, other := range map[string]member.Config{
		"the token":    config(base(), secret("token", "b")),
		"the endpoint": config(cluster(func(s *corev1beta1.KubeFedClusterSpec) { s.APIEndpoint = "x" }), secret("token", "a")),
		"the proxy":    config(cluster(func(s *corev1beta1.KubeFedClusterSpec) { s.ProxyURL = "http://p" }), secret("token", "a")),
		"the tunnel":   config(cluster(func(s *corev1beta1.KubeFedClusterSpec) { s.Tunnel = &corev1beta1.ClusterTunnel{} }), secret("token", "a")),
		"a TLS check": config(cluster(func(s *corev1beta1.KubeFedClusterSpec) {
			s.DisabledTLSValidations = []kubefedv1beta1.TLSValidation{"SubjectName"}
		}), secret("token", "a")),
	} {
		if one.Equal(other) {
			t.Errorf("%s makes no difference", name)
		}
	}
}
