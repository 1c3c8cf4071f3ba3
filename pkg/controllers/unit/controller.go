package unit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// Reasons of condition Ready beyond those of the API group.
const (
	// ReasonInvalid: the unit says something that admission refuses; it came in some other way.
	ReasonInvalid = "Invalid"
	// ReasonMemberLeaving: the member's KubeFedCluster is being deleted, and waits for its units.
	ReasonMemberLeaving = "MemberLeaving"
	// ReasonSystemNamespace: the member namespace is the member's own.
	ReasonSystemNamespace = "SystemNamespace"
	// ReasonNotGranted: the member does not grant the member namespace to the unit's tenant, or not any more.
	ReasonNotGranted = "NotGranted"
)

const (
	defaultType = "cell"

	// A unit in use is looked at again after a quarter of the time that it has been waiting to go, within these
	// bounds: copies go without an event that would tell, and mostly soon.
	minInUsePause, maxInUsePause = 500 * time.Millisecond, 15 * time.Second
	// conflictPause lets the cache catch up with a write that came in between.
	conflictPause = 50 * time.Millisecond
)

// InUse tells whether something of the plane may still be in a unit, and what, for people to read.
type InUse func(ctx context.Context, unit *topologyv1alpha1.Unit) (bool, string, error)

// Options tune the controller.
type Options struct {
	// InUse is asked before a unit goes. Without it no unit that is deleted goes.
	InUse InUse
	// RequireGrants tells whether members that say nothing of tenants are closed to all that have one (default: not).
	RequireGrants func() bool
	// Concurrency is how many units are worked on at the same time. Default 4.
	Concurrency int
	// Settling is how long a unit stays at least after its deletion was asked for (default 2s, negative = not at all).
	// Who was about to write to it has then either recorded that, so that it is in use, or seen that it goes.
	Settling time.Duration
}

// Controller keeps units.
type Controller struct {
	client   client.Client
	live     client.Reader
	recorder events.EventRecorder
	opts     Options
	// regranted tells that grants mean something else for all units.
	regranted chan event.GenericEvent
}

// New returns a controller. live reads from the plane itself, not from a cache.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, opts Options) *Controller {
	if opts.Concurrency == 0 {
		opts.Concurrency = 4
	}
	if opts.Settling == 0 {
		opts.Settling = 2 * time.Second
	}
	return &Controller{client: c, live: live, recorder: recorder, opts: opts, regranted: make(chan event.GenericEvent, 1)}
}

// refusal is why a unit is not ready, as its condition says it.
type refusal struct{ reason, message string }

func (r *refusal) Error() string { return r.reason + ": " + r.message }

func refuse(reason, format string, args ...any) error {
	return &refusal{reason: reason, message: fmt.Sprintf(format, args...)}
}

// Reconcile brings what a unit lives by to what the unit says.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var unit topologyv1alpha1.Unit
	if err := c.client.Get(ctx, req.NamespacedName, &unit); apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading unit %s: %w", req, err)
	}
	unit.Spec = withDefaults(&unit)
	var after time.Duration
	var err error
	if unit.DeletionTimestamp != nil {
		after, err = c.release(ctx, &unit)
	} else {
		err = c.keep(ctx, &unit)
	}
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		err = c.say(ctx, &unit, metav1.ConditionFalse, refused.reason, refused.message)
	case err == nil && unit.DeletionTimestamp == nil:
		err = c.say(ctx, &unit, metav1.ConditionTrue, topologyv1alpha1.ReasonReady, "the unit may be written")
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) { // the cache is behind, or another unit was faster
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("keeping unit %s: %w", req, err)
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// withDefaults is what admission sets. It is done here too, because a unit may have come past it.
func withDefaults(unit *topologyv1alpha1.Unit) topologyv1alpha1.UnitSpec {
	spec := unit.Spec
	if spec.TopologyType == "" {
		spec.TopologyType = defaultType
	}
	if spec.MemberNamespace == "" {
		spec.MemberNamespace = unit.Namespace
	}
	return spec
}

func clusterName(unit *topologyv1alpha1.Unit) string {
	return topology.UnitClusterName(unit.Name, unit.Namespace, unit.Spec.TopologyType)
}

// keep makes claim and KubeFedCluster. Nothing is made before the finalizer stands: it is what takes them away.
func (c *Controller) keep(ctx context.Context, unit *topologyv1alpha1.Unit) error {
	if err := judge(unit); err != nil {
		return err
	}
	namespace, err := c.namespace(ctx, unit)
	if err != nil {
		return err
	}
	if err := c.ensureFinalizer(ctx, unit); err != nil {
		return err
	}
	var member corev1beta1.KubeFedCluster
	key := client.ObjectKey{Namespace: wellknown.FederationNamespace, Name: unit.Spec.Cluster}
	if err := c.client.Get(ctx, key, &member); apierrors.IsNotFound(err) {
		return refuse(topologyv1alpha1.ReasonUnknownMember, "there is no KubeFedCluster %s in %s", unit.Spec.Cluster, wellknown.FederationNamespace)
	} else if err != nil {
		return fmt.Errorf("reading member %s: %w", unit.Spec.Cluster, err)
	}
	if member.DeletionTimestamp != nil {
		return refuse(ReasonMemberLeaving, "member %s is being removed: nothing new is written to its units; delete the unit", unit.Spec.Cluster)
	}
	if err := c.granted(unit, &member, namespace); err != nil {
		return err
	}
	if err := c.claim(ctx, unit); err != nil {
		return err
	}
	return c.keepCluster(ctx, unit, &member, namespace)
}

// judge refuses what admission refuses, as far as harm could come of it.
func judge(unit *topologyv1alpha1.Unit) error {
	spec := unit.Spec
	if problems := topology.ValidateTopologyType(spec.TopologyType); len(problems) > 0 {
		return refuse(ReasonInvalid, "spec.topologyType %q %s", spec.TopologyType, problems[0])
	}
	if problems := topology.ValidateUnitName(unit.Name); len(problems) > 0 {
		return refuse(ReasonInvalid, "the name %q: %s", unit.Name, problems[0])
	}
	if problems := topology.ValidateClusterName(spec.Cluster); len(problems) > 0 {
		return refuse(ReasonInvalid, "spec.cluster %q: %s", spec.Cluster, problems[0])
	}
	if problems := topology.ValidateUnitName(spec.MemberNamespace); len(problems) > 0 {
		return refuse(ReasonInvalid, "spec.memberNamespace %q: %s", spec.MemberNamespace, problems[0])
	}
	if IsSystemNamespace(spec.MemberNamespace) {
		return refuse(ReasonSystemNamespace, "%s is a namespace of the member's own: no unit may live there", spec.MemberNamespace)
	}
	return nil
}

// IsSystemNamespace tells whether a namespace of a member is never a unit's.
func IsSystemNamespace(name string) bool {
	return name == metav1.NamespaceDefault || tenancy.IsSystem(name)
}

func (c *Controller) ensureFinalizer(ctx context.Context, unit *topologyv1alpha1.Unit) error {
	if controllerutil.ContainsFinalizer(unit, wellknown.UnitFinalizer) {
		return nil
	}
	// A patch of its own, so that the defaults in this copy's spec are not written: a unit's spec is immutable.
	before := unit.DeepCopy()
	controllerutil.AddFinalizer(unit, wellknown.UnitFinalizer)
	spec := unit.Spec
	if err := c.client.Patch(ctx, unit, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	unit.Spec = spec
	return nil
}

// release takes away what the unit lived by, if nothing of the plane is left in it.
func (c *Controller) release(ctx context.Context, unit *topologyv1alpha1.Unit) (time.Duration, error) {
	if !controllerutil.ContainsFinalizer(unit, wellknown.UnitFinalizer) {
		return 0, nil
	}
	if rest := c.opts.Settling - time.Since(unit.DeletionTimestamp.Time); rest > 0 {
		return rest, nil
	}
	if _, err := c.namespace(ctx, unit); client.IgnoreNotFound(err) != nil {
		return 0, err // by its labels propagation knows it for the namespace's own, and takes out what is in it
	}
	if held := c.held(ctx, unit); held != nil {
		if err := c.say(ctx, unit, metav1.ConditionFalse, held.reason, held.message); err != nil {
			return 0, err
		}
		waiting := time.Since(unit.DeletionTimestamp.Time)
		return min(max(waiting/4, minInUsePause), maxInUsePause), nil
	}
	if err := c.dropCluster(ctx, unit); err != nil {
		return 0, err
	}
	if err := c.unclaim(ctx, unit); err != nil {
		return 0, err
	}
	before := unit.DeepCopy()
	controllerutil.RemoveFinalizer(unit, wellknown.UnitFinalizer)
	err := c.client.Patch(ctx, unit, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	return 0, client.IgnoreNotFound(err)
}

// held says why a unit must stay: because something is in it, or because that is not known.
func (c *Controller) held(ctx context.Context, unit *topologyv1alpha1.Unit) *refusal {
	if c.opts.InUse == nil {
		return &refusal{topologyv1alpha1.ReasonInUse, "whether anything is left in the unit cannot be told: propagation does not run here"}
	}
	used, what, err := c.opts.InUse(ctx, unit)
	switch {
	case err != nil:
		return &refusal{topologyv1alpha1.ReasonInUse, fmt.Sprintf("whether anything is left in the unit cannot be told now: %v", err)}
	case used:
		return &refusal{topologyv1alpha1.ReasonInUse, "the unit is deleted when nothing of it is in use: " + what}
	}
	return nil
}

// say writes the status if it says anything new.
func (c *Controller) say(ctx context.Context, unit *topologyv1alpha1.Unit, status metav1.ConditionStatus, reason, message string) error {
	before := unit.DeepCopy()
	unit.Status.ObservedGeneration = unit.Generation
	unit.Status.ClusterName = clusterName(unit)
	changed := meta.SetStatusCondition(&unit.Status.Conditions, metav1.Condition{
		Type: topologyv1alpha1.UnitReady, Status: status, Reason: reason, Message: message, ObservedGeneration: unit.Generation,
	})
	if equality.Semantic.DeepEqual(before.Status, unit.Status) {
		return nil
	}
	if err := c.client.Status().Patch(ctx, unit, client.MergeFrom(before)); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !changed {
		return nil
	}
	was := meta.FindStatusCondition(before.Status.Conditions, topologyv1alpha1.UnitReady)
	if was != nil && was.Status == status && was.Reason == reason {
		return nil
	}
	kind := corev1.EventTypeNormal
	if status != metav1.ConditionTrue {
		kind = corev1.EventTypeWarning
	}
	c.recorder.Eventf(unit, nil, kind, reason, "Reconcile", "%s", message)
	return nil
}

// claim makes sure that the member namespace is this unit's.
func (c *Controller) claim(ctx context.Context, unit *topologyv1alpha1.Unit) error {
	want := &topologyv1alpha1.MemberNamespaceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: topology.ClaimName(unit.Spec.Cluster, unit.Spec.MemberNamespace)},
		Spec: topologyv1alpha1.MemberNamespaceClaimSpec{
			Cluster: unit.Spec.Cluster, MemberNamespace: unit.Spec.MemberNamespace,
			Unit: topologyv1alpha1.UnitReference{Namespace: unit.Namespace, Name: unit.Name, TopologyType: unit.Spec.TopologyType, UID: string(unit.UID)},
		},
	}
	var have topologyv1alpha1.MemberNamespaceClaim
	switch err := c.client.Get(ctx, client.ObjectKeyFromObject(want), &have); {
	case err == nil && have.Spec.Unit.UID == string(unit.UID) && have.DeletionTimestamp == nil:
		return nil
	case err != nil && !apierrors.IsNotFound(err):
		return fmt.Errorf("reading claim %s: %w", want.Name, err)
	case apierrors.IsNotFound(err):
		if err := c.client.Create(ctx, want); !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return c.takeOver(ctx, want)
}

// takeOver judges a claim that is there, by live reads: it is taken only from a unit that is no more.
func (c *Controller) takeOver(ctx context.Context, want *topologyv1alpha1.MemberNamespaceClaim) error {
	var have topologyv1alpha1.MemberNamespaceClaim
	if err := c.live.Get(ctx, client.ObjectKeyFromObject(want), &have); apierrors.IsNotFound(err) {
		return c.client.Create(ctx, want)
	} else if err != nil {
		return fmt.Errorf("reading claim %s: %w", want.Name, err)
	}
	if have.Spec.Unit.UID == want.Spec.Unit.UID && have.DeletionTimestamp == nil {
		return nil
	}
	holder := have.Spec.Unit
	var other topologyv1alpha1.Unit
	err := c.live.Get(ctx, client.ObjectKey{Namespace: holder.Namespace, Name: holder.Name}, &other)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return fmt.Errorf("reading unit %s/%s, which holds claim %s: %w", holder.Namespace, holder.Name, have.Name, err)
	case err == nil && string(other.UID) == holder.UID && holder.UID != want.Spec.Unit.UID:
		return refuse(topologyv1alpha1.ReasonClaimedByOther, "namespace %s of member %s belongs to %s",
			have.Spec.MemberNamespace, have.Spec.Cluster, told(holder, want.Spec.Unit))
	}
	if err := c.client.Delete(ctx, &have, client.Preconditions{UID: &have.UID, ResourceVersion: &have.ResourceVersion}); client.IgnoreNotFound(err) != nil {
		return err
	}
	return c.client.Create(ctx, want)
}

// unclaim releases the unit's claim, and no other's.
func (c *Controller) unclaim(ctx context.Context, unit *topologyv1alpha1.Unit) error {
	var have topologyv1alpha1.MemberNamespaceClaim
	name := topology.ClaimName(unit.Spec.Cluster, unit.Spec.MemberNamespace)
	if err := c.live.Get(ctx, client.ObjectKey{Name: name}, &have); err != nil {
		return client.IgnoreNotFound(err)
	}
	if have.Spec.Unit.UID != string(unit.UID) {
		return nil
	}
	return client.IgnoreNotFound(c.client.Delete(ctx, &have, client.Preconditions{UID: &have.UID}))
}

// claimants are the units that want what a claim is about.
func (c *Controller) claimants(ctx context.Context, claim client.Object) []reconcile.Request {
	spec := claim.(*topologyv1alpha1.MemberNamespaceClaim).Spec
	units := c.unitsOn(ctx, spec.Cluster)
	units = slices.DeleteFunc(units, func(u topologyv1alpha1.Unit) bool { return withDefaults(&u).MemberNamespace != spec.MemberNamespace })
	return requests(units)
}

func requests(units []topologyv1alpha1.Unit) []reconcile.Request {
	out := make([]reconcile.Request, 0, len(units))
	for i := range units {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&units[i])})
	}
	return out
}

// unitsOn are the units of a member. A failed read finds none: the cache it reads does not fail, and every unit is
// looked at again when it or its member changes.
func (c *Controller) unitsOn(ctx context.Context, member string) []topologyv1alpha1.Unit {
	var list topologyv1alpha1.UnitList
	if err := c.client.List(ctx, &list, client.MatchingFields{memberField: member}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the units of a member", "member", member)
		return nil
	}
	return list.Items
}
