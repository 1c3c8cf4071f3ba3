package abandonment

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/member"
)

// Reasons of the condition Leftovers.
const (
	ReasonNotHeardOf     = "NotHeardOf"
	ReasonAnotherCluster = "AnotherCluster"
	ReasonLooking        = "Looking"
	ReasonFound          = "Found"
	ReasonNothingLeft    = "NothingLeft"
)

// Leftovers are the objects in a member that carry the plane's marks and that no federated object keeps, and whether
// everything could be looked at. listed asks the member itself; else open views are looked into.
type Leftovers func(ctx context.Context, member string, listed bool) (map[types.UID]topologyv1alpha1.Leftover, bool, error)

// Options tune the controller.
type Options struct {
	// Confirm is the time between the two looks that make a leftover (5s), Again between looks at what stays (10m), and
	// Calm how long a member's views must have been left alone before they are looked into (3s).
	Confirm, Again, Calm time.Duration
	// LookTimeout bounds one look at one member (2m).
	LookTimeout time.Duration
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&o.Confirm, 5 * time.Second}, {&o.Again, 10 * time.Minute}, {&o.Calm, 3 * time.Second}, {&o.LookTimeout, 2 * time.Minute}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return o
}

// Controller looks for what was left behind.
type Controller struct {
	client    client.Client
	fleet     *member.Fleet
	recorder  events.EventRecorder
	leftovers Leftovers
	tell      func(member, message string)
	opts      Options

	mu     sync.Mutex
	looks  map[string]look // by abandonment
	waits  map[string]*watched
	kicked chan struct{}
}

// look is a first look that waits to be confirmed.
type look struct {
	at    time.Time
	found map[types.UID]topologyv1alpha1.Leftover
}

// New returns a controller. tell takes what was found in a member in general; "" = nothing.
func New(c client.Client, fleet *member.Fleet, recorder events.EventRecorder, leftovers Leftovers, tell func(member, message string), opts Options) *Controller {
	return &Controller{
		client: c, fleet: fleet, recorder: recorder, leftovers: leftovers, tell: tell, opts: opts.withDefaults(),
		looks: map[string]look{}, waits: map[string]*watched{}, kicked: make(chan struct{}, 1),
	}
}

// SetupWithManager makes mgr run the controller.
func (c *Controller) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("abandonment").
		For(&topologyv1alpha1.Abandonment{}).
		WatchesRawSource(source.Func(c.watchMembers)).
		Complete(c)
	if err != nil {
		return err
	}
	return mgr.Add(patrol{c})
}

// watchMembers enqueues the abandonments that a member's coming or going concerns.
func (c *Controller) watchMembers(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	cancel := c.fleet.Subscribe(func(e member.Event) {
		if !e.GVR.Empty() {
			return
		}
		list := &topologyv1alpha1.AbandonmentList{}
		if err := c.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			if ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, "Listing abandonments failed; they look at their member at their next change")
			}
			return
		}
		for i := range list.Items {
			if list.Items[i].Spec.Cluster == e.Member {
				queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
	})
	context.AfterFunc(ctx, cancel)
	return nil
}

// Reconcile looks whether the place is back, and what is left there.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var a topologyv1alpha1.Abandonment
	if err := c.client.Get(ctx, req.NamespacedName, &a); apierrors.IsNotFound(err) {
		c.note(req.Name, nil)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading abandonment %s: %w", req.Name, err)
	}
	if a.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	unknown := func(reason, format string, args ...any) (reconcile.Result, error) {
		c.note(a.Name, nil)
		// What was found when the place was heard of last is still the best that is known.
		return c.write(ctx, &a, a.Status.Leftovers, a.Status.LeftoverCount, metav1.ConditionUnknown, reason, fmt.Sprintf(format, args...))
	}
	m, err := c.fleet.Member(a.Spec.Cluster)
	switch {
	case errors.Is(err, member.ErrUnknown):
		return unknown(ReasonNotHeardOf, "there is no member %s", a.Spec.Cluster)
	case err != nil:
		return unknown(ReasonNotHeardOf, "member %s cannot be reached", a.Spec.Cluster)
	case a.Spec.ClusterID != "" && m.Identity() != "" && m.Identity() != a.Spec.ClusterID:
		return unknown(ReasonAnotherCluster, "member %s is another cluster now (%s)", a.Spec.Cluster, m.Identity())
	}
	return c.look(ctx, &a)
}

// look looks into a place that is back.
func (c *Controller) look(ctx context.Context, a *topologyv1alpha1.Abandonment) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.LookTimeout)
	defer cancel()
	found, complete, err := c.leftovers(ctx, a.Spec.Cluster, true)
	if err != nil || !complete {
		c.note(a.Name, nil)
		ctrl.LoggerFrom(ctx).V(1).Info("Looking for leftovers failed", "member", a.Spec.Cluster, "err", err)
		why := "not everything there can be read yet"
		if err != nil {
			why = err.Error()
		}
		result, err := c.write(ctx, a, a.Status.Leftovers, a.Status.LeftoverCount, metav1.ConditionUnknown, ReasonLooking, why)
		result.RequeueAfter = c.opts.Confirm
		return result, err
	}
	for uid, l := range found {
		if a.Spec.Unit != "" && l.Unit != a.Spec.Unit || a.Spec.MemberNamespace != "" && l.Namespace != "" && l.Namespace != a.Spec.MemberNamespace {
			delete(found, uid)
		}
	}
	before, looked := c.noted(a.Name)
	if len(found) > 0 && (!looked || time.Since(before.at) < c.opts.Confirm) {
		if !looked {
			c.note(a.Name, &look{time.Now(), found})
		}
		var err error
		if told := meta.FindStatusCondition(a.Status.Conditions, topologyv1alpha1.AbandonmentLeftovers); told == nil || told.Status == metav1.ConditionUnknown {
			// Whoever reads it meanwhile should not take the place for one that is still away.
			_, err = c.write(ctx, a, a.Status.Leftovers, a.Status.LeftoverCount, metav1.ConditionUnknown, ReasonLooking,
				"the place is back, and what is left there is looked at: ask again in a moment")
		}
		return reconcile.Result{RequeueAfter: c.opts.Confirm}, err
	}
	c.note(a.Name, nil)
	confirmed := both(before.found, found)
	status, reason, message := metav1.ConditionFalse, ReasonNothingLeft, "the place is back, and nothing of the plane is left there"
	if len(confirmed) > 0 {
		status, reason = metav1.ConditionTrue, ReasonFound
		message = fmt.Sprintf("the place is back, and %s; the plane never deletes them", counted(len(confirmed)))
	}
	result, err := c.write(ctx, a, first(confirmed), int64(len(confirmed)), status, reason, message)
	result.RequeueAfter = max(result.RequeueAfter, c.opts.Again)
	return result, err
}

func (c *Controller) noted(name string) (look, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.looks[name]
	return l, ok
}

func (c *Controller) note(name string, l *look) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l == nil {
		delete(c.looks, name)
		return
	}
	c.looks[name] = *l
}

// write writes the status if it says anything new, and tells of leftovers that were not told before.
func (c *Controller) write(ctx context.Context, a *topologyv1alpha1.Abandonment, leftovers []topologyv1alpha1.Leftover, count int64,
	status metav1.ConditionStatus, reason, message string,
) (reconcile.Result, error) {
	before := a.DeepCopy()
	a.Status.Leftovers, a.Status.LeftoverCount = leftovers, count
	meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: topologyv1alpha1.AbandonmentLeftovers, Status: status,
		Reason: reason, Message: message, ObservedGeneration: a.Generation})
	if equality.Semantic.DeepEqual(before.Status, a.Status) {
		return reconcile.Result{}, nil
	}
	switch err := c.client.Status().Update(ctx, a); {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: 50 * time.Millisecond}, nil
	case client.IgnoreNotFound(err) != nil:
		return reconcile.Result{}, fmt.Errorf("writing the status of abandonment %s: %w", a.Name, err)
	}
	if status == metav1.ConditionTrue && before.Status.LeftoverCount != count {
		c.recorder.Eventf(a, nil, corev1.EventTypeWarning, "LeftoversFound", "Look", "%s", message)
	}
	return reconcile.Result{}, nil
}
