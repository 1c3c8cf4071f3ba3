package enrolment

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/proxy/credential"
	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/test/harness"
)

// Where join puts the agent, and what it calls it.
const (
	namespace = "kube-federation-system"
	agentName = "hz-1-cellfed-agent"
)

// The plane's own API server stands in for the member's here: both are Kubernetes'.
func TestReplicasWithTheRightsThatJoinGivesThemShareOneCertificateThatOutlivesThem(t *testing.T) {
	f := newFixture(t, harness.PlaneOptions{})
	out, err := harness.Kubectl(t.Context(), f.Kubeconfig, "", "cellfed", "join", "hz-1", "--tunnel", "--tunnel-server=plane.example:8132", "-o", "json")
	noError(t, err)
	_, printed, _ := strings.Cut(out, "\n{") // after what it told of the plane
	// Not all of it can be there: a plane has no Deployments, and a Secret of its own where the member has another.
	_, _ = harness.Kubectl(t.Context(), f.Kubeconfig, "{"+printed, "apply", "-f", "-")
	kfc, err := harness.Kubectl(t.Context(), f.Kubeconfig, "", "get", "kubefedcluster", "hz-1", "-n", namespace, "-o", "jsonpath={.spec.tunnel.enrolment}")
	noError(t, err)
	who := identity.Identity{Cluster: "hz-1", Enrolment: kfc}
	given, err := f.admin.CoreV1().Secrets(namespace).Get(t.Context(), agentName, metav1.GetOptions{})
	noError(t, err)
	token := string(given.Data["token"])
	account, err := f.admin.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), agentName, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	noError(t, err)
	accountFile, tokenFile := write(t, "account", account.Status.Token), write(t, "token", token)
	store := func() *credential.Secret {
		t.Helper()
		s, err := credential.NewSecret(namespace+"/"+agentName+"-state", f.RestConfig().Host, credential.ReadCA(f.caFile()), accountFile, "test")
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
	_, err = agent.CoreV1().Secrets(namespace).Get(t.Context(), agentName, metav1.GetOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("the agent's account may read the token: %v", err)
	}
}
