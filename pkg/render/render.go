package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
}

// Desired is the object to create, or to put in place of the observed one.
func Desired(in Input) (*unstructured.Unstructured, error) {
	obj := runtime.DeepCopyJSON(orEmpty(in.Content.Template))
	u := &unstructured.Unstructured{Object: obj}
	if err := identify(u, in); err != nil {
		return nil, err
	}
	retain(u, in)
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
	mark(u, in.Owner)
	return u, nil
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

// retain takes over from the observed object what is the member's.
func retain(u *unstructured.Unstructured, in Input) {
	if in.Observed == nil {
		return
	}
	u.SetResourceVersion(in.Observed.GetResourceVersion())
	u.SetFinalizers(in.Observed.GetFinalizers())
	annotations := in.Observed.GetAnnotations()
	delete(annotations, wellknown.OwnerAnnotation) // mark puts it on; overrides that replace the map must not fail over it
	u.SetAnnotations(annotations)
	if !in.RetainReplicas {
		return
	}
	if replicas, ok, _ := unstructured.NestedInt64(in.Observed.Object, "spec", "replicas"); ok {
		if spec, isMap := u.Object["spec"].(map[string]any); isMap {
			spec["replicas"] = replicas
		}
	}
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

// Version names what an observed object holds, apart from what is the member's own: status, bookkeeping, finalizers
// and foreign annotations. As long as it is the version recorded at the last confirmed write, nobody changed the
// content, and an object that the member filled with defaults needs no comparing with what was asked.
func Version(u *unstructured.Unstructured) (string, error) {
	content := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		switch k { // what is not content: the member's own, and the words in which it was asked for
		case "status", "metadata", "apiVersion", "kind":
		default:
			content[k] = v
		}
	}
	content["metadata"] = map[string]any{
		"labels": u.GetLabels(),
		"owner":  u.GetAnnotations()[wellknown.OwnerAnnotation],
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encoding the observed object: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
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
