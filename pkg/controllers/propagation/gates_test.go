package propagation

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/report"
)

// under is a carrier with one gate turned from its default.
func under(t *testing.T, name features.Gate, typ Type) *carrier {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "acme", Labels: map[string]string{"tenancy.cellfed.io/workspace": "prod"}}},
	).Build()
	gates, err := features.Gates{}.With(string(name), !(features.Gates{}).Enabled(name))
	if err != nil {
		t.Fatal(err)
	}
	typ.Name = "configmaps"
	return &carrier{typ: typ, Controller: &Controller{opts: Options{Client: c, Gates: func() features.Gates { return gates }}}}
}

// Every gate is here: one that holds objects, with an object that uses it and one that does not, or one that holds
// nothing.
func TestEachGateThatIsOffHoldsWhatUsesItAndNothingElse(t *testing.T) {
	cells := federated.Object{Namespace: "nobody", TopologyType: "cell"}
	members := federated.Object{Namespace: "nobody", TopologyType: "cluster"}
	masked := federated.Object{Namespace: "nobody", TopologyType: "cluster", Mask: &federated.Selection{}}
	tenants := federated.Object{Namespace: "acme", TopologyType: "cluster"}
	lost := federated.Object{Namespace: "lost", TopologyType: "cluster"}
	clusterScoped := federated.Object{TopologyType: "cluster"}
	lists := Type{PropagatingAnnotations: []string{"a/*"}}
	retains := Type{RetainedFields: []string{"/spec/x"}}
	type object struct {
		federated.Object
		typ Type
	}
	of := func(objects ...federated.Object) (out []object) {
		for _, o := range objects {
			out = append(out, object{Object: o})
		}
		return out
	}
	everything := of(cells, members, masked, tenants, lost, clusterScoped)
	for gate, c := range map[features.Gate]struct{ held, free []object }{
		features.PushReconciler:              {held: everything},
		features.Topologies:                  {of(cells), of(members, masked, tenants)},
		features.PlacementMask:               {of(masked), of(cells, members, tenants)},
		features.TenantIsolation:             {of(tenants, lost), of(cells, members, masked, clusterScoped)},
		features.AnnotationPropagation:       {[]object{{members, lists}, {clusterScoped, lists}}, append(of(cells), object{members, retains})},
		features.FieldRetention:              {[]object{{members, retains}}, append(of(cells), object{members, lists})},
		features.HealthStatus:                {free: everything},
		features.RawResourceStatusCollection: {free: everything},
		features.SchedulerPreferences:        {free: everything},
		features.RequireTenantGrants:         {free: everything},
		features.PropagatedVersions:          {free: everything},
	} {
		for _, o := range c.held {
			why := under(t, gate, o.typ).hold(t.Context(), &o.Object)
			if why == nil || why.Code != plan.CodeOnHold || !strings.HasPrefix(why.Message, "feature gate "+string(gate)+" is off, and ") {
				t.Errorf("%s: %+v is held for %v", gate, o, why)
				continue
			}
			o.Deleting = true
			if why := under(t, gate, o.typ).hold(t.Context(), &o.Object); why != nil {
				t.Errorf("%s: the deletion of %+v is held: %v", gate, o, why)
			}
		}
		for _, o := range c.free {
			if why := under(t, gate, o.typ).hold(t.Context(), &o.Object); why != nil {
				t.Errorf("%s: %+v is held: %v", gate, o, why)
			}
		}
	}
	if n := len(features.All()); n != 11 {
		t.Errorf("there are %d gates: say here what each of them holds", n)
	}
}

func TestStatusIsCollectedUnlessTheTypeOrTheGateSaysNot(t *testing.T) {
	collecting := Type{CollectStatus: true}
	if !under(t, features.HealthStatus, collecting).collects() || under(t, features.HealthStatus, Type{}).collects() {
		t.Error("the FederatedTypeConfig's statusCollection is not heeded")
	}
	if under(t, features.RawResourceStatusCollection, collecting).collects() {
		t.Error("status is collected although the gate is off")
	}
	if under(t, features.HealthStatus, collecting).judgesHealth() || !under(t, features.RawResourceStatusCollection, collecting).judgesHealth() {
		t.Error("health is not judged as its gate says")
	}
	if (&Controller{}).gates() != (features.Gates{}) || (&Controller{}).adoptsByDefault() {
		t.Error("without settings it is not as by default")
	}
}

func TestWhatIsCountedOfAnObjectIsWhatItsStatusSays(t *testing.T) {
	status := func(propagation string) map[string]any {
		return map[string]any{"conditions": []any{map[string]any{"type": "Held", "status": "True"}, map[string]any{"type": report.Propagation, "status": propagation}}}
	}
	for _, c := range []struct {
		o      federated.Object
		p      plan.Plan
		status map[string]any
		want   string
	}{
		{federated.Object{}, plan.Plan{}, status("True"), "as_asked"},
		{federated.Object{}, plan.Plan{}, status("False"), "not_as_asked"},
		{federated.Object{}, plan.Plan{}, nil, "not_as_asked"},
		{federated.Object{}, plan.Plan{Stopped: &plan.Why{}}, status("True"), "on_hold"},
		{federated.Object{Deleting: true}, plan.Plan{Stopped: &plan.Why{}}, status("True"), "deleting"},
	} {
		if got := stateOf(&c.o, &c.p, c.status); string(got) != c.want {
			t.Errorf("%+v counts as %s, want %s", c, got, c.want)
		}
	}
	for _, c := range []struct {
		err   error
		after bool
		want  string
	}{{nil, false, "success"}, {nil, true, "needs_recheck"}, {errAgain, false, "needs_recheck"}, {errors.New("x"), false, "error"}} {
		after := 0
		if c.after {
			after = 1
		}
		if got := resultOf(after > 0, c.err); string(got) != c.want {
			t.Errorf("%+v counts as %s", c, got)
		}
	}
}
