package propagation

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// Between the plan and its first write a unit may go, and another one of its name may come somewhere else.
func TestAUnitIsWrittenOnlyWhereItIsWhenItWasRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, c client.Client, u *topologyv1alpha1.Unit)
		want   error
	}{
		"it is as it was": {func(*testing.T, client.Client, *topologyv1alpha1.Unit) {}, nil},
		"it is gone": {func(t *testing.T, c client.Client, u *topologyv1alpha1.Unit) {
			must(t, c.Delete(t.Context(), u))
		}, errAgain},
		"it is in another namespace of the member": {func(t *testing.T, c client.Client, u *topologyv1alpha1.Unit) {
			u.Spec.MemberNamespace = "elsewhere"
			must(t, c.Update(t.Context(), u))
		}, errAgain},
		"it is in another member": {func(t *testing.T, c client.Client, u *topologyv1alpha1.Unit) {
			u.Spec.Cluster, u.Spec.MemberNamespace = "shared", "acme-2"
			must(t, c.Update(t.Context(), u))
		}, errAgain},
		"it is not ready any more": {func(t *testing.T, c client.Client, u *topologyv1alpha1.Unit) {
			u.Status.Conditions = nil
			must(t, c.Update(t.Context(), u))
		}, errAgain},
	} {
		t.Run(name, func(t *testing.T) {
			k := estate(t)
			u := &topologyv1alpha1.Unit{}
			must(t, k.opts.Client.Get(t.Context(), client.ObjectKey{Namespace: "acme", Name: "good"}, u))
			meta.SetStatusCondition(&u.Status.Conditions, metav1.Condition{Type: topologyv1alpha1.UnitReady, Status: metav1.ConditionTrue, Reason: "Ready"})
			must(t, k.opts.Client.Update(t.Context(), u))
			c.change(t, k.opts.Client, u)
			p := &plan.Plan{Intent: []string{"good.acme.cell"}, Steps: []plan.Step{{Unit: "good.acme.cell", Member: "acmes", MemberNamespace: "a"}}}
			if err := k.still(t.Context(), &federated.Object{Namespace: "acme", TopologyType: "cell"}, p); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
