package federatedtype

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// TypeConfig is what propagation needs to know of a type.
type TypeConfig struct {
	// Name is the FederatedTypeConfig's.
	Name string
	// Federated is the federated resource in cluster form.
	Federated     schema.GroupVersionResource
	FederatedKind string
	// Target is the members' resource.
	Target     schema.GroupVersionResource
	TargetKind string
	// Namespaced: the target lives in namespaces. FederatedNamespaced: so does the federated object.
	Namespaced, FederatedNamespaced bool
	CollectStatus                   bool
}

// Types starts and stops the propagation of types.
type Types interface {
	// Start begins, or goes on, to propagate a type; ctx bounds the start only.
	Start(ctx context.Context, t TypeConfig) error
	// Stop ends it. It returns when no write of the type is made any more.
	Stop(name string)
}

// Reasons of the conditions Served and InMembers.
const (
	ReasonServed      = "Served"
	ReasonInvalid     = "Invalid"
	ReasonNotOurs     = "DefinitionNotOurs"
	ReasonNotYet      = "NotEstablished"
	ReasonEverywhere  = "Everywhere"
	ReasonLacking     = "Lacking"
	ReasonNoMember    = "NoMemberAnswered"
	ReasonNotAnswered = "NotAnswered"
)

// askTimeout bounds asking one member for its kinds.
const askTimeout = 5 * time.Second

// Reconciler keeps the types of a plane.
type Reconciler struct {
	// Client reads from a cache and writes to the plane.
	Client client.Client
	Fleet  *member.Fleet
	Types  Types
	// Conversion says where CRDs ask for conversions.
	Conversion apiextensionsv1.WebhookClientConfig
}

// AddTo adds the controller to a manager.
func (r *Reconciler) AddTo(mgr ctrl.Manager) error {
	members := make(chan event.TypedGenericEvent[string], 64)
	r.Fleet.Subscribe(func(e member.Event) {
		if e.Name != "" {
			return
		}
		select {
		case members <- event.TypedGenericEvent[string]{Object: e.Member}:
		default: // a full channel has work enough in it: each event concerns all types
		}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("federatedtype").
		For(&corev1beta1.FederatedTypeConfig{}).
		Watches(&apiextensionsv1.CustomResourceDefinition{}, handler.EnqueueRequestsFromMapFunc(ofDefinition)).
		WatchesRawSource(source.TypedChannel(members, handler.TypedEnqueueRequestsFromMapFunc(r.all))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2}).
		Complete(r)
}

// ofDefinition maps a CRD to the FederatedTypeConfig that it was made from.
func ofDefinition(_ context.Context, o client.Object) []reconcile.Request {
	name, ours := typeschema.IsOurs(o)
	if !ours {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: wellknown.FederationNamespace, Name: name}}}
}

// all maps a change in a member to all types.
func (r *Reconciler) all(ctx context.Context, _ string) []reconcile.Request {
	list := &corev1beta1.FederatedTypeConfigList{}
	if err := r.Client.List(ctx, list, client.InNamespace(wellknown.FederationNamespace)); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing federated types failed; they look at their members at their next change")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

// Reconcile brings one type to what its FederatedTypeConfig says.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if req.Namespace != wellknown.FederationNamespace {
		return reconcile.Result{}, nil
	}
	stored := &corev1beta1.FederatedTypeConfig{}
	if err := r.Client.Get(ctx, req.NamespacedName, stored); err != nil {
		if apierrors.IsNotFound(err) {
			r.Types.Stop(req.Name)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("reading FederatedTypeConfig %s: %w", req.Name, err)
	}
	if stored.DeletionTimestamp != nil {
		return reconcile.Result{}, r.end(ctx, stored)
	}
	if controllerutil.AddFinalizer(stored, wellknown.TypeConfigFinalizer) {
		if err := r.Client.Update(ctx, stored); err != nil {
			return reconcile.Result{}, fmt.Errorf("adding the finalizer of FederatedTypeConfig %s: %w", req.Name, err)
		}
	}
	ftc := typeschema.WithDefaults(stored)
	served := r.serve(ctx, ftc)
	running, err := r.carry(ctx, ftc, served.Status == metav1.ConditionTrue)
	if err != nil {
		return reconcile.Result{}, err
	}
	in, lacking := r.inMembers(ctx, ftc)
	if err := r.report(ctx, stored, running, served, in); err != nil {
		return reconcile.Result{}, err
	}
	if served.Reason == ReasonNotYet && served.Status != metav1.ConditionTrue {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	if lacking {
		// A kind that is not propagated has no watch that would tell of its coming.
		return reconcile.Result{RequeueAfter: time.Minute}, nil
	}
	return reconcile.Result{}, nil
}

// end stops a type's propagation. Its CRD and objects stay, as in KubeFed.
func (r *Reconciler) end(ctx context.Context, ftc *corev1beta1.FederatedTypeConfig) error {
	r.Types.Stop(ftc.Name)
	if !controllerutil.RemoveFinalizer(ftc, wellknown.TypeConfigFinalizer) {
		return nil
	}
	if err := r.Client.Update(ctx, ftc); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing the finalizer of FederatedTypeConfig %s: %w", ftc.Name, err)
	}
	return nil
}

// serve makes the type's CRD as it should be and tells how it is.
func (r *Reconciler) serve(ctx context.Context, ftc *corev1beta1.FederatedTypeConfig) metav1.Condition {
	not := func(reason string, err error) metav1.Condition {
		return metav1.Condition{Type: corev1beta1.TypeServed, Status: metav1.ConditionFalse, Reason: reason, Message: err.Error()}
	}
	want, err := typeschema.Definition(ftc, typeschema.Options{Conversion: r.Conversion})
	if err != nil {
		return not(ReasonInvalid, err)
	}
	there := &apiextensionsv1.CustomResourceDefinition{}
	err = r.Client.Get(ctx, client.ObjectKeyFromObject(want), there)
	switch {
	case apierrors.IsNotFound(err):
		if err := r.Client.Create(ctx, want); err != nil && !apierrors.IsAlreadyExists(err) {
			return not(ReasonNotYet, fmt.Errorf("creating %s: %w", want.Name, err))
		}
		return not(ReasonNotYet, fmt.Errorf("%s was just created", want.Name))
	case err != nil:
		return not(ReasonNotYet, fmt.Errorf("reading %s: %w", want.Name, err))
	}
	if from, ours := typeschema.IsOurs(there); !ours || from != ftc.Name {
		return not(ReasonNotOurs, fmt.Errorf("%s is there and was not made from this FederatedTypeConfig: it is left alone", want.Name))
	}
	if !asWanted(want, there) {
		there.Spec, there.Labels, there.Annotations = want.Spec, want.Labels, want.Annotations
		if err := r.Client.Update(ctx, there); err != nil {
			return not(ReasonNotYet, fmt.Errorf("updating %s: %w", want.Name, err))
		}
		return not(ReasonNotYet, fmt.Errorf("%s was just updated", want.Name))
	}
	if !established(there) {
		return not(ReasonNotYet, fmt.Errorf("%s is not established yet", want.Name))
	}
	return metav1.Condition{Type: corev1beta1.TypeServed, Status: metav1.ConditionTrue, Reason: ReasonServed, Message: want.Name + " is served in both forms"}
}

// asWanted compares what was asked for with what is stored. The API server adds defaults, so the stored one may say
// more, but not in the versions' schemas, which are closed.
func asWanted(want, there *apiextensionsv1.CustomResourceDefinition) bool {
	if !equality.Semantic.DeepDerivative(want.Spec, there.Spec) || len(want.Spec.Versions) != len(there.Spec.Versions) {
		return false
	}
	for key, value := range want.Annotations {
		if there.Annotations[key] != value {
			return false
		}
	}
	for i := range want.Spec.Versions {
		if !equality.Semantic.DeepEqual(want.Spec.Versions[i].Schema, there.Spec.Versions[i].Schema) {
			return false
		}
	}
	return true
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// carry starts or stops the type's propagation: exactly one propagator, ours or KubeFed's.
func (r *Reconciler) carry(ctx context.Context, ftc *corev1beta1.FederatedTypeConfig, served bool) (bool, error) {
	if ftc.Spec.Propagation != kubefedv1beta1.PropagationEnabled || ftc.Spec.Propagator == corev1beta1.PropagatorKubeFed || !served {
		if served || ftc.Spec.Propagation != kubefedv1beta1.PropagationEnabled {
			r.Types.Stop(ftc.Name)
		}
		return false, nil
	}
	if err := r.Types.Start(ctx, typeConfig(ftc)); err != nil {
		return false, fmt.Errorf("starting propagation of %s: %w", ftc.Name, err)
	}
	return true, nil
}

func typeConfig(ftc *corev1beta1.FederatedTypeConfig) TypeConfig {
	target, federated := ftc.Spec.TargetType, ftc.Spec.FederatedType
	collect := ftc.Spec.StatusCollection
	return TypeConfig{
		Name:                ftc.Name,
		Federated:           schema.GroupVersionResource{Group: federated.Group, Version: wellknown.ClusterForm, Resource: federated.PluralName},
		FederatedKind:       federated.Kind,
		Target:              schema.GroupVersionResource{Group: target.Group, Version: target.Version, Resource: target.PluralName},
		TargetKind:          target.Kind,
		Namespaced:          target.Scope == apiextensionsv1.NamespaceScoped,
		FederatedNamespaced: federated.Scope == apiextensionsv1.NamespaceScoped,
		CollectStatus:       collect == nil || *collect == kubefedv1beta1.StatusCollectionEnabled,
	}
}

// inMembers asks the members for the target kind; lacking tells whether one that answered has none.
func (r *Reconciler) inMembers(ctx context.Context, ftc *corev1beta1.FederatedTypeConfig) (condition metav1.Condition, lacking bool) {
	target := typeConfig(ftc).Target
	var without, silent []string
	answered := 0
	for _, name := range r.Fleet.Names() {
		m, err := r.Fleet.Member(name)
		if err != nil {
			silent = append(silent, name)
			continue
		}
		ask, cancel := context.WithTimeout(ctx, askTimeout)
		_, err = m.Kind(ask, target)
		cancel()
		var lacks *member.LacksKindError
		switch {
		case err == nil:
			answered++
		case errors.As(err, &lacks):
			answered++
			without = append(without, name)
		default:
			silent = append(silent, name)
		}
	}
	condition = metav1.Condition{Type: corev1beta1.TypeInMembers, Status: metav1.ConditionTrue, Reason: ReasonEverywhere,
		Message: "every member that answers has " + target.GroupResource().String()}
	switch {
	case len(without) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, ReasonLacking
		condition.Message = fmt.Sprintf("%s %s not served by %d of %d members that answer: %s", target.GroupResource(), target.Version,
			len(without), answered, few(without))
	case answered == 0 && len(silent) == 0:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionUnknown, ReasonNoMember, "there is no member yet"
	case answered == 0:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionUnknown, ReasonNotAnswered, "no member answers"
	}
	return condition, len(without) > 0
}

func few(names []string) string {
	const told = 10
	sort.Strings(names)
	if len(names) <= told {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:told], ", "), len(names)-told)
}

func (r *Reconciler) report(ctx context.Context, ftc *corev1beta1.FederatedTypeConfig, running bool, conditions ...metav1.Condition) error {
	before := ftc.Status.DeepCopy()
	ftc.Status.ObservedGeneration = ftc.Generation
	ftc.Status.PropagationController = kubefedv1beta1.ControllerStatusNotRunning
	if running {
		ftc.Status.PropagationController = kubefedv1beta1.ControllerStatusRunning
	}
	for _, c := range conditions {
		c.ObservedGeneration = ftc.Generation
		meta.SetStatusCondition(&ftc.Status.Conditions, c)
	}
	if equality.Semantic.DeepEqual(before, &ftc.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, ftc); err != nil {
		return fmt.Errorf("writing the status of FederatedTypeConfig %s: %w", ftc.Name, err)
	}
	return nil
}
