package admission

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// Request is one write that wants to be admitted.
type Request struct {
	// Create tells a creation from an update. Nothing else is judged.
	Create bool
	// Kind and Resource are of the version that the request speaks.
	Kind        schema.GroupVersionKind
	Resource    schema.GroupVersionResource
	Subresource string
	Namespace   string
	// Object is what shall be stored. Mutate changes it in place.
	Object *unstructured.Unstructured
	// Old is what is stored; nil for a creation.
	Old *unstructured.Unstructured
}

// Options is what an Admitter is configured with.
type Options struct {
	// TopologyTypes are the configured types of units, without "cluster".
	TopologyTypes []string
	// Gates are the feature gates of the process's own configuration. A KubeFedConfig may say otherwise.
	Gates features.Gates
}

// Admitter judges and completes writes.
type Admitter struct {
	facts Facts
	types []string
	base  features.Gates
}

// New makes an Admitter that looks things up in facts.
func New(facts Facts, o Options) *Admitter {
	return &Admitter{facts: facts, types: slices.Clone(o.TopologyTypes), base: o.Gates}
}

// rules are what there is to say about one kind.
type rules struct {
	// complete sets what the author left out, in place.
	complete func(ctx context.Context, req *Request) error
	// judge tells what is wrong with an object by itself. It is asked about the stored object too.
	judge func(obj *unstructured.Unstructured) []fault
	// compare tells what is wrong given everything else that is there. Its error is one of looking up.
	compare func(ctx context.Context, req *Request) ([]fault, error)
	// warn tells what may not be meant so. It is not asked about objects with faults.
	warn func(ctx context.Context, req *Request) []string
}

// rulesFor picks the rules of a kind; false for kinds that are none of ours.
func (a *Admitter) rulesFor(ctx context.Context, req *Request) (rules, bool, error) {
	gk := req.Kind.GroupKind()
	switch gk {
	case namespaceKind:
		return a.namespaceRules(), true, nil
	case schema.GroupKind{Group: topologyv1alpha1.GroupVersion.Group, Kind: "Unit"}:
		return a.unitRules(), true, nil
	case schema.GroupKind{Group: corev1beta1.GroupVersion.Group, Kind: "KubeFedCluster"}:
		return a.clusterRules(), true, nil
	case schema.GroupKind{Group: corev1beta1.GroupVersion.Group, Kind: "FederatedTypeConfig"}:
		return a.typeConfigRules(), true, nil
	case schema.GroupKind{Group: corev1beta1.GroupVersion.Group, Kind: "KubeFedConfig"}:
		return a.configRules(), true, nil
	}
	if !mayBeFederated(gk) {
		return rules{}, false, nil
	}
	facts, known, err := a.facts.FederatedType(ctx, gk)
	if err != nil {
		return rules{}, false, unavailable("whether "+gk.Kind+" is a federated type", err)
	}
	if !known {
		if gk.Group != wellknown.FederatedGroup {
			return rules{}, false, nil
		}
		facts = TypeFacts{TargetKind: strings.TrimPrefix(gk.Kind, federatedPrefix)}
	}
	return a.federatedRules(facts), true, nil
}

const federatedPrefix = "Federated"

// mayBeFederated spares kinds that cannot be federated types the look-up. FederatedTypeConfigs that name others are
// refused, so this and judgeFederatedType must agree.
func mayBeFederated(gk schema.GroupKind) bool {
	return strings.HasPrefix(gk.Kind, federatedPrefix) && strings.Contains(gk.Group, ".") && !strings.HasSuffix(gk.Group, ".k8s.io")
}

// passes tells whether a request goes through whatever it holds.
func passes(req *Request) bool {
	switch {
	case req.Object == nil:
		return true
	case changesOwner(req):
		return false // by any way in, and also while the object is being deleted: what it owns is still there
	case req.Subresource != "":
		return true
	case req.Create:
		return false // also with the deletion timestamp of a dump, which is not stored
	case req.Object.GetDeletionTimestamp() != nil:
		return true
	}
	return req.Old == nil || reflect.DeepEqual(req.Old.Object["spec"], req.Object.Object["spec"]) &&
		reflect.DeepEqual(req.Old.GetLabels(), req.Object.GetLabels()) && !deleteOptionsChanged(req)
}

// warnUnchanged warns where somebody meant to change a spec and did not.
func warnUnchanged(req *Request) []string {
	if req.Subresource != "" || req.Object == nil || req.Object.GetDeletionTimestamp() != nil {
		return nil
	}
	return warnLeft(req)
}

// Mutate completes the request's object in place.
func (a *Admitter) Mutate(ctx context.Context, req *Request) error {
	if passes(req) {
		return nil
	}
	r, ok, err := a.rulesFor(ctx, req)
	if err != nil || !ok || r.complete == nil {
		return err
	}
	return r.complete(ctx, req)
}

// Validate judges the request: an error refuses it, warnings are told to its author.
func (a *Admitter) Validate(ctx context.Context, req *Request) ([]string, error) {
	if passes(req) {
		return warnUnchanged(req), nil
	}
	r, ok, err := a.rulesFor(ctx, req)
	if err != nil || !ok {
		return nil, err
	}
	placed := *req
	placed.Object, placed.Old = withNamespace(req.Object, req.Namespace), withNamespace(req.Old, req.Namespace)
	req = &placed
	faults := r.judge(req.Object)
	if len(faults) != 0 && req.Old != nil {
		faults = added(faults, r.judge(req.Old))
	}
	gated, err := a.judgeGates(ctx, req)
	if err != nil {
		return nil, err
	}
	faults = append(faults, gated...)
	if r.compare != nil {
		more, err := r.compare(ctx, req)
		if err != nil {
			return nil, err
		}
		faults = append(faults, more...)
	}
	if len(faults) != 0 {
		errs := make(field.ErrorList, 0, len(faults))
		for _, f := range faults {
			errs = append(errs, f.err)
		}
		name := req.Object.GetName()
		if name == "" {
			name = req.Object.GetGenerateName()
		}
		return nil, apierrors.NewInvalid(req.Kind.GroupKind(), name, errs)
	}
	if r.warn == nil {
		return nil, nil
	}
	return r.warn(ctx, req), nil
}

// stamp gives the object the owner of its namespace.
func (a *Admitter) stamp(ctx context.Context, req *Request) error {
	want, err := a.namespaceLabels(ctx, req.Namespace)
	if err != nil {
		return err
	}
	if labels, changed := tenancy.Stamp(req.Object.GetLabels(), want); changed {
		req.Object.SetLabels(labels)
	}
	return nil
}

// judgeOwner refuses labels of an owner other than the namespace's: completing sets them, but something between may
// have set others.
func (a *Admitter) judgeOwner(ctx context.Context, req *Request) ([]fault, error) {
	want, err := a.namespaceLabels(ctx, req.Namespace)
	if err != nil {
		return nil, err
	}
	if tenancy.Stamped(req.Object.GetLabels(), want) {
		return nil, nil
	}
	at := field.NewPath("metadata", "labels")
	return []fault{newFault("owner", field.Forbidden(at,
		"the labels "+strings.Join(tenancy.Keys, " and ")+" are those of namespace "+req.Namespace+": leave them out"))}, nil
}

func (a *Admitter) namespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	labels, found, err := a.facts.NamespaceLabels(ctx, name)
	if err != nil {
		return nil, unavailable("who owns namespace "+name, err)
	}
	if !found {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
	}
	return labels, nil
}

// judgeType judges a topology type that is said at a path.
func (a *Admitter) judgeType(t string, at *field.Path, withCluster bool) []fault {
	supported := slices.Clone(a.types)
	if withCluster {
		supported = append([]string{topology.TypeCluster}, supported...)
	}
	if slices.Contains(supported, t) {
		return nil
	}
	return []fault{newFault("type "+t, field.NotSupported(at, t, supported))}
}

// unavailable says that facts could not be read. It is a refusal for the time being: 503.
func unavailable(what string, err error) error {
	return apierrors.NewServiceUnavailable(fmt.Sprintf("cannot find out %s just now, so nothing was stored; try again: %v", what, err))
}
