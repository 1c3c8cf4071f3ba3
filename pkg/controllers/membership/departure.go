package membership

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/kubefed/pkg/apis/core/common"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/metrics"
)

// Condition types of a KubeFedCluster beside those of its health. They are there only while they have something to say.
const (
	// TypeIdentified is False while the plane cannot tell who the member is, or another member is the same cluster.
	TypeIdentified common.ClusterConditionType = "Identified"
	// TypeLeftovers is True while objects of the plane are in the member that no federated object keeps.
	TypeLeftovers common.ClusterConditionType = "Leftovers"
	// TypeRemovable is False while the KubeFedCluster is being deleted and something of the plane may be in the member.
	TypeRemovable common.ClusterConditionType = "Removable"
)

// Reasons of these conditions.
const (
	ReasonIdentityUnknown = "IdentityUnknown"
	ReasonJoinedTwice     = "JoinedTwice"
	ReasonFound           = "Found"
	ReasonInUse           = "InUse"
)

const (
	// departure is how long a member stays at least after its deletion was asked for: who was about to write to it has
	// then either recorded that, so that it is in use, or seen that it goes.
	departure = 2 * time.Second
	// A member in use is looked at again after a quarter of the time that it has been waiting to go, within these bounds.
	minInUsePause, maxInUsePause = 500 * time.Millisecond, 15 * time.Second
)

// InUse tells whether something of the plane may still be in a member, and what, for people to read.
type InUse func(ctx context.Context, member string) (bool, string, error)

// Guard has members wait with their going while they are in use. It is called before the controller runs.
func (c *Controller) Guard(inUse InUse) {
	opts := *c.opts.Load()
	opts.InUse = inUse
	c.opts.Store(&opts)
}

// guard puts the finalizer on a member, so that it cannot vanish from under copies.
func (c *Controller) guard(ctx context.Context, cluster *corev1beta1.KubeFedCluster) error {
	if c.opts.Load().InUse == nil || cluster.DeletionTimestamp != nil || controllerutil.ContainsFinalizer(cluster, wellknown.ClusterFinalizer) {
		return nil
	}
	before := cluster.DeepCopy()
	controllerutil.AddFinalizer(cluster, wellknown.ClusterFinalizer)
	return c.patch(ctx, cluster, before, "adding the finalizer of")
}

// pin records who the member is. Nothing is served before the record is there for all to see: what is found in the
// cluster is recorded with it.
func (c *Controller) pin(ctx context.Context, cluster *corev1beta1.KubeFedCluster) (reconcile.Result, error) {
	c.mu.Lock()
	p := c.probers[cluster.Name]
	c.mu.Unlock()
	if p == nil || p.identified().uid == "" {
		return reconcile.Result{}, nil
	}
	before := cluster.DeepCopy()
	if cluster.Annotations == nil {
		cluster.Annotations = map[string]string{}
	}
	cluster.Annotations[wellknown.ClusterIDAnnotation] = p.identified().uid
	if err := c.patch(ctx, cluster, before, "recording the identity of"); err != nil {
		if apierrors.IsConflict(err) {
			return reconcile.Result{RequeueAfter: conflictPause}, nil
		}
		return reconcile.Result{}, err
	}
	c.tell(cluster.Name)
	return reconcile.Result{}, nil
}

func (c *Controller) patch(ctx context.Context, cluster, before *corev1beta1.KubeFedCluster, what string) error {
	err := c.client.Patch(ctx, cluster, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("%s KubeFedCluster %s: %w", what, cluster.Name, err)
	}
	return nil
}

// depart lets a member go that is being deleted, when nothing of the plane is left in it. It returns who holds it, and
// when to look again.
func (c *Controller) depart(ctx context.Context, cluster *corev1beta1.KubeFedCluster) (string, time.Duration, error) {
	if cluster.DeletionTimestamp == nil || !controllerutil.ContainsFinalizer(cluster, wellknown.ClusterFinalizer) {
		return "", 0, nil
	}
	waiting := time.Since(cluster.DeletionTimestamp.Time)
	if rest := departure - waiting; rest > 0 {
		return "", rest, nil
	}
	holder := "whether anything of the plane is in the member cannot be told: propagation does not run here"
	if inUse := c.opts.Load().InUse; inUse != nil {
		used, what, err := inUse(ctx, cluster.Name)
		switch {
		case err != nil:
			holder = fmt.Sprintf("whether anything of the plane is in the member cannot be told now: %v", err)
		case used:
			holder = "it is deleted when nothing of the plane is in the member any more: " + what +
				" (a member that is gone for good is given up with kubectl cellfed abandon)"
		default:
			before := cluster.DeepCopy()
			controllerutil.RemoveFinalizer(cluster, wellknown.ClusterFinalizer)
			if err := c.patch(ctx, cluster, before, "letting go of"); err != nil {
				return "", 0, err
			}
			metrics.MemberLeft(waiting)
			return "", 0, nil
		}
	}
	return holder, min(max(waiting/4, minInUsePause), maxInUsePause), nil
}

// TellLeftovers says what of the plane was found in a member that no federated object keeps; "" = nothing was.
func (c *Controller) TellLeftovers(name, message string) {
	c.mu.Lock()
	before, known := c.leftovers[name]
	c.leftovers[name] = message
	c.mu.Unlock()
	if !known || before != message {
		c.tell(name)
	}
}

// beside are the conditions of a member beside those of its health.
func (c *Controller) beside(ctx context.Context, cluster *corev1beta1.KubeFedCluster, r result, holder string) []kubefedv1beta1.ClusterCondition {
	var out []kubefedv1beta1.ClusterCondition
	c.mu.Lock()
	leftovers, looked := c.leftovers[cluster.Name]
	var who identity
	if p := c.probers[cluster.Name]; p != nil {
		who = p.identified()
	}
	c.mu.Unlock()
	twins := c.twins(ctx, cluster)
	switch {
	case twins != "":
		out = append(out, condition(TypeIdentified, corev1.ConditionFalse, ReasonJoinedTwice,
			fmt.Sprintf("members %s and %s are the same cluster: what is placed in both is written twice; one member has one name", cluster.Name, twins)))
	case r.ok && who.problem != "":
		out = append(out, condition(TypeIdentified, corev1.ConditionFalse, ReasonIdentityUnknown,
			"who the member is is not known, so that another cluster in its place would not be noticed: "+who.problem))
	}
	if before := find(cluster.Status.Conditions, TypeLeftovers); !looked && before != nil {
		out = append(out, condition(TypeLeftovers, before.Status, value(before.Reason), value(before.Message)))
	} else if leftovers != "" {
		out = append(out, condition(TypeLeftovers, corev1.ConditionTrue, ReasonFound, leftovers))
	}
	if holder != "" {
		out = append(out, condition(TypeRemovable, corev1.ConditionFalse, ReasonInUse, holder))
	}
	return out
}

// twins names another member that is the same cluster; "" = none.
func (c *Controller) twins(ctx context.Context, cluster *corev1beta1.KubeFedCluster) string {
	uid := cluster.Annotations[wellknown.ClusterIDAnnotation]
	if uid == "" {
		return ""
	}
	first := ""
	for _, other := range c.sameAs(ctx, cluster) {
		if first == "" || other < first { // always the same one
			first = other
		}
	}
	return first
}

// sameAs are the other members with a member's identity.
func (c *Controller) sameAs(ctx context.Context, cluster client.Object) []string {
	uid := cluster.GetAnnotations()[wellknown.ClusterIDAnnotation]
	if uid == "" {
		return nil
	}
	var list corev1beta1.KubeFedClusterList
	if err := c.client.List(ctx, &list, client.InNamespace(wellknown.FederationNamespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache does not fail
	}
	var out []string
	for i := range list.Items {
		if other := &list.Items[i]; other.Name != cluster.GetName() && other.Annotations[wellknown.ClusterIDAnnotation] == uid {
			out = append(out, other.Name)
		}
	}
	return out
}
