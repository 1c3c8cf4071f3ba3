package unit

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/tenancy"
)

// namespace reads the unit's namespace, and gives the unit its owner's labels if it came past admission without them, or
// with others.
func (c *Controller) namespace(ctx context.Context, unit *topologyv1alpha1.Unit) (*corev1.Namespace, error) {
	ns := &corev1.Namespace{}
	if err := c.client.Get(ctx, client.ObjectKey{Name: unit.Namespace}, ns); err != nil {
		return nil, fmt.Errorf("reading namespace %s: %w", unit.Namespace, err)
	}
	labels, changed := tenancy.Stamp(unit.Labels, ns.Labels)
	if !changed {
		return ns, nil
	}
	before, spec := unit.DeepCopy(), unit.Spec
	unit.Labels = labels
	if err := c.client.Patch(ctx, unit, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("setting the owner's labels: %w", err)
	}
	unit.Spec = spec
	return ns, nil
}

// granted tells whether the member lets the unit's tenant use the member namespace. A unit that had it granted once keeps
// its claim and its KubeFedCluster: copies may be there.
func (c *Controller) granted(unit *topologyv1alpha1.Unit, member *corev1beta1.KubeFedCluster, namespace *corev1.Namespace) error {
	access := tenancy.Access{Owner: tenancy.Of(member.Labels), Grants: member.Spec.Grants,
		Required: c.opts.RequireGrants != nil && c.opts.RequireGrants()}
	who := tenancy.Of(namespace.Labels)
	if access.Granted(who, unit.Spec.MemberNamespace) {
		return nil
	}
	return refuse(ReasonNotGranted, "namespace %s of member %s is not granted to %s: spec.grants of KubeFedCluster %s has to list it",
		unit.Spec.MemberNamespace, member.Name, who, member.Name)
}

// told names the holder of a claim to a unit of the same namespace. Who lives elsewhere is nobody's business.
func told(holder, asking topologyv1alpha1.UnitReference) string {
	if holder.Namespace != asking.Namespace {
		return "a unit of another namespace"
	}
	return fmt.Sprintf("unit %s/%s (%s)", holder.Namespace, holder.Name, holder.TopologyType)
}
