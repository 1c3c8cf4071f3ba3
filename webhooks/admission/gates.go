package admission

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// gateFacts are facts that know what a KubeFedConfig says of gates.
type gateFacts interface {
	// Gates are the feature gates that are in force, on top of those that the process was configured with.
	Gates(ctx context.Context, base features.Gates) (features.Gates, error)
}

// gates are the feature gates that are in force.
func (a *Admitter) gates(ctx context.Context) (features.Gates, error) {
	live, ok := a.facts.(gateFacts)
	if !ok {
		return a.base, nil
	}
	gates, err := live.Gates(ctx, a.base)
	if err != nil {
		return gates, unavailable("which feature gates are on", err)
	}
	return gates, nil
}

// gateUse is a use of what a gate governs, and where it stands.
type gateUse struct {
	gate features.Gate
	path *field.Path
}

// judgeGates refuses what newly uses a feature whose gate is off. What used it before is held, and may be changed.
func (a *Admitter) judgeGates(ctx context.Context, req *Request) ([]fault, error) {
	kind := req.Kind.GroupKind()
	if len(gateUses(kind, req.Object)) == 0 {
		return nil, nil // and no look-up
	}
	gates, err := a.gates(ctx)
	if err != nil {
		return nil, err
	}
	off := func(obj *unstructured.Unstructured) []fault {
		var out []fault
		for _, u := range gateUses(kind, obj) {
			if !gates.Enabled(u.gate) {
				out = append(out, newFault(string(u.gate)+u.path.String(), field.Forbidden(u.path, fmt.Sprintf(
					"feature gate %s is off: leave this out, or switch the gate on in KubeFedConfig %s", u.gate, corev1beta1.KubeFedConfigName))))
			}
		}
		return out
	}
	if req.Old == nil {
		return off(req.Object), nil
	}
	return added(off(req.Object), off(req.Old)), nil
}

// gateUses are the uses in one object. What is malformed is told by the object's own rules.
func gateUses(gk schema.GroupKind, obj *unstructured.Unstructured) []gateUse {
	spec, _ := obj.Object["spec"].(map[string]any)
	var uses []gateUse
	use := func(gate features.Gate, there bool, path *field.Path) {
		if there {
			uses = append(uses, gateUse{gate, path})
		}
	}
	switch gk {
	case namespaceKind:
		use(features.TenantIsolation, tenancy.Of(obj.GetLabels()) != tenancy.Tenant{}, field.NewPath("metadata", "labels"))
	case schema.GroupKind{Group: topologyv1alpha1.GroupVersion.Group, Kind: "Unit"}:
		use(features.Topologies, true, field.NewPath("kind"))
	case schema.GroupKind{Group: corev1beta1.GroupVersion.Group, Kind: "KubeFedCluster"}:
		use(features.TenantIsolation, said(spec["grants"]), specPath.Child("grants"))
	case schema.GroupKind{Group: corev1beta1.GroupVersion.Group, Kind: "FederatedTypeConfig"}:
		use(features.AnnotationPropagation, said(spec["propagatingAnnotations"]), specPath.Child("propagatingAnnotations"))
		use(features.FieldRetention, said(spec["retainedFields"]), specPath.Child("retainedFields"))
	default:
		if !mayBeFederated(gk) {
			return nil
		}
		t, _ := spec["topologyType"].(string)
		use(features.Topologies, t != "" && t != topology.TypeCluster, specPath.Child("topologyType"))
		use(features.PlacementMask, spec["placementMask"] != nil, specPath.Child("placementMask"))
	}
	return uses
}

// said tells whether a list says anything.
func said(raw any) bool {
	list, ok := raw.([]any)
	return raw != nil && (!ok || len(list) != 0)
}
