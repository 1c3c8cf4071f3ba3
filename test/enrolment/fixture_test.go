package enrolment

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/test/harness"
)

const soon = 30 * time.Second

var clusters = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedclusters"}

// fixture is a plane, and its administrator.
type fixture struct {
	*harness.Plane
	admin   kubernetes.Interface
	objects dynamic.Interface
	tokens  atomic.Int64
}

func newFixture(t *testing.T, options harness.PlaneOptions) *fixture {
	t.Helper()
	p := harness.RunPlane(t, options)
	return &fixture{Plane: p, admin: must(t)(kubernetes.NewForConfig(p.RestConfig())), objects: dynamic.NewForConfigOrDie(p.RestConfig())}
}

// must ends the test with an error.
func must(t *testing.T) func(kubernetes.Interface, error) kubernetes.Interface {
	return func(c kubernetes.Interface, err error) kubernetes.Interface {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// join makes the member's KubeFedCluster, as kubectl cellfed join --tunnel does.
func (f *fixture) join(t *testing.T, who identity.Identity) {
	t.Helper()
	cluster := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "core.kubefed.io/v1beta1", "kind": "KubeFedCluster",
		"metadata": map[string]any{"namespace": "kube-federation-system", "name": who.Cluster},
		"spec": map[string]any{
			"apiEndpoint": "https://kubernetes.default.svc", "secretRef": map[string]any{"name": "none"}, "tunnel": map[string]any{"enrolment": who.Enrolment},
		},
	}}
	_, err := f.objects.Resource(clusters).Namespace("kube-federation-system").Create(t.Context(), cluster, metav1.CreateOptions{})
	noError(t, err)
}

// enrolled changes whom the member admits.
func (f *fixture) enrolled(t *testing.T, cluster, enrolment string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"tunnel":{"enrolment":%q}}}`, enrolment)
	_, err := f.objects.Resource(clusters).Namespace("kube-federation-system").Patch(t.Context(), cluster, "application/merge-patch+json", patch, metav1.PatchOptions{})
	noError(t, err)
}

// token makes a bootstrap token for the agents of a member.
func (f *fixture) token(t *testing.T, who identity.Identity, life time.Duration) string {
	t.Helper()
	id, secret := fmt.Sprintf("tok%03d", f.tokens.Add(1)), "0123456789abcdef"
	_, err := f.admin.CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true", "auth-extra-groups": identity.BootstrapGroup,
			"expiration": time.Now().Add(life).Format(time.RFC3339), identity.TokenCluster: who.Cluster, identity.TokenEnrolment: who.Enrolment,
		},
	}, metav1.CreateOptions{})
	noError(t, err)
	return id + "." + secret
}

func (f *fixture) tokenSecret(t *testing.T, token string) *corev1.Secret {
	t.Helper()
	s, err := f.admin.CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-"+token[:6], metav1.GetOptions{})
	noError(t, err)
	return s
}

// bearer is a client with a token.
func (f *fixture) bearer(t *testing.T, token string) kubernetes.Interface {
	t.Helper()
	c := rest.AnonymousClientConfig(f.RestConfig())
	c.BearerToken = token
	return must(t)(kubernetes.NewForConfig(c))
}

// holder is a client with a certificate.
func (f *fixture) holder(t *testing.T, certificate []byte, key *ecdsa.PrivateKey) kubernetes.Interface {
	t.Helper()
	c := rest.AnonymousClientConfig(f.RestConfig())
	c.CertData, c.KeyData = certificate, keyPEM(t, key)
	return must(t)(kubernetes.NewForConfig(c))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	return key
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	noError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// request is a CertificateSigningRequest as an agent makes it.
func request(t *testing.T, who identity.Identity, key *ecdsa.PrivateKey) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	return requestOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: who.CommonName(), Organization: []string{identity.Organization}}}, key)
}

func requestOf(t *testing.T, template *x509.CertificateRequest, key *ecdsa.PrivateKey) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	noError(t, err)
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: identity.SignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature},
		},
	}
}

// answered asks and waits for the answer.
func (f *fixture) answered(t *testing.T, as kubernetes.Interface, csr *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	made, err := as.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{})
	noError(t, err)
	return f.answer(t, as, made.Name)
}

func (f *fixture) answer(t *testing.T, as kubernetes.Interface, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	var got *certificatesv1.CertificateSigningRequest
	eventually(t, "request "+name+" is answered", func() bool {
		var err error
		got, err = as.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
		noError(t, err)
		return len(got.Status.Certificate) > 0 || said(got, certificatesv1.CertificateDenied) != "" || said(got, certificatesv1.CertificateFailed) != ""
	})
	return got
}

// said is the reason that a condition gives; empty without it.
func said(csr *certificatesv1.CertificateSigningRequest, what certificatesv1.RequestConditionType) string {
	for _, c := range csr.Status.Conditions {
		if c.Type == what {
			return c.Reason
		}
	}
	return ""
}

func (f *fixture) requestsOf(t *testing.T, key []byte) []certificatesv1.CertificateSigningRequest {
	t.Helper()
	list, err := f.admin.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	noError(t, err)
	var out []certificatesv1.CertificateSigningRequest
	for _, csr := range list.Items {
		block, _ := pem.Decode(csr.Spec.Request)
		asked, err := x509.ParseCertificateRequest(block.Bytes)
		noError(t, err)
		if identity.Fingerprint(asked.RawSubjectPublicKeyInfo) == string(key) {
			out = append(out, csr)
		}
	}
	return out
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// caFile has whom to trust at the plane.
func (f *fixture) caFile() string { return filepath.Join(f.DataDir, "pki", "serving-ca.crt") }

// serving is an authority of proxy servers, with one certificate.
func serving(t *testing.T) (certificate tls.Certificate, caFile string) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxy"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	noError(t, err)
	caFile = filepath.Join(t.TempDir(), "proxy-ca.crt")
	noError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

// within bounds one call.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	return ctx
}

func newAdmin(p *harness.Plane) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(p.RestConfig())
}

func newObjects(p *harness.Plane) dynamic.Interface { return dynamic.NewForConfigOrDie(p.RestConfig()) }
