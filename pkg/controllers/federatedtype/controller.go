package federatedtype

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// namespaces is the one type whose federated objects are namespaced while its targets are not (KubeFed's rule).
const namespaces = "namespaces"

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
	// OnlyDeletions: of a type that is disabled, objects that are being deleted are still brought to their end, and
	// nothing else is done. A finalizer that nobody takes off would keep them, and their namespaces, for ever.
	OnlyDeletions bool
	// PropagatingAnnotations and RetainedFields say what of a copy is the template's and what the member's. A type in
	// which they change is started anew, and with it all its objects are looked at.
	PropagatingAnnotations, RetainedFields []string
}

// Types starts and stops the propagation of types.
type Types interface {
	// Start begins, or goes on, to propagate a type; ctx bounds the start only.
	Start(ctx context.Context, t TypeConfig) error
	// Stop ends it. It returns when no write of the type is made any more.
	Stop(name string)
	// Running tells whether a type is propagated.
	Running(name string) bool
}

// Reasons of the conditions Served and InMembers.
const (
	ReasonServed      = "Served"
	ReasonInvalid     = "Invalid"
	ReasonNotOurs     = "DefinitionNotOurs"
	ReasonNotYet      = "NotEstablished"
	ReasonEverywhere  = "Everywhere"
	ReasonLacking     = "Lacking"
	ReasonNowhere     = "Nowhere"
	ReasonNoMember    = "NoMemberAnswered"
	ReasonNotAnswered = "NotAnswered"
)

const (
	// definitionPause is how long to wait for a definition that nothing is heard of, lackingPause for a kind that a
	// member lacks: where it is not propagated, there is no watch that would tell of its coming.
	definitionPause = time.Second
	lackingPause    = time.Minute
	// conflictPause lets the cache catch up with a write that came in between.
	conflictPause = 50 * time.Millisecond
)

// Reconciler keeps the types of a plane.
type Reconciler struct {
	// Client reads from a cache and writes to the plane.
	Client client.Client
	Fleet  *member.Fleet
	Types  Types
	// Conversion says where CRDs ask for conversions.
	Conversion apiextensionsv1.WebhookClientConfig
	// Remaining tells how many objects of a federated type the plane still has a part in, and names some. Without it, a
	// type ends when its FederatedTypeConfig is deleted.
	Remaining func(ctx context.Context, federated schema.GroupVersionResource) (int, []string, error)

	answers answers
}

// Reconcile brings one type to what its FederatedTypeConfig says.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if req.Namespace != wellknown.FederationNamespace {
		return reconcile.Result{}, nil
	}
	after, err := r.reconcile(ctx, req.NamespacedName)
	if apierrors.IsConflict(err) { // the cache is behind
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	}
	return reconcile.Result{RequeueAfter: after}, err
}

func (r *Reconciler) reconcile(ctx context.Context, key client.ObjectKey) (time.Duration, error) {
	stored := &corev1beta1.FederatedTypeConfig{}
	if err := r.Client.Get(ctx, key, stored); err != nil {
		if apierrors.IsNotFound(err) {
			r.Types.Stop(key.Name)
			return 0, nil
		}
		return 0, fmt.Errorf("reading FederatedTypeConfig %s: %w", key.Name, err)
	}
	if stored.DeletionTimestamp != nil {
		return r.end(ctx, stored)
	}
	if controllerutil.AddFinalizer(stored, wellknown.TypeConfigFinalizer) {
		if err := r.Client.Update(ctx, stored); err != nil {
			return 0, fmt.Errorf("adding the finalizer of FederatedTypeConfig %s: %w", key.Name, err)
		}
	}
	ftc := typeschema.WithDefaults(stored)
	served := r.serve(ctx, ftc)
	running, err := r.carry(ctx, ftc, served)
	if err != nil {
		return 0, err
	}
	// What the definition and propagation are is told before the members are asked: one of them may be slow.
	if err := r.report(ctx, stored, running, served); err != nil {
		return 0, err
	}
	target := typeConfig(ftc).Target
	found := r.answers.ask(ctx, r.Fleet, target)
	if err := r.report(ctx, stored, running, found.condition(target)); err != nil {
		return 0, err
	}
	switch {
	case served.Reason == ReasonNotYet:
		return definitionPause, nil
	case len(found.without) > 0:
		return lackingPause, nil
	}
	return 0, nil
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
		there.Spec = want.Spec
		there.Labels, there.Annotations = with(there.Labels, want.Labels), with(there.Annotations, want.Annotations)
		if err := r.Client.Update(ctx, there); err != nil {
			return not(ReasonNotYet, fmt.Errorf("updating %s: %w", want.Name, err))
		}
		return not(ReasonNotYet, fmt.Errorf("%s was just updated", want.Name))
	}
	if there.DeletionTimestamp != nil {
		return not(ReasonNotYet, fmt.Errorf("%s is being deleted", want.Name))
	}
	if !established(there) {
		return not(ReasonNotYet, fmt.Errorf("%s is not established yet", want.Name))
	}
	return metav1.Condition{Type: corev1beta1.TypeServed, Status: metav1.ConditionTrue, Reason: ReasonServed, Message: want.Name + " is served in both forms"}
}

// with is a copy of have with all of want in it: what others put there stays.
func with(have, want map[string]string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, want)
	return out
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

// carry starts or stops the type's propagation: exactly one propagator, ours or KubeFed's. A definition that is not
// as it should be (yet) starts nothing, and stops nothing either: what is propagated must go on to be deleted.
func (r *Reconciler) carry(ctx context.Context, ftc *corev1beta1.FederatedTypeConfig, served metav1.Condition) (bool, error) {
	t := typeConfig(ftc)
	if ftc.Spec.Propagator == corev1beta1.PropagatorKubeFed || t.OnlyDeletions && served.Status != metav1.ConditionTrue {
		r.Types.Stop(ftc.Name)
		return false, nil
	}
	if served.Status != metav1.ConditionTrue {
		return r.Types.Running(ftc.Name), nil
	}
	if err := r.Types.Start(ctx, t); err != nil {
		return false, fmt.Errorf("starting propagation of %s: %w", ftc.Name, err)
	}
	return r.Types.Running(ftc.Name) && !t.OnlyDeletions, nil
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
		FederatedNamespaced: target.Scope == apiextensionsv1.NamespaceScoped || ftc.Name == namespaces,
		CollectStatus:       collect == nil || *collect == kubefedv1beta1.StatusCollectionEnabled,
		OnlyDeletions:       ftc.Spec.Propagation != kubefedv1beta1.PropagationEnabled || ftc.DeletionTimestamp != nil,

		PropagatingAnnotations: slices.Clone(ftc.Spec.PropagatingAnnotations),
		RetainedFields:         slices.Clone(ftc.Spec.RetainedFields),
	}
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
