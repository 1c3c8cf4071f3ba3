package membership

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	"sigs.k8s.io/kubefed/pkg/apis/core/common"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/metrics"
)

// conflictPause lets the cache catch up with a write that came in between.
const conflictPause = 50 * time.Millisecond

// Options say how members are watched over. The zero value is KubeFed's defaults.
type Options struct {
	// Period is how often a ready member is asked (10s), Timeout how long it may take to answer (3s).
	Period, Timeout time.Duration
	// FailureThreshold (3) and SuccessThreshold (1) say how many results in a row change a member's health.
	FailureThreshold, SuccessThreshold int
	// SuspicionPeriod is how often a member is asked that has begun to fail (1s), RecoveryPeriod how often one that is
	// not ready (2s). Neither is longer than Period.
	SuspicionPeriod, RecoveryPeriod time.Duration
	// Member is how the prober's own connections are made.
	Member member.Options
	// Tunnels says what is known of members' tunnels; nil = the process has none.
	Tunnels Tunnels
	// InUse is asked before a member goes. Without it, members go when they are deleted.
	InUse InUse
}

func (o Options) withDefaults() Options {
	orElse(&o.Period, 10*time.Second)
	orElse(&o.Timeout, 3*time.Second)
	orElse(&o.FailureThreshold, 3)
	orElse(&o.SuccessThreshold, 1)
	orElse(&o.SuspicionPeriod, time.Second)
	orElse(&o.RecoveryPeriod, 2*time.Second)
	return o
}

func orElse[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Health is what of Options may change while members are watched over.
type Health struct {
	Period, Timeout                    time.Duration
	FailureThreshold, SuccessThreshold int
}

// with is the options with another way of watching over members.
func (o Options) with(h Health) Options {
	o.Period, o.Timeout, o.FailureThreshold, o.SuccessThreshold = h.Period, h.Timeout, h.FailureThreshold, h.SuccessThreshold
	return o.withDefaults()
}

// Controller keeps the fleet and the status of physical KubeFedClusters.
type Controller struct {
	client   client.Client
	fleet    *member.Fleet
	recorder events.EventRecorder
	opts     atomic.Pointer[Options]
	changed  chan event.GenericEvent

	mu      sync.Mutex
	probers map[string]*prober
	seen    map[string]bool // members that have been reconciled at least once
	// leftovers are what TellLeftovers said.
	leftovers map[string]string
}

// New returns a controller that keeps fleet. Its probers live as long as the fleet.
func New(c client.Client, fleet *member.Fleet, recorder events.EventRecorder, opts Options) *Controller {
	ctl := &Controller{
		client: c, fleet: fleet, recorder: recorder,
		changed: make(chan event.GenericEvent, 64), probers: map[string]*prober{}, seen: map[string]bool{}, leftovers: map[string]string{},
	}
	opts = opts.withDefaults()
	ctl.opts.Store(&opts)
	fleet.OnSuspicion(ctl.suspect)
	if opts.Tunnels != nil {
		opts.Tunnels.Subscribe(fleet.Context(), ctl.tunnelChanged)
	}
	return ctl
}

// SetHealth changes how members are watched over, from now on and for all of them. Zero values are the defaults.
func (c *Controller) SetHealth(h Health) {
	opts := c.opts.Load().with(h)
	c.opts.Store(&opts)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.probers {
		p.kick() // it may be in the middle of a longer pause than there is now
	}
}

// SetupWithManager makes mgr run the controller.
func (c *Controller) SetupWithManager(mgr ctrl.Manager) error {
	here := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == wellknown.FederationNamespace })
	return ctrl.NewControllerManagedBy(mgr).
		Named("membership").
		For(&corev1beta1.KubeFedCluster{}, builder.WithPredicates(here)).
		Watches(&corev1beta1.KubeFedCluster{}, handler.EnqueueRequestsFromMapFunc(c.twinsOf), builder.WithPredicates(here)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.clustersOf), builder.WithPredicates(here)).
		WatchesRawSource(source.Channel(c.changed, &handler.EnqueueRequestForObject{})).
		Complete(c)
}

// twinsOf finds the other members that are the same cluster.
func (c *Controller) twinsOf(ctx context.Context, cluster client.Object) []reconcile.Request {
	var out []reconcile.Request
	for _, name := range c.sameAs(ctx, cluster) {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: cluster.GetNamespace(), Name: name}})
	}
	return out
}

// clustersOf finds the members that use a secret.
func (c *Controller) clustersOf(ctx context.Context, secret client.Object) []reconcile.Request {
	var list corev1beta1.KubeFedClusterList
	if err := c.client.List(ctx, &list, client.InNamespace(secret.GetNamespace())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Finding the members that use a secret", "secret", secret.GetName())
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if list.Items[i].Spec.SecretRef.Name == secret.GetName() {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}

// Reconcile brings the fleet and the status of one member to what its KubeFedCluster and its prober say.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if req.Namespace != wellknown.FederationNamespace {
		return reconcile.Result{}, nil
	}
	var cluster corev1beta1.KubeFedCluster
	if err := c.client.Get(ctx, req.NamespacedName, &cluster); apierrors.IsNotFound(err) {
		c.forget(req.Name)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading KubeFedCluster %s: %w", req.Name, err)
	}
	if err := c.guard(ctx, &cluster); apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	} else if err != nil {
		return reconcile.Result{}, err
	}
	holder, after, err := c.depart(ctx, &cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	result, err := c.keep(ctx, &cluster, holder)
	if after > 0 && (result.RequeueAfter == 0 || after < result.RequeueAfter) {
		result.RequeueAfter = after
	}
	return result, err
}

// keep has the member probed and says how it is. holder is what keeps one that is being deleted.
func (c *Controller) keep(ctx context.Context, cluster *corev1beta1.KubeFedCluster, holder string) (reconcile.Result, error) {
	config, err := c.config(ctx, cluster)
	var refused *member.ConfigError
	switch {
	case errors.As(err, &refused):
		c.refuse(cluster.Name, refused)
		return c.write(ctx, cluster, malformed(refused), holder)
	case err != nil:
		return reconcile.Result{}, err
	}
	told, known := c.engage(cluster.Name, config, cluster.Annotations[wellknown.ClusterIDAnnotation])
	if told.pinning {
		return c.pin(ctx, cluster)
	}
	if !known {
		return reconcile.Result{}, nil // the prober's first result comes back as an event
	}
	return c.write(ctx, cluster, told, holder)
}

func malformed(err *member.ConfigError) result {
	return result{reason: ReasonConfigMalformed, message: "cluster's configuration may be malformed: " + err.Error()}
}

func (c *Controller) config(ctx context.Context, cluster *corev1beta1.KubeFedCluster) (member.Config, error) {
	if cluster.Spec.SecretRef.Name == "" {
		return member.ConfigFor(cluster, nil)
	}
	secret := &corev1.Secret{}
	key := types.NamespacedName{Namespace: cluster.Namespace, Name: cluster.Spec.SecretRef.Name}
	if err := c.client.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		secret = nil
	} else if err != nil {
		return member.Config{}, fmt.Errorf("reading the secret of member %s: %w", cluster.Name, err)
	}
	return member.ConfigFor(cluster, secret)
}

// engage makes sure that the member is probed under this configuration, and returns what is known of it. Where another
// configuration was in force, it stays so until the first probe has told whom the new one leads to.
func (c *Controller) engage(name string, config member.Config, pinned string) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[name] = true
	p := c.probers[name]
	if p != nil && p.config.Equal(config) {
		p.pin(pinned)
		return p.told()
	}
	if p != nil {
		p.stop()
	} else {
		c.fleet.Engage(name, config)
	}
	c.probers[name] = startProber(c.fleet.Context(), c.fleet, name, config, pinned, c.opts.Load, c.tell)
	return result{}, false
}

// refuse ends what there is of a member whose configuration makes no connection; the fleet goes on knowing its name.
func (c *Controller) refuse(name string, why *member.ConfigError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[name] = true
	if p := c.probers[name]; p != nil {
		p.stop()
		delete(c.probers, name)
	}
	r := malformed(why)
	c.fleet.SetReachable(name, false, r.reason, r.message)
	c.fleet.Engage(name, member.Config{})
	c.fleet.SetReachable(name, false, r.reason, r.message)
}

func (c *Controller) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, name)
	delete(c.leftovers, name)
	metrics.MemberGone(name)
	if p := c.probers[name]; p != nil {
		p.stop()
		delete(c.probers, name)
	}
	c.fleet.Disengage(name)
}

// write writes the status if it says anything new, and tells of it.
func (c *Controller) write(ctx context.Context, cluster *corev1beta1.KubeFedCluster, r result, holder string) (reconcile.Result, error) {
	if ctx.Err() == nil { // afterwards another server tells it, and what is told here would stay
		metrics.Member(cluster.Name, stateOf(r))
	}
	beside := c.beside(ctx, cluster, r, holder)
	next, changed := nextStatus(cluster.Status.KubeFedClusterStatus, r, metav1.Now(), beside...)
	tunnel := c.tunnelOf(cluster)
	if !changed && equality.Semantic.DeepEqual(tunnel, cluster.Status.Tunnel) {
		return reconcile.Result{}, nil
	}
	old, version := cluster.Status.Conditions, cluster.Status.KubernetesVersion
	was := find(old, common.ClusterReady)
	cluster.Status = corev1beta1.KubeFedClusterStatus{KubeFedClusterStatus: next, Tunnel: tunnel}
	switch err := c.client.Status().Update(ctx, cluster); {
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, nil
	case apierrors.IsConflict(err): // the cache is behind
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("writing the status of KubeFedCluster %s: %w", cluster.Name, err)
	}
	measureJoin(cluster, r, version)
	for i := range beside {
		if b := find(old, beside[i].Type); b == nil || b.Status != beside[i].Status || value(b.Reason) != value(beside[i].Reason) {
			c.recorder.Eventf(cluster, nil, corev1.EventTypeWarning, string(beside[i].Type)+value(beside[i].Reason), "Probe", "%s", value(beside[i].Message))
		}
	}
	if was != nil && (was.Status == corev1.ConditionTrue) == r.ok && value(was.Reason) == r.reason {
		return reconcile.Result{}, nil
	}
	kind := corev1.EventTypeNormal
	if !r.ok {
		kind = corev1.EventTypeWarning
	}
	c.recorder.Eventf(cluster, nil, kind, r.reason, "Probe", "%s", r.message)
	// By the plane's own logger: controller-runtime's is turned down.
	klog.FromContext(c.fleet.Context()).Info("Member's health changed", "member", cluster.Name, "reason", r.reason, "message", r.message)
	return reconcile.Result{}, nil
}

// tell has a member reconciled, because its prober has something new.
func (c *Controller) tell(name string) {
	cluster := &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: name}}
	select {
	case c.changed <- event.GenericEvent{Object: cluster}:
	case <-c.fleet.Context().Done():
	}
}

func (c *Controller) suspect(name string) {
	c.mu.Lock()
	p := c.probers[name]
	c.mu.Unlock()
	if p != nil {
		p.kick()
	}
}

// Settled tells whether each physical member that the plane knows has been asked for its health at least once. Before
// that, a member that is not connected has not failed; it has not been tried.
func (c *Controller) Settled(ctx context.Context) (bool, error) {
	var list corev1beta1.KubeFedClusterList
	if err := c.client.List(ctx, &list, client.InNamespace(wellknown.FederationNamespace)); err != nil {
		return false, fmt.Errorf("listing the members: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range list.Items {
		if !c.seen[list.Items[i].Name] {
			return false, nil
		}
		if p := c.probers[list.Items[i].Name]; p != nil {
			if _, known := p.told(); !known {
				return false, nil
			}
		}
	}
	return true, nil
}
