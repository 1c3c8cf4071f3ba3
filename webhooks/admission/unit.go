package admission

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// defaultUnitType is what a unit is when nobody says.
const defaultUnitType = "cell"

func (a *Admitter) unitRules() rules {
	return rules{complete: a.completeUnit, judge: a.judgeUnit, compare: a.compareUnit}
}

// unitSpec is a unit's spec as its author wrote it.
type unitSpec struct{ topologyType, cluster, memberNamespace string }

func unitSpecOf(obj *unstructured.Unstructured) unitSpec {
	if obj == nil {
		return unitSpec{}
	}
	text := func(key string) string {
		s, _, _ := unstructured.NestedString(obj.Object, "spec", key)
		return s
	}
	return unitSpec{text("topologyType"), text("cluster"), text("memberNamespace")}
}

func (a *Admitter) completeUnit(ctx context.Context, req *Request) error {
	if spec, ok := req.Object.Object["spec"].(map[string]any); ok {
		// The same manifest, written once more, means the same. A field that the stored unit lacks stays away: the spec
		// is immutable.
		old := unitSpecOf(req.Old)
		if req.Old == nil || old.topologyType != "" {
			setDefault(spec, "topologyType", defaultUnitType)
		}
		if req.Old == nil || old.memberNamespace != "" {
			setDefault(spec, "memberNamespace", req.Namespace)
		}
	}
	return a.stamp(ctx, req)
}

func (a *Admitter) judgeUnit(obj *unstructured.Unstructured) []fault {
	spec := unitSpecOf(obj)
	faults := a.judgeType(spec.topologyType, specPath.Child("topologyType"), false)
	for _, p := range topology.ValidateUnitName(obj.GetName()) {
		if obj.GetName() == "" {
			break // one is generated, and a DNS label; what it is made from is judged below
		}
		faults = append(faults, newFault("name"+p, field.Invalid(field.NewPath("metadata", "name"), obj.GetName(), p)))
	}
	if prefix := obj.GetGenerateName(); obj.GetName() == "" && strings.Contains(prefix, ".") {
		faults = append(faults, newFault("generateName", field.Invalid(field.NewPath("metadata", "generateName"), prefix,
			"a unit's name is a DNS label: it has no dots")))
	}
	if spec.cluster == "" {
		faults = append(faults, newFault("no cluster", field.Required(specPath.Child("cluster"), "say which KubeFedCluster the unit lives on")))
	}
	faults = append(faults, judgeMemberNamespace(spec.memberNamespace)...)
	return append(faults, judgeUnitLabels(obj, spec)...)
}

func judgeMemberNamespace(name string) []fault {
	at := specPath.Child("memberNamespace")
	var faults []fault
	for _, p := range topology.ValidateUnitName(name) { // the same rule: a DNS label
		faults = append(faults, newFault("memberNamespace"+p, field.Invalid(at, name, p)))
	}
	if tenancy.IsSystem(name) || name == metav1.NamespaceDefault {
		faults = append(faults, newFault("system namespace", field.Forbidden(at,
			fmt.Sprintf("%s is a system namespace of the member: say another one", name))))
	}
	return faults
}

// judgeUnitLabels keeps the labels by which units are found true. The plane sets them on the unit's KubeFedCluster.
func judgeUnitLabels(obj *unstructured.Unstructured, spec unitSpec) []fault {
	group, _, _ := strings.Cut(wellknown.TopologyUnitLabel, "/")
	truth := map[string]string{wellknown.TopologyTypeLabel: spec.topologyType,
		wellknown.TopologyNamespaceLabel: obj.GetNamespace(), wellknown.TopologyUnitLabel: obj.GetName()}
	var faults []fault
	for key, value := range obj.GetLabels() {
		want, known := truth[key]
		if !strings.HasPrefix(key, group+"/") || known && value == want {
			continue
		}
		faults = append(faults, newFault("label "+key+value, field.Forbidden(field.NewPath("metadata", "labels").Key(key),
			"labels of "+group+" are the plane's: leave it out")))
	}
	slices.SortFunc(faults, func(x, y fault) int { return strings.Compare(x.id, y.id) })
	return faults
}

func (a *Admitter) compareUnit(ctx context.Context, req *Request) ([]fault, error) {
	if req.Old != nil && !reflect.DeepEqual(req.Old.Object["spec"], req.Object.Object["spec"]) {
		return []fault{newFault("spec changed", field.Forbidden(specPath, "a unit's spec is immutable: make another unit"))}, nil
	}
	faults, err := a.judgeOwner(ctx, req)
	if err != nil || !req.Create {
		return faults, err
	}
	spec := unitSpecOf(req.Object)
	if spec.cluster == "" || spec.memberNamespace == "" {
		return faults, nil // said by judgeUnit
	}
	refusal, err := a.judgeGrant(ctx, req.Namespace, spec)
	if err != nil {
		return nil, err
	}
	if refusal != nil { // then nobody is told who has the member namespace
		return append(faults, *refusal), nil
	}
	claim, found, err := a.facts.Claim(ctx, topology.ClaimName(spec.cluster, spec.memberNamespace))
	if err != nil {
		return nil, unavailable("who has claimed namespace "+spec.memberNamespace+" of member "+spec.cluster, err)
	}
	if !found {
		return faults, nil
	}
	held, err := a.holds(ctx, req, claim.Spec.Unit)
	if err != nil {
		return nil, err
	}
	if held {
		faults = append(faults, newFault("claimed", field.Forbidden(specPath.Child("memberNamespace"),
			fmt.Sprintf("namespace %s of member %s belongs to another unit: say another memberNamespace", spec.memberNamespace, spec.cluster))))
	}
	return faults, nil
}

// holds tells whether the holder of a claim is another unit than the requested one. A claim of an earlier unit of this
// name, and one whose unit is no more (its finalizer was taken off by hand), is the unit controller's to judge.
func (a *Admitter) holds(ctx context.Context, req *Request, holder topologyv1alpha1.UnitReference) (bool, error) {
	if holder.Namespace == req.Namespace && holder.Name == req.Object.GetName() {
		return false, nil
	}
	unit, found, err := a.facts.Unit(ctx, holder.Namespace, holder.Name)
	if err != nil {
		return false, unavailable("whether the unit is there that has claimed the member namespace", err)
	}
	return found && string(unit.UID) == holder.UID, nil
}
