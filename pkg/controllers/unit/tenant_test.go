package unit

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// member changes the member hz-1.
func (p *plane) member(change func(*corev1beta1.KubeFedCluster)) {
	p.Helper()
	m := &corev1beta1.KubeFedCluster{}
	p.must(p.Get(p.Context(), types.NamespacedName{Namespace: wellknown.FederationNamespace, Name: "hz-1"}, m))
	change(m)
	p.must(p.Update(p.Context(), m))
}

func grants(tenant string, namespaces ...string) func(*corev1beta1.KubeFedCluster) {
	return func(m *corev1beta1.KubeFedCluster) {
		m.Spec.Grants = []corev1beta1.TenantGrant{{Tenant: tenant, MemberNamespaces: namespaces}}
	}
}

func TestAUnitThatIsNotGrantedGetsNothing(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	for name, change := range map[string]func(*corev1beta1.KubeFedCluster){
		"another tenant's grant":    grants("rival", "*"),
		"a grant of something else": grants("acme", "other-*"),
		"another tenant's member": func(m *corev1beta1.KubeFedCluster) {
			m.Spec.Grants, m.Labels = nil, map[string]string{wellknown.TenantLabel: "rival"}
		},
	} {
		p.member(change)
		p.is("rz00a", ReasonNotGranted, "namespace acme-rz00a of member hz-1 is not granted to tenant acme")
		if c := p.unit("rz00a").Status.Conditions[0]; strings.Contains(c.Message, "rival") {
			t.Errorf("%s: the message names another tenant: %s", name, c.Message)
		}
		if p.there(&topologyv1alpha1.MemberNamespaceClaim{}, "", "acme-rz00a.hz-1") || p.there(&corev1beta1.KubeFedCluster{}, wellknown.UnitsNamespace, "rz00a.acme-prod.cell") {
			t.Errorf("%s: a unit that is not granted got a claim or a KubeFedCluster", name)
		}
	}
	p.member(func(m *corev1beta1.KubeFedCluster) { m.Labels = nil; grants("acme", "acme-*")(m) })
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	if alias := p.alias("rz00a.acme-prod.cell"); alias.Spec.Grants != nil {
		t.Errorf("the unit's KubeFedCluster tells who else may use the member: %v", alias.Spec.Grants)
	}
}

func TestAGrantThatIsWithdrawnIsToldAndTakesNothingAway(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	p.member(grants("rival", "*"))
	p.is("rz00a", ReasonNotGranted, "not granted to tenant acme")
	if !p.there(&topologyv1alpha1.MemberNamespaceClaim{}, "", "acme-rz00a.hz-1") || !p.there(&corev1beta1.KubeFedCluster{}, wellknown.UnitsNamespace, "rz00a.acme-prod.cell") {
		t.Error("a unit that may hold copies lost its claim or its KubeFedCluster")
	}
	p.member(grants("acme", "*"))
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
}

func TestGrantsCanBeRequired(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	required := true
	p.ctl.opts.RequireGrants = func() bool { return required }
	p.is("rz00a", ReasonNotGranted, "not granted to tenant acme")
	required = false
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
}

func TestAUnitThatCamePastAdmissionGetsItsOwnersLabels(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", func(u *topologyv1alpha1.Unit) {
		u.Labels[wellknown.TenantLabel], u.Labels[wellknown.WorkspaceLabel] = "rival", "prod"
		u.Spec = topologyv1alpha1.UnitSpec{Cluster: "hz-1"}
	})
	p.is("rz00a", topologyv1alpha1.ReasonReady, "")
	u := p.unit("rz00a")
	if _, workspace := u.Labels[wellknown.WorkspaceLabel]; u.Labels[wellknown.TenantLabel] != "acme" || workspace || u.Labels["city"] != "hangzhou" {
		t.Errorf("labels are %v", u.Labels)
	}
	if u.Spec.MemberNamespace != "" {
		t.Errorf("the spec, which is immutable, was written: %+v", u.Spec)
	}
}

func TestTheHolderOfAClaimIsNamedToItsOwnNamespaceOnly(t *testing.T) {
	p := newPlane(t)
	p.must(p.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "rival-prod"}}))
	theirs := &topologyv1alpha1.Unit{ObjectMeta: metav1.ObjectMeta{Namespace: "rival-prod", Name: "rz77x", UID: "uid-rz77x"}}
	theirs.Spec = topologyv1alpha1.UnitSpec{Cluster: "hz-1", MemberNamespace: "shared"}
	p.must(p.Create(t.Context(), theirs))
	_, err := p.ctl.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "rival-prod", Name: "rz77x"}})
	p.must(err)
	p.make("rz00a", func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "shared" })
	p.is("rz00a", topologyv1alpha1.ReasonClaimedByOther, "belongs to a unit of another namespace")
	p.make("rz01a", nil)
	p.is("rz01a", topologyv1alpha1.ReasonReady, "")
	p.make("rz02a", func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "acme-rz01a" })
	p.is("rz02a", topologyv1alpha1.ReasonClaimedByOther, "belongs to unit acme-prod/rz01a (cell)")
}

func TestReplicasCannotBothSayYes(t *testing.T) {
	for round := range 20 {
		p := newPlane(t)
		var replicas []*Controller
		var names []string
		for i := range 4 {
			name := fmt.Sprintf("rz%02d", i)
			names = append(names, name)
			p.make(name, func(u *topologyv1alpha1.Unit) { u.Spec.MemberNamespace = "one" })
			replicas = append(replicas, New(p.Client, p.Client, events.NewFakeRecorder(1000), p.ctl.opts))
		}
		if round%2 == 1 { // a claim of one that is no more, which all want to take over
			p.must(p.Create(t.Context(), &topologyv1alpha1.MemberNamespaceClaim{ObjectMeta: metav1.ObjectMeta{Name: "one.hz-1", UID: "old"},
				Spec: topologyv1alpha1.MemberNamespaceClaimSpec{Cluster: "hz-1", MemberNamespace: "one", Unit: topologyv1alpha1.UnitReference{Namespace: "gone", Name: "gone", UID: "gone"}}}))
		}
		var all sync.WaitGroup
		for i, replica := range replicas {
			all.Go(func() {
				for range 5 {
					_, _ = replica.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "acme-prod", Name: names[i]}})
				}
			})
		}
		all.Wait()
		ready := 0
		for _, name := range names {
			if c := meta.FindStatusCondition(p.unit(name).Status.Conditions, topologyv1alpha1.UnitReady); c != nil && c.Status == metav1.ConditionTrue {
				ready++
			}
		}
		if ready != 1 {
			t.Fatalf("round %d: %d units are ready in one member namespace, want 1", round, ready)
		}
	}
}

// Nothing but the setting itself tells that it changed: no object does.
func TestAllUnitsAreLookedAtWhenGrantsBeginOrCeaseToBeRequired(t *testing.T) {
	p := newPlane(t)
	p.make("rz00a", nil)
	p.make("rz01a", nil)
	p.ctl.RequirementChanged()
	p.ctl.RequirementChanged() // waits for nobody
	select {
	case e := <-p.ctl.regranted:
		if found := p.ctl.all(p.Context(), e.Object); len(found) != 2 {
			t.Errorf("%v, want both units", found)
		}
	default:
		t.Error("nobody is told")
	}
}
