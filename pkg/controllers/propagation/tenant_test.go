package propagation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/tenancy"
)

func owned(tenant, workspace string) map[string]string {
	return map[string]string{wellknown.TenantLabel: tenant, wellknown.WorkspaceLabel: workspace}
}

// estate is a plane of tenants: what a cache has, and what the plane has.
func estate(t *testing.T, more ...client.Object) *carrier {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, corev1beta1.AddToScheme, topologyv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	member := func(name string, labels map[string]string, grants ...corev1beta1.TenantGrant) client.Object {
		m := &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: name, Labels: labels}}
		m.Spec.Grants = grants
		return m
	}
	unit := func(name, cluster, memberNamespace string, labels map[string]string) client.Object {
		u := &topologyv1alpha1.Unit{ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: name, Labels: labels}}
		u.Spec = topologyv1alpha1.UnitSpec{TopologyType: "cell", Cluster: cluster, MemberNamespace: memberNamespace}
		return u
	}
	prod := "prod"
	objects := append(more,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "acme", Labels: owned("acme", "prod")}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}},
		member("acmes", owned("acme", "prod")), member("acmes-test", owned("acme", "test")), member("acmes-whole", map[string]string{wellknown.TenantLabel: "acme"}),
		member("rivals", owned("rival", "prod")), member("open", nil), member("open-too", map[string]string{wellknown.TenantLabel: ""}),
		member("shared", nil, corev1beta1.TenantGrant{Tenant: "acme", Workspace: &prod, MemberNamespaces: []string{"acme-*"}}),
		unit("good", "acmes", "a", owned("acme", "prod")), unit("granted", "shared", "acme-1", owned("acme", "prod")),
		unit("withdrawn", "shared", "other", owned("acme", "prod")), unit("forged", "acmes", "b", owned("rival", "prod")),
		unit("stale", "acmes", "c", nil), unit("foreign", "rivals", "d", owned("acme", "prod")), unit("system", "acmes", "kube-system", owned("acme", "prod")),
	)
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	return &carrier{Controller: &Controller{opts: Options{Client: c, Live: c}}}
}

func candidatesOf(t *testing.T, k *carrier, o *federated.Object) (yours, notYours []string) {
	t.Helper()
	units, unowned, err := k.candidates(t.Context(), o)
	if err != nil || unowned != nil {
		t.Fatal(err, unowned)
	}
	for _, u := range units {
		if u.NotYours != nil {
			if u.NotYours.Code != plan.CodeNotYours || strings.Contains(u.NotYours.Message, "tenant rival") {
				t.Errorf("%s: %+v", u.Name, u.NotYours)
			}
			notYours = append(notYours, u.Name)
			continue
		}
		yours = append(yours, u.Name)
	}
	return yours, notYours
}

func TestCandidatesAreTheNamespacesOwnersAndNobodyElses(t *testing.T) {
	for name, c := range map[string]struct {
		object          federated.Object
		yours, notYours []string
	}{
		"a tenant's by cluster":        {federated.Object{Namespace: "acme", TopologyType: "cluster"}, []string{"acmes"}, nil},
		"nobody's by cluster":          {federated.Object{Namespace: "nobodys", TopologyType: "cluster"}, []string{"open", "open-too"}, []string{"shared"}},
		"without a namespace":          {federated.Object{TopologyType: "cluster"}, []string{"open", "open-too", "shared"}, nil},
		"a tenant's by cell":           {federated.Object{Namespace: "acme", TopologyType: "cell"}, []string{"good.acme.cell", "granted.acme.cell"}, []string{"foreign.acme.cell", "system.acme.cell", "withdrawn.acme.cell"}},
		"deleted: no one more":         {federated.Object{Namespace: "acme", TopologyType: "cluster", Deleting: true}, []string{"acmes"}, nil},
		"in a system namespace: none":  {federated.Object{Namespace: "kube-system", TopologyType: "cluster"}, nil, []string{"open", "open-too", "shared"}},
		"what was let in there may go": {federated.Object{Namespace: "kube-system", TopologyType: "cluster", Deleting: true}, []string{"open", "open-too", "shared"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			yours, notYours := candidatesOf(t, estate(t), &c.object)
			if !slices.Equal(yours, c.yours) || !slices.Equal(notYours, c.notYours) {
				t.Errorf("%v, not yours %v; want %v and %v", yours, notYours, c.yours, c.notYours)
			}
		})
	}
}

func TestAnObjectsOwnLabelsDecideNothing(t *testing.T) {
	// federated.Object does not even have them: whoever adds them should read this.
	k := estate(t)
	who, unowned, err := k.owner(t.Context(), &federated.Object{Namespace: "acme"})
	if err != nil || unowned != nil || who != (tenancy.Tenant{Tenant: "acme", Workspace: "prod"}) {
		t.Errorf("%v %v %v", who, unowned, err)
	}
}

func TestANamespaceThatNobodyKnowsHolds(t *testing.T) {
	k := estate(t)
	units, unowned, err := k.candidates(t.Context(), &federated.Object{Namespace: "missing", TopologyType: "cluster"})
	if err != nil || len(units) != 0 || unowned == nil || unowned.Code != plan.CodeOnHold || !strings.Contains(unowned.Message, "no namespace missing") {
		t.Errorf("%v %+v %v", units, unowned, err)
	}
	cached := k.opts.Client
	k.opts.Client = interceptor.NewClient(cached.(client.WithWatch), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("away")
		}})
	if units, _, err := k.candidates(t.Context(), &federated.Object{Namespace: "acme", TopologyType: "cluster"}); err == nil || len(units) != 0 {
		t.Errorf("%v %v, want an error that says that nothing is known", units, err)
	}
	t.Run("unless only the cache does not know it yet", func(t *testing.T) {
		k := estate(t)
		k.opts.Client = estateWithout(t)
		who, unowned, err := k.owner(t.Context(), &federated.Object{Namespace: "acme"})
		if err != nil || unowned != nil || who.Tenant != "acme" {
			t.Errorf("%v %v %v", who, unowned, err)
		}
	})
}

// estateWithout is a cache that has nothing yet.
func estateWithout(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).Build()
}

func TestAnotherAccessToAMemberIsNoticed(t *testing.T) {
	c := &Controller{accesses: map[string]tenancy.Access{}}
	m := &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Name: "m"}}
	for i, step := range []struct {
		change func()
		news   bool
	}{
		{func() {}, false},
		{func() {}, false},
		{func() { m.Labels = map[string]string{"city": "hangzhou"} }, false},
		{func() { m.Labels = owned("acme", "prod") }, true},
		{func() { m.Spec.Grants = []corev1beta1.TenantGrant{{Tenant: "rival", MemberNamespaces: []string{"x"}}} }, true},
		{func() { m = m.DeepCopy() }, false},
		{func() { m.Spec.Grants[0].MemberNamespaces[0] = "y" }, true},
		{func() { m.Spec.Grants = nil }, true},
	} {
		m = m.DeepCopy()
		step.change()
		if got := c.accessChanged(m); got != step.news {
			t.Errorf("step %d: %v, want %v", i, got, step.news)
		}
	}
}
