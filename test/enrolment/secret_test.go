package enrolment

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/proxy/credential"
	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/proxy/manifest"
	"github.com/cellfed/cellfed/test/harness"
)

// The plane's own API server stands in for the member's here: both are Kubernetes'.
func TestReplicasWithTheRightsOfTheManifestShareOneCertificateThatOutlivesThem(t *testing.T) {
	f := newFixture(t, harness.PlaneOptions{})
	who := identity.Identity{Cluster: "hz-1", Enrolment: "aaaaaaaa1"}
	f.join(t, who)
	token := f.token(t, who, time.Hour)
	objects, err := manifest.Agent{
		Image: "x", Servers: []string{"a:1"}, Plane: f.RestConfig().Host, CA: []byte("x"), Cluster: who.Cluster, Enrolment: who.Enrolment, Token: token,
	}.Objects()
	noError(t, err)
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			_, err = f.admin.CoreV1().Namespaces().Create(t.Context(), o, metav1.CreateOptions{})
		case *corev1.ServiceAccount:
			_, err = f.admin.CoreV1().ServiceAccounts(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		case *corev1.Secret:
			_, err = f.admin.CoreV1().Secrets(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.Role:
			_, err = f.admin.RbacV1().Roles(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.RoleBinding:
			_, err = f.admin.RbacV1().RoleBindings(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		}
		noError(t, err)
	}
	account, err := f.admin.CoreV1().ServiceAccounts(manifest.Namespace).CreateToken(t.Context(), manifest.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	noError(t, err)
	accountFile, tokenFile := write(t, "account", account.Status.Token), write(t, "token", token)
	store := func() *credential.Secret {
		t.Helper()
		s, err := credential.NewSecret(manifest.Namespace+"/"+manifest.StateSecret, f.RestConfig().Host, credential.ReadCA(f.caFile()), accountFile, "test")
		noError(t, err)
		return s
	}
	replica := func(ctx context.Context) func() *x509.Certificate {
		t.Helper()
		e, err := credential.NewEnroller(credential.Enrolling{
			Plane: f.RestConfig().Host, CA: credential.ReadCA(f.caFile()), TokenFile: tokenFile, Identity: who, Store: store(), Logger: slog.New(slog.DiscardHandler), Poll: 50 * time.Millisecond,
			Look: 50 * time.Millisecond,
		})
		noError(t, err)
		go e.Run(ctx)
		return func() *x509.Certificate {
			var c *tls.Certificate
			eventually(t, "a replica has a certificate", func() bool { c, _ = e.Current(); return c != nil })
			return c.Leaf
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	first, second, third := replica(ctx), replica(ctx), replica(ctx)
	if c := first(); !c.Equal(second()) || !c.Equal(third()) {
		t.Error("they have different certificates")
	}
	stop()
	// The token is of no use any more, and the next Pod has the certificate all the same.
	noError(t, f.admin.CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-"+token[:6], metav1.DeleteOptions{}))
	if next := replica(t.Context())(); !next.Equal(first()) {
		t.Error("the next replica has another certificate")
	}
	a, b := store(), store()
	one, err := a.Load(t.Context())
	noError(t, err)
	two, err := b.Load(t.Context())
	noError(t, err)
	noError(t, a.Save(t.Context(), one))
	one.Data["agent.pem"] = []byte("x")
	if err := b.Save(t.Context(), two); err != nil && !errors.Is(err, credential.ErrConflict) {
		t.Errorf("got %v", err)
	}
	if err := a.Save(t.Context(), one); err == nil {
		// A patch that changed nothing is no new version; this one changes something.
		if err := b.Save(t.Context(), two); !errors.Is(err, credential.ErrConflict) {
			t.Errorf("what another changed was overwritten: %v", err)
		}
	}
	agent := f.bearer(t, account.Status.Token)
	_, err = agent.CoreV1().Secrets(manifest.Namespace).Get(t.Context(), manifest.EnrolmentSecret, metav1.GetOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("the agent's account may read the token: %v", err)
	}
}
