package render

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/override"
	"github.com/cellfed/cellfed/pkg/retain"
)

// ErrOverrides marks errors whose cause is the unit's overrides; others are the template's.
var ErrOverrides = errors.New("overrides")

// Input is all that a member's object is made of.
type Input struct {
	Target schema.GroupVersionKind
	// Name and Namespace in the member; Namespace is empty for cluster-scoped kinds.
	Name, Namespace string
	Content         federated.Content
	Owner           federated.Owner
	// Observed is what is there now; nil = nothing.
	Observed       *unstructured.Unstructured
	RetainReplicas bool
	// Policy is the type's.
	Policy Policy
}

// Desired is the object to create, or to put in place of the observed one.
func Desired(in Input) (*unstructured.Unstructured, error) {
	obj := runtime.DeepCopyJSON(orEmpty(in.Content.Template))
	u := &unstructured.Unstructured{Object: obj}
	if err := identify(u, in); err != nil {
		return nil, err
	}
	keep(u, in)
	ops, faults := override.Parse(in.Content.Overrides, field.NewPath("clusterOverrides"))
	if len(faults) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrOverrides, faults.ToAggregate())
	}
	if len(ops) > 0 {
		patched, err := override.Apply(u.Object, ops)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOverrides, err)
		}
		if escapes := override.Escapes(u.Object, patched); len(escapes) > 0 {
			return nil, fmt.Errorf("%w: they change %s, which only the plane may", ErrOverrides, strings.Join(escapes, ", "))
		}
		u.Object = patched
	}
	if err := annotate(u, in); err != nil {
		if len(ops) > 0 {
			return nil, fmt.Errorf("%w: with them %w", ErrOverrides, err)
		}
		return nil, fmt.Errorf("template.%w", err)
	}
	keepStatus(u, in.Observed)
	mark(u, in.Owner)
	return u, nil
}

// keepStatus leaves status to the member. Where it is no subresource, as in many a custom kind, a write without it would
// take it away. Overrides do not see it: whether they apply must not depend on how a copy is.
func keepStatus(u, observed *unstructured.Unstructured) {
	delete(u.Object, "status")
	if observed == nil {
		return
	}
	if status, there := observed.Object["status"]; there {
		u.Object["status"] = runtime.DeepCopyJSONValue(status)
	}
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// identify gives the object the identity that the plane means, and nothing of an identity that the template brought.
func identify(u *unstructured.Unstructured, in Input) error {
	if raw, present := u.Object["metadata"]; present {
		if _, ok := raw.(map[string]any); !ok && raw != nil {
			return fmt.Errorf("template.metadata is %T, not an object", raw)
		}
	}
	metadata := map[string]any{}
	if labels, present, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "labels"); present && labels != nil {
		m, ok := labels.(map[string]any)
		if !ok {
			return fmt.Errorf("template.metadata.labels is %T, not an object", labels)
		}
		for _, k := range slices.Sorted(maps.Keys(m)) { // in order: equal faults are told in equal words
			if _, ok := m[k].(string); !ok {
				return fmt.Errorf("template.metadata.labels[%s] is %v, not a string: put it in quotes", k, m[k])
			}
		}
		metadata["labels"] = m
	}
	if annotations, present, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "annotations"); present && !in.Policy.Annotations.Empty() {
		if m, ok := annotations.(map[string]any); ok {
			delete(m, wellknown.OwnerAnnotation) // mark puts it on; overrides that replace the map must not fail over it
		}
		metadata["annotations"] = annotations // overrides may speak of any of them; annotate sorts them afterwards
	}
	u.Object["metadata"] = metadata
	delete(u.Object, "status")
	u.SetName(in.Name)
	if in.Namespace != "" {
		u.SetNamespace(in.Namespace)
	}
	if v, present := u.Object["apiVersion"]; present {
		if s, ok := v.(string); !ok || s == "" {
			return fmt.Errorf("template.apiVersion is %v, not a string", v)
		}
	} else {
		u.SetAPIVersion(in.Target.GroupVersion().String())
	}
	u.SetKind(in.Target.Kind)
	return nil
}

// keep takes over from the observed object what is the member's.
func keep(u *unstructured.Unstructured, in Input) {
	if in.Observed == nil {
		return
	}
	u.SetResourceVersion(in.Observed.GetResourceVersion())
	u.SetFinalizers(in.Observed.GetFinalizers())
	if owners, ok, _ := unstructured.NestedSlice(in.Observed.Object, "metadata", "ownerReferences"); ok && len(owners) > 0 {
		u.Object["metadata"].(map[string]any)["ownerReferences"] = owners // who else lives on it is the member's affair
	}
	if in.Policy.Annotations.Empty() {
		annotations := in.Observed.GetAnnotations()
		delete(annotations, wellknown.OwnerAnnotation) // mark puts it on; overrides that replace the map must not fail over it
		u.SetAnnotations(annotations)
	}
	retain.For(in.Target.GroupKind(), in.Policy.Retained, in.RetainReplicas).Apply(u.Object, in.Observed.Object)
}

// annotate ends what is said of annotations where some are spec: of those that template and overrides say the ones that
// propagate, and of the member's the others. So whether an override applies never depends on what a member holds.
func annotate(u *unstructured.Unstructured, in Input) error {
	policy := in.Policy.Annotations
	if policy.Empty() {
		return nil
	}
	said, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "annotations")
	ours, ok := said.(map[string]any)
	if said != nil && !ok {
		return fmt.Errorf("metadata.annotations is %T, not an object", said)
	}
	annotations := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(ours)) {
		if !policy.Matches(k) {
			continue
		}
		v, ok := ours[k].(string)
		if !ok {
			return fmt.Errorf("metadata.annotations[%s] is %v, not a string: put it in quotes", k, ours[k])
		}
		annotations[k] = v
	}
	if in.Observed != nil {
		for k, v := range in.Observed.GetAnnotations() {
			if !policy.Matches(k) {
				annotations[k] = v
			}
		}
	}
	u.SetAnnotations(annotations)
	return nil
}

func mark(u *unstructured.Unstructured, owner federated.Owner) {
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[wellknown.ManagedLabel] = wellknown.ManagedTrue
	u.SetLabels(labels)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[wellknown.OwnerAnnotation] = owner.String()
	u.SetAnnotations(annotations)
}

// OwnerOf reads the owner mark of a member's object.
func OwnerOf(u *unstructured.Unstructured) (federated.Owner, bool) {
	if u == nil {
		return federated.Owner{}, false
	}
	annotations, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "annotations")
	m, _ := annotations.(map[string]any)
	s, _ := m[wellknown.OwnerAnnotation].(string)
	return federated.ReadOwner(s)
}
