package propagation

import (
	"context"
	"fmt"
	"sort"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// candidates are the units that an object could be placed in: those of its own tenant and workspace. This is where others'
// end, before anything is selected and before any member is looked at: for the plan there is no such unit. unowned says
// why it cannot be told whose the object is; then there are none.
func (k *carrier) candidates(ctx context.Context, o *federated.Object) (units []plan.Unit, unowned *plan.Why, err error) {
	who, unowned, err := k.owner(ctx, o)
	if err != nil || unowned != nil {
		return nil, unowned, err
	}
	members, err := k.members(ctx)
	if err != nil {
		return nil, nil, err
	}
	if o.TopologyType == topology.TypeCluster {
		units = k.membersAsUnits(who, members, o)
	} else if units, err = k.units(ctx, who, o, members); err != nil {
		return nil, nil, err
	}
	// Caches list in no order, and equal facts must make equal plans.
	sort.Slice(units, func(i, j int) bool { return units[i].Name < units[j].Name })
	return units, nil, nil
}

// members are the physical members by name. They are the cache's own: read only.
func (k *carrier) members(ctx context.Context) (map[string]*corev1beta1.KubeFedCluster, error) {
	list := &corev1beta1.KubeFedClusterList{}
	if err := k.opts.Client.List(ctx, list, client.InNamespace(wellknown.FederationNamespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing members: %w", err)
	}
	members := make(map[string]*corev1beta1.KubeFedCluster, len(list.Items))
	for i := range list.Items {
		members[list.Items[i].Name] = &list.Items[i]
	}
	return members, nil
}

// membersAsUnits are the units of topology "cluster": the owner's own physical members.
func (k *carrier) membersAsUnits(who tenancy.Tenant, members map[string]*corev1beta1.KubeFedCluster, o *federated.Object) []plan.Unit {
	out := make([]plan.Unit, 0, len(members))
	for name, m := range members {
		if tenancy.Of(m.Labels) != who {
			continue
		}
		u := plan.Unit{Name: name, Member: name, MemberID: m.Annotations[wellknown.ClusterIDAnnotation], MemberNamespace: o.Namespace, Labels: m.Labels}
		if m.DeletionTimestamp != nil {
			u.Problem = &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("member %s is being removed", name)}
		}
		if o.Namespace != "" && !(o.Deleting && tenancy.IsSystem(o.Namespace)) { // what was let in once may go
			u.NotYours = k.notYours(who, m, o.Namespace)
		}
		out = append(out, u)
	}
	return out
}

// units are the units of the object's topology type in its namespace, as far as they are the namespace's owner's.
func (k *carrier) units(ctx context.Context, who tenancy.Tenant, o *federated.Object, members map[string]*corev1beta1.KubeFedCluster) ([]plan.Unit, error) {
	list := &topologyv1alpha1.UnitList{}
	if err := k.opts.Client.List(ctx, list, client.InNamespace(o.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing units of namespace %s: %w", o.Namespace, err)
	}
	var out []plan.Unit
	for i := range list.Items {
		unit := list.Items[i]
		if unit.Spec.TopologyType == "" {
			unit.Spec.TopologyType = "cell" // as the unit controller reads one that came past admission
		}
		if unit.Spec.MemberNamespace == "" {
			unit.Spec.MemberNamespace = unit.Namespace
		}
		if unit.Spec.TopologyType != o.TopologyType || tenancy.Of(unit.Labels) != who {
			continue
		}
		u := plan.Unit{
			Name:            topology.UnitClusterName(unit.Name, unit.Namespace, unit.Spec.TopologyType),
			Member:          unit.Spec.Cluster,
			MemberNamespace: unit.Spec.MemberNamespace,
			Labels:          unitLabels(&unit),
			Problem:         unitProblem(&unit),
		}
		if m := members[u.Member]; m != nil {
			u.MemberID = m.Annotations[wellknown.ClusterIDAnnotation]
			u.NotYours = k.notYours(who, m, u.MemberNamespace)
		}
		out = append(out, u)
	}
	return out, nil
}

// abandonments are the places that were given up.
func (k *carrier) abandonments(ctx context.Context) ([]plan.Abandonment, error) {
	list := &topologyv1alpha1.AbandonmentList{}
	if err := k.opts.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing abandonments: %w", err)
	}
	sort.Slice(list.Items, func(i, j int) bool { return list.Items[i].Name < list.Items[j].Name })
	var out []plan.Abandonment
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp != nil {
			continue
		}
		s := &list.Items[i].Spec
		out = append(out, given(s))
	}
	return out, nil
}

// given is an abandonment as plans see it.
func given(s *topologyv1alpha1.AbandonmentSpec) plan.Abandonment {
	return plan.Abandonment{Cluster: s.Cluster, ClusterID: s.ClusterID, Unit: s.Unit, MemberNamespace: s.MemberNamespace, Reason: s.Reason}
}

// unitLabels are the labels that selectors see: those of the unit's KubeFedCluster.
func unitLabels(u *topologyv1alpha1.Unit) map[string]string {
	labels := make(map[string]string, len(u.Labels)+3)
	for key, value := range u.Labels {
		labels[key] = value
	}
	labels[wellknown.TopologyTypeLabel] = u.Spec.TopologyType
	labels[wellknown.TopologyNamespaceLabel] = u.Namespace
	labels[wellknown.TopologyUnitLabel] = u.Name
	return labels
}

func unitProblem(u *topologyv1alpha1.Unit) *plan.Why {
	if u.DeletionTimestamp != nil {
		return &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("unit %s is being deleted", u.Name)}
	}
	ready := meta.FindStatusCondition(u.Status.Conditions, topologyv1alpha1.UnitReady)
	switch {
	case ready == nil:
		return &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("unit %s has not been looked at yet", u.Name)}
	case ready.Status != "True":
		return &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("unit %s is not ready: %s: %s", u.Name, ready.Reason, ready.Message)}
	}
	return nil
}
