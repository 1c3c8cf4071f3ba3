package unit

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// plane is a fake plane with one member, hz-1, and one namespace, acme-prod.
type plane struct {
	*testing.T
	client.Client
	ctl    *Controller
	writes atomic.Int64
	inUse  func() (bool, string, error)
	fail   func(o client.Object) error // for reads
}

func newPlane(t *testing.T) *plane {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, corev1beta1.AddToScheme, topologyv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	p := &plane{T: t, inUse: func() (bool, string, error) { return false, "", nil }, fail: func(client.Object) error { return nil }}
	wrote := func() { p.writes.Add(1) }
	p.Client = fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&corev1beta1.KubeFedCluster{}, &topologyv1alpha1.Unit{}).
		WithIndex(&topologyv1alpha1.Unit{}, memberField, memberOf).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if err := p.fail(o); err != nil {
					return err
				}
				return c.Get(ctx, key, o, opts...)
			},
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				wrote()
				return c.Create(ctx, o, opts...)
			},
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				wrote()
				return c.Update(ctx, o, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
				wrote()
				return c.Patch(ctx, o, patch, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				wrote()
				return c.Delete(ctx, o, opts...)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				wrote()
				return c.SubResource(sub).Patch(ctx, o, patch, opts...)
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				wrote()
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
		}).Build()
	p.ctl = New(p.Client, p.Client, events.NewFakeRecorder(1000), Options{Settling: -1,
		InUse: func(context.Context, *topologyv1alpha1.Unit) (bool, string, error) { return p.inUse() },
	})
	p.must(p.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "acme-prod", Labels: map[string]string{wellknown.TenantLabel: "acme"}}}))
	member := &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "hz-1"}}
	member.Spec.APIEndpoint, member.Spec.SecretRef.Name = "https://hz-1", "hz-1-x7k2p"
	p.must(p.Create(t.Context(), member))
	p.must(p.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "hz-1-x7k2p"},
		Data:       map[string][]byte{"token": []byte("t1"), "unrelated": []byte("x")},
	}))
	return p
}

func (p *plane) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plane) make(name string, change func(*topologyv1alpha1.Unit)) *topologyv1alpha1.Unit {
	p.Helper()
	u := &topologyv1alpha1.Unit{ObjectMeta: metav1.ObjectMeta{
		Namespace: "acme-prod", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"city": "hangzhou"},
	}}
	u.Spec = topologyv1alpha1.UnitSpec{TopologyType: "cell", Cluster: "hz-1", MemberNamespace: "acme-" + name}
	if change != nil {
		change(u)
	}
	p.must(p.Create(p.Context(), u))
	return u
}

func (p *plane) reconcile(name string) error {
	_, err := p.ctl.Reconcile(p.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "acme-prod", Name: name}})
	return err
}

func (p *plane) unit(name string) *topologyv1alpha1.Unit {
	p.Helper()
	u := &topologyv1alpha1.Unit{}
	p.must(p.Get(p.Context(), types.NamespacedName{Namespace: "acme-prod", Name: name}, u))
	return u
}

// is reconciles a unit and says what its condition is.
func (p *plane) is(name, reason, message string) {
	p.Helper()
	p.must(p.reconcile(name))
	c := meta.FindStatusCondition(p.unit(name).Status.Conditions, topologyv1alpha1.UnitReady)
	if c == nil || c.Reason != reason || !strings.Contains(c.Message, message) || (c.Status == metav1.ConditionTrue) != (reason == topologyv1alpha1.ReasonReady) {
		p.Fatalf("unit %s is %+v, want %s %q", name, c, reason, message)
	}
}

func (p *plane) alias(name string) *corev1beta1.KubeFedCluster {
	p.Helper()
	c := &corev1beta1.KubeFedCluster{}
	p.must(p.Get(p.Context(), types.NamespacedName{Namespace: wellknown.UnitsNamespace, Name: name}, c))
	return c
}

func (p *plane) there(o client.Object, namespace, name string) bool {
	p.Helper()
	err := p.Get(p.Context(), types.NamespacedName{Namespace: namespace, Name: name}, o)
	p.must(client.IgnoreNotFound(err))
	return err == nil
}

func (p *plane) ready(status corev1.ConditionStatus) {
	p.Helper()
	member := &corev1beta1.KubeFedCluster{}
	p.must(p.Get(p.Context(), types.NamespacedName{Namespace: wellknown.FederationNamespace, Name: "hz-1"}, member))
	member.Status.Conditions = []kubefedv1beta1.ClusterCondition{{Type: "Ready", Status: status, LastProbeTime: metav1.Unix(1000, 0)}}
	p.must(p.Status().Update(p.Context(), member))
}

func TestAUnitGetsClaimAndKubeFedClusterAndThenNothingIsWritten(t *testing.T) {
	p := newPlane(t)
	p.ready(corev1.ConditionTrue)
	p.make("rz00a", func(u *topologyv1alpha1.Unit) {
		u.Labels[wellknown.TenantLabel], u.Labels[wellknown.TopologyUnitLabel] = "somebody-else", "forged"
	})
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	if got := p.unit("rz00a").Status.ClusterName; got != "rz00a.acme-prod.cell" {
		t.Fatalf("status.clusterName is %q", got)
	}
	alias := p.alias("rz00a.acme-prod.cell")
	for key, want := range map[string]string{
		"city": "hangzhou", wellknown.TenantLabel: "acme", wellknown.TopologyTypeLabel: "cell",
		wellknown.TopologyNamespaceLabel: "acme-prod", wellknown.TopologyUnitLabel: "rz00a",
	} {
		if alias.Labels[key] != want {
			t.Errorf("label %s is %q, want %q", key, alias.Labels[key], want)
		}
	}
	if alias.Spec.APIEndpoint != "https://hz-1" || alias.Spec.SecretRef.Name != "hz-1" {
		t.Fatalf("the spec is %+v", alias.Spec)
	}
	if len(alias.Status.Conditions) != 1 || alias.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Fatalf("the member's health was not copied: %+v", alias.Status)
	}
	secret := &corev1.Secret{}
	if !p.there(secret, wellknown.UnitsNamespace, "hz-1") || string(secret.Data["token"]) != "t1" || len(secret.Data) != 1 {
		t.Fatalf("the copy of the credentials has keys %d", len(secret.Data))
	}
	claim := &topologyv1alpha1.MemberNamespaceClaim{}
	if !p.there(claim, "", "acme-rz00a.hz-1") || claim.Spec.Unit.UID != "uid-rz00a" {
		t.Fatalf("the claim is %+v", claim.Spec)
	}
	writes := p.writes.Load()
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	if n := p.writes.Load(); n != writes {
		t.Fatalf("an idle unit was written %d times", n-writes)
	}
}

func TestDriftIsRepairedAndHealthFollowsTheMember(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	alias := p.alias("rz00a.acme-prod.cell")
	alias.Spec.APIEndpoint = "https://elsewhere"
	delete(alias.Labels, wellknown.TopologyTypeLabel)
	alias.Labels["intruder"] = "yes"
	p.must(p.Update(t.Context(), alias))
	secret := &corev1.Secret{}
	p.there(secret, wellknown.FederationNamespace, "hz-1-x7k2p")
	secret.Data["token"] = []byte("t2")
	p.must(p.Update(t.Context(), secret))
	p.ready(corev1.ConditionFalse)
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	alias = p.alias("rz00a.acme-prod.cell")
	if alias.Spec.APIEndpoint != "https://hz-1" || alias.Labels[wellknown.TopologyTypeLabel] != "cell" || alias.Labels["intruder"] != "" {
		t.Fatalf("drift stays: %+v %v", alias.Spec, alias.Labels)
	}
	if alias.Status.Conditions[0].Status != corev1.ConditionFalse {
		t.Fatal("the member's health was not copied")
	}
	if p.there(secret, wellknown.UnitsNamespace, "hz-1"); string(secret.Data["token"]) != "t2" {
		t.Fatal("the renewed token was not copied")
	}
}

func TestAUnitPastAdmissionGetsTheDefaults(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", func(u *topologyv1alpha1.Unit) { u.Spec = topologyv1alpha1.UnitSpec{Cluster: "hz-1"} })
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	p.alias("rz00a.acme-prod.cell")
	if !p.there(&topologyv1alpha1.MemberNamespaceClaim{}, "", "acme-prod.hz-1") {
		t.Fatal("the namespace's own name was not claimed")
	}
	if u := p.unit("rz00a"); u.Spec.TopologyType != "" || u.Spec.MemberNamespace != "" {
		t.Fatalf("the immutable spec was written: %+v", u.Spec)
	}
}

func TestUnitsThatCannotBeAreToldWhyAndMakeNothing(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*topologyv1alpha1.Unit)
		reason  string
		message string
	}{
		"an unknown member":         {func(u *topologyv1alpha1.Unit) { u.Spec.Cluster = "gone" }, topologyv1alpha1.ReasonUnknownMember, "gone"},
		"kube-system":               {func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "kube-system" }, ReasonSystemNamespace, "kube-system"},
		"KubeFed's own":             {func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "kube-federation-system" }, ReasonSystemNamespace, ""},
		"default":                   {func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "default" }, ReasonSystemNamespace, ""},
		"topology type cluster":     {func(u *topologyv1alpha1.Unit) { u.Spec.TopologyType = "cluster" }, ReasonInvalid, "spec.topologyType"},
		"a namespace that is none":  {func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "A_b" }, ReasonInvalid, "spec.memberNamespace"},
		"a name that has dots":      {func(u *topologyv1alpha1.Unit) { u.Name = "a.b" }, ReasonInvalid, "name"},
		"a name that is a cluster":  {func(u *topologyv1alpha1.Unit) { u.Name = "taken" }, topologyv1alpha1.ReasonNameTaken, "taken.acme-prod.cell"},
		"a claim of a living other": {func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "acme-other" }, topologyv1alpha1.ReasonClaimedByOther, "acme-prod/other"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.make("other", nil)
			p.is("other", topologyv1alpha1.ReasonReady, "")
			p.must(p.Create(t.Context(), &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.UnitsNamespace, Name: "taken.acme-prod.cell"}}))
			u := p.make("rz00a", c.change)
			p.is(u.Name, c.reason, c.message)
			if p.there(&corev1beta1.KubeFedCluster{}, wellknown.UnitsNamespace, "rz00a.acme-prod.cell") {
				t.Fatal("it has a KubeFedCluster")
			}
			if taken := p.alias("taken.acme-prod.cell"); len(taken.Labels) != 0 || taken.Spec.APIEndpoint != "" {
				t.Fatal("a KubeFedCluster of somebody else was changed")
			}
		})
	}
}

func TestAClaimIsTakenOnlyFromAUnitThatIsNoMore(t *testing.T) {
	claim := func(uid string) *topologyv1alpha1.MemberNamespaceClaim {
		c := &topologyv1alpha1.MemberNamespaceClaim{ObjectMeta: metav1.ObjectMeta{Name: "acme-rz00a.hz-1"}}
		c.Spec = topologyv1alpha1.MemberNamespaceClaimSpec{Cluster: "hz-1", MemberNamespace: "acme-rz00a",
			Unit: topologyv1alpha1.UnitReference{Namespace: "acme-prod", Name: "holder", UID: uid}}
		return c
	}
	other := func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "elsewhere" }
	t.Run("a holder that is gone", func(t *testing.T) {
		p := newPlane(t)
		p.must(p.Create(t.Context(), claim("uid-holder")))
		p.make("rz00a", nil)
		p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	})
	t.Run("a holder that was made anew", func(t *testing.T) {
		p := newPlane(t)
		p.must(p.Create(t.Context(), claim("an-earlier-uid")))
		p.make("holder", other)
		p.make("rz00a", nil)
		p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	})
	t.Run("not from one that lives", func(t *testing.T) {
		p := newPlane(t)
		p.must(p.Create(t.Context(), claim("uid-holder")))
		p.make("holder", other)
		p.make("rz00a", nil)
		p.is("rz00a", topologyv1alpha1.ReasonClaimedByOther, "acme-prod/holder")
	})
	t.Run("not from one that cannot be read", func(t *testing.T) {
		p := newPlane(t)
		p.must(p.Create(t.Context(), claim("uid-holder")))
		p.make("rz00a", nil)
		p.fail = func(o client.Object) error {
			if u, ok := o.(*topologyv1alpha1.Unit); ok && u.Name == "" && p.writes.Load() > 0 && finalizerStands(p, "rz00a") {
				return apierrors.NewServiceUnavailable("the plane is not well")
			}
			return nil
		}
		if err := p.reconcile("rz00a"); err == nil {
			t.Fatal("an unreadable holder gave no error")
		}
		p.fail = func(client.Object) error { return nil }
		c := &topologyv1alpha1.MemberNamespaceClaim{}
		if !p.there(c, "", "acme-rz00a.hz-1") || c.Spec.Unit.UID != "uid-holder" {
			t.Fatal("the claim was taken on doubt")
		}
	})
	t.Run("by one of two that want it, and by the other when that is gone", func(t *testing.T) {
		p := newPlane(t)
		same := func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "shared" }
		p.make("one", same)
		p.make("two", same)
		p.is("one", topologyv1alpha1.ReasonReady, "")
		p.is("two", topologyv1alpha1.ReasonClaimedByOther, "acme-prod/one")
		c := &topologyv1alpha1.MemberNamespaceClaim{}
		p.there(c, "", "shared.hz-1")
		if got := p.ctl.claimants(t.Context(), c); len(got) != 2 {
			t.Fatalf("a change of the claim wakes %v", got)
		}
		p.must(p.Delete(t.Context(), p.unit("one")))
		p.must(p.reconcile("one"))
		p.is("two", topologyv1alpha1.ReasonReady, "")
	})
}

// finalizerStands tells, past the interceptors, whether the unit has come so far that its claim is next.
func finalizerStands(p *plane, name string) bool {
	var list topologyv1alpha1.UnitList
	p.must(p.List(p.Context(), &list))
	for _, u := range list.Items {
		if u.Name == name && len(u.Finalizers) > 0 {
			return true
		}
	}
	return false
}

func TestAUnitGoesOnlyWhenNothingIsLeftInIt(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	p.make("rz00b", nil)
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	p.is("rz00b", topologyv1alpha1.ReasonReady, "")
	p.must(p.Delete(t.Context(), p.unit("rz00a")))
	for what, answer := range map[string]func() (bool, string, error){
		"FederatedDeployment acme-prod/web": func() (bool, string, error) { return true, "FederatedDeployment acme-prod/web", nil },
		"not synced":                        func() (bool, string, error) { return false, "", errors.New("not synced") },
	} {
		p.inUse = answer
		p.is("rz00a", topologyv1alpha1.ReasonInUse, what)
		p.alias("rz00a.acme-prod.cell")
	}
	p.ctl.opts.InUse = nil
	p.is("rz00a", topologyv1alpha1.ReasonInUse, "cannot be told")
	p.ctl.opts.InUse = func(context.Context, *topologyv1alpha1.Unit) (bool, string, error) { return false, "", nil }
	p.must(p.reconcile("rz00a"))
	for what, o := range map[string]struct {
		object          client.Object
		namespace, name string
		stays           bool
	}{
		"the unit":                           {&topologyv1alpha1.Unit{}, "acme-prod", "rz00a", false},
		"its KubeFedCluster":                 {&corev1beta1.KubeFedCluster{}, wellknown.UnitsNamespace, "rz00a.acme-prod.cell", false},
		"its claim":                          {&topologyv1alpha1.MemberNamespaceClaim{}, "", "acme-rz00a.hz-1", false},
		"the other unit's KubeFedCluster":    {&corev1beta1.KubeFedCluster{}, wellknown.UnitsNamespace, "rz00b.acme-prod.cell", true},
		"the other unit's claim":             {&topologyv1alpha1.MemberNamespaceClaim{}, "", "acme-rz00b.hz-1", true},
		"the credentials, which both shared": {&corev1.Secret{}, wellknown.UnitsNamespace, "hz-1", true},
	} {
		if p.there(o.object, o.namespace, o.name) != o.stays {
			t.Errorf("%s: there is %v", what, !o.stays)
		}
	}
	p.must(p.Delete(t.Context(), p.unit("rz00b")))
	p.must(p.reconcile("rz00b"))
	if p.there(&corev1.Secret{}, wellknown.UnitsNamespace, "hz-1") {
		t.Fatal("the credentials outlast the last unit")
	}
	if !p.there(&corev1.Secret{}, wellknown.FederationNamespace, "hz-1-x7k2p") {
		t.Fatal("the member's own secret is gone")
	}
}

func TestAUnitThatGoesTakesNothingOfOthersWithIt(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	// Somebody has put others' objects in the places of the unit's.
	alias := p.alias("rz00a.acme-prod.cell")
	alias.Labels = map[string]string{"of": "somebody else"}
	p.must(p.Update(t.Context(), alias))
	claim := &topologyv1alpha1.MemberNamespaceClaim{}
	p.there(claim, "", "acme-rz00a.hz-1")
	claim.Spec.Unit.UID = "another"
	p.must(p.Update(t.Context(), claim))
	p.must(p.Delete(t.Context(), p.unit("rz00a")))
	p.must(p.reconcile("rz00a"))
	if p.there(&topologyv1alpha1.Unit{}, "acme-prod", "rz00a") {
		t.Fatal("the unit stays")
	}
	p.alias("rz00a.acme-prod.cell")
	if !p.there(claim, "", "acme-rz00a.hz-1") {
		t.Fatal("another unit's claim is gone")
	}
}

func TestAMemberThatGoesLeavesItsUnitsAsTheyAre(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	p.must(p.Delete(t.Context(), &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "hz-1"}}))
	p.is("rz00a", topologyv1alpha1.ReasonUnknownMember, "hz-1")
	p.alias("rz00a.acme-prod.cell")
	if !p.there(&topologyv1alpha1.MemberNamespaceClaim{}, "", "acme-rz00a.hz-1") {
		t.Fatal("the claim is gone")
	}
}
