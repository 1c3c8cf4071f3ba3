package enrolment

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/proxy/identity"
)

var (
	who = identity.Identity{Cluster: "hz-1", Enrolment: "abcd1234"}
	now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func csr(name string, subject pkix.Name) *certificatesv1.CertificateSigningRequest {
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, newKey()))
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now), UID: types.UID(name)},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: identity.SignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, Username: "system:bootstrap:abcdef", Groups: []string{identity.BootstrapGroup},
		},
	}
}

func agents() pkix.Name {
	return pkix.Name{CommonName: who.CommonName(), Organization: []string{identity.Organization}}
}

func approved(c *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequest {
	c.Status.Conditions = append(c.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "ByHand", LastUpdateTime: metav1.NewTime(now),
	})
	return c
}

func token(expires time.Time) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef", UID: "t"}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{
			"token-id": []byte("abcdef"), "usage-bootstrap-authentication": []byte("true"), "expiration": []byte(expires.Format(time.RFC3339)),
			identity.TokenCluster: []byte(who.Cluster), identity.TokenEnrolment: []byte(who.Enrolment),
		},
	}
}

func member() *corev1beta1.KubeFedCluster {
	return &corev1beta1.KubeFedCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-federation-system", Name: who.Cluster},
		Spec:       corev1beta1.KubeFedClusterSpec{Tunnel: &corev1beta1.ClusterTunnel{Enrolment: who.Enrolment}},
	}
}

// writes counts what a controller writes.
type writes struct {
	approvals, statuses, updates, deletes int
	conflict                              bool
}

// plane is a controller with the objects that it works on.
func plane(t *testing.T, at time.Time, objects ...client.Object) (*Controller, client.Client, *writes) {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, corev1beta1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	w := &writes{}
	c := fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithStatusSubresource(&certificatesv1.CertificateSigningRequest{}).
		WithIndex(&corev1.Secret{}, "type", func(o client.Object) []string { return []string{string(o.(*corev1.Secret).Type)} }).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				if sub == "approval" { // the fake has no such subresource, which is a write of status
					w.approvals++
					return c.Status().Update(ctx, o)
				}
				w.statuses++
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				if w.updates++; w.conflict {
					return apierrors.NewConflict(corev1.Resource("secrets"), o.GetName(), nil)
				}
				return c.Update(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				w.deletes++
				return c.Delete(ctx, o, opts...)
			},
		}).Build()
	dir := t.TempDir()
	key := newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	files := map[string][]byte{
		"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"ca.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(key))}),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return New(c, c, Options{CertFile: filepath.Join(dir, "ca.crt"), KeyFile: filepath.Join(dir, "ca.key"), Now: func() time.Time { return at }}), c, w
}

func step(t *testing.T, c *Controller, name string) reconcile.Result {
	t.Helper()
	r, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, c client.Client, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	got := &certificatesv1.CertificateSigningRequest{}
	if err := c.Get(t.Context(), types.NamespacedName{Name: name}, got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestARequestIsApprovedOnceThenSignedOnceThenLeft(t *testing.T) {
	ctl, c, w := plane(t, now, csr("a", agents()), token(now.Add(time.Hour)), member())
	step(t, ctl, "a")
	if got := read(t, c, "a"); condition(got, certificatesv1.CertificateApproved) == nil || len(got.Status.Certificate) > 0 {
		t.Fatalf("after one step: %+v", got.Status)
	}
	step(t, ctl, "a")
	if got := read(t, c, "a"); len(got.Status.Certificate) == 0 {
		t.Fatalf("after two steps: %+v", got.Status)
	}
	for range 3 {
		step(t, ctl, "a")
	}
	if *w != (writes{approvals: 1, statuses: 1, updates: 1}) {
		t.Errorf("it wrote %+v", *w)
	}
}

func TestATokenIsBoundBeforeAnythingIsGranted(t *testing.T) {
	ctl, c, w := plane(t, now, csr("a", agents()), token(now.Add(time.Hour)), member())
	w.conflict = true
	if r := step(t, ctl, "a"); r.RequeueAfter != conflictPause {
		t.Errorf("after a conflict: %+v", r)
	}
	if got := read(t, c, "a"); len(got.Status.Conditions) > 0 {
		t.Errorf("it is decided: %+v", got.Status)
	}
}

func TestOneOfTwoRequestsWithATokenIsGranted(t *testing.T) {
	ctl, c, _ := plane(t, now, csr("a", agents()), csr("b", agents()), token(now.Add(time.Hour)), member())
	step(t, ctl, "a")
	step(t, ctl, "b")
	if got := read(t, c, "a"); condition(got, certificatesv1.CertificateApproved) == nil {
		t.Errorf("the first: %+v", got.Status)
	}
	if got := read(t, c, "b"); condition(got, certificatesv1.CertificateDenied) == nil || condition(got, certificatesv1.CertificateApproved) != nil {
		t.Errorf("the second: %+v", got.Status)
	}
}

func TestWhatWasApprovedByHandAndIsNoAgentsFails(t *testing.T) {
	ctl, c, _ := plane(t, now, approved(csr("a", pkix.Name{CommonName: "root", Organization: []string{"system:masters"}})))
	step(t, ctl, "a")
	if got := read(t, c, "a"); condition(got, certificatesv1.CertificateFailed) == nil || len(got.Status.Certificate) > 0 {
		t.Errorf("the status is %+v", got.Status)
	}
}

func TestWhatWasApprovedByHandAndIsAnAgentsIsSigned(t *testing.T) {
	ctl, c, w := plane(t, now, approved(csr("a", agents())))
	step(t, ctl, "a")
	if got := read(t, c, "a"); len(got.Status.Certificate) == 0 || w.approvals != 0 {
		t.Errorf("the status is %+v, after %d approvals", got.Status, w.approvals)
	}
}

func TestAnAuthorityThatIsNotGoodFailsTheRequest(t *testing.T) {
	ctl, c, _ := plane(t, now.Add(-2*time.Hour), approved(csr("a", agents())))
	step(t, ctl, "a")
	if got := read(t, c, "a"); condition(got, certificatesv1.CertificateFailed) == nil {
		t.Errorf("the status is %+v", got.Status)
	}
}

func TestAnAuthorityThatCannotBeReadIsTriedAgain(t *testing.T) {
	ctl, c, _ := plane(t, now, approved(csr("a", agents())))
	ctl.opts.KeyFile += ".gone"
	if _, err := ctl.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "a"}}); err == nil {
		t.Error("it is no error")
	}
	if got := read(t, c, "a"); condition(got, certificatesv1.CertificateFailed) != nil {
		t.Errorf("the status is %+v", got.Status)
	}
}

func TestRequestsToOtherSignersAreNotTouched(t *testing.T) {
	other := csr("a", agents())
	other.Spec.SignerName = "example.com/x"
	ctl, _, w := plane(t, now.Add(100*24*time.Hour), other, token(now), member())
	step(t, ctl, "a")
	if *w != (writes{}) {
		t.Errorf("it wrote %+v", *w)
	}
}

func TestRequestsGoAnHourAfterTheirEnd(t *testing.T) {
	ended := approved(csr("a", agents()))
	ended.Status.Certificate = []byte("x")
	for _, tt := range []struct {
		request *certificatesv1.CertificateSigningRequest
		after   time.Duration
		gone    bool
	}{
		{ended, 59 * time.Minute, false},
		{ended, time.Hour, true},
		{approved(csr("a", agents())), 23 * time.Hour, false},
		{csr("a", agents()), 24 * time.Hour, true},
	} {
		ctl, c, w := plane(t, now.Add(tt.after), tt.request.DeepCopy(), member())
		r := step(t, ctl, "a")
		if gone := w.deletes == 1; gone != tt.gone {
			t.Errorf("after %s: %d deletions", tt.after, w.deletes)
		}
		if !tt.gone && len(tt.request.Status.Certificate) > 0 && r.RequeueAfter != time.Minute {
			t.Errorf("after %s it is looked at again in %s", tt.after, r.RequeueAfter)
		}
		err := c.Get(t.Context(), types.NamespacedName{Name: "a"}, &certificatesv1.CertificateSigningRequest{})
		if apierrors.IsNotFound(err) != tt.gone {
			t.Errorf("after %s: %v", tt.after, err)
		}
	}
}

func TestExpiredTokensOfAgentsGo(t *testing.T) {
	others := token(now.Add(-time.Minute))
	others.Name = "bootstrap-token-ghijkl"
	delete(others.Data, identity.TokenCluster)
	ctl, c, w := plane(t, now, token(now.Add(-time.Minute)), others)
	if err := ctl.sweepOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left corev1.SecretList
	if err := c.List(t.Context(), &left); err != nil || len(left.Items) != 1 || left.Items[0].Name != others.Name || w.deletes != 1 {
		t.Errorf("%d are left, after %d deletions, %v", len(left.Items), w.deletes, err)
	}
}
