package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/override"
)

func (a *Admitter) federatedRules(t TypeFacts) rules {
	return rules{
		complete: func(ctx context.Context, req *Request) error { return a.completeFederated(ctx, req, t) },
		judge: func(obj *unstructured.Unstructured) []fault {
			return a.judgeFederated(obj, t)
		},
		compare: a.compareFederated,
		warn:    a.warnFederated,
	}
}

// completeFederated adds the finalizer when an object is made (afterwards that is the propagation's, which knows
// whether copies are left) and the owner whenever the object changes.
func (a *Admitter) completeFederated(ctx context.Context, req *Request, t TypeFacts) error {
	if finalizers := req.Object.GetFinalizers(); req.Create && t.Ours && !slices.Contains(finalizers, wellknown.SyncFinalizer) {
		req.Object.SetFinalizers(append(finalizers, wellknown.SyncFinalizer))
	}
	if req.Namespace == "" {
		return nil
	}
	return a.stamp(ctx, req)
}

// judgeFederated judges an object by itself.
func (a *Admitter) judgeFederated(obj *unstructured.Unstructured, t TypeFacts) []fault {
	if federated.Deeper(obj.Object["spec"], federated.MaxDepth) {
		return []fault{newFault("depth", field.Invalid(specPath, "…", fmt.Sprintf("is nested more than %d levels deep", federated.MaxDepth)))}
	}
	v := read(obj)
	faults := append(a.judgeType(v.topologyType, specPath.Child("topologyType"), true), v.faults...)
	faults = append(faults, judgeTemplate(obj.GetKind(), v.template, t)...)
	faults = append(faults, judgeMetadata(obj, t)...)
	return append(faults, v.judgeOverrides()...)
}

// judgeTemplate holds that the template is of the kind that the type is for. KubeFed forces the kind and lets the
// template's apiVersion win, so another version of the same group is good.
func judgeTemplate(federatedKind string, template map[string]any, t TypeFacts) []fault {
	var faults []fault
	at := specPath.Child("template")
	if kind, there := template["kind"]; there && kind != t.TargetKind {
		faults = append(faults, newFault(fmt.Sprint("template kind ", kind), field.Invalid(at.Child("kind"), kind,
			fmt.Sprintf("a %s holds a %s: leave kind out, or use the federated type of %v", federatedKind, t.TargetKind, kind))))
	}
	if version, there := template["apiVersion"]; there {
		text, ok := version.(string)
		gv, err := schema.ParseGroupVersion(text)
		switch {
		case !ok || err != nil || text == "":
			faults = append(faults, newFault(fmt.Sprint("template apiVersion ", version),
				field.Invalid(at.Child("apiVersion"), version, "must be a group and version like apps/v1, or left out")))
		case t.ConfigName != "" && gv.Group != t.TargetGroup:
			faults = append(faults, newFault("template apiVersion "+text, field.Invalid(at.Child("apiVersion"), text,
				fmt.Sprintf("a %s holds a %s of group %q: leave apiVersion out, or use the federated type of %s",
					federatedKind, t.TargetKind, t.TargetGroup, text))))
		}
	}
	if metadata, there := template["metadata"]; there && metadata != nil {
		if _, ok := metadata.(map[string]any); !ok {
			faults = append(faults, newFault(fmt.Sprint("template metadata ", metadata),
				field.TypeInvalid(at.Child("metadata"), metadata, "must be an object")))
		}
	}
	return faults
}

// judgeOverrides holds that every unit has one entry, and that it applies to the template.
func (v *view) judgeOverrides() []fault {
	var faults []fault
	first := map[string]int{}
	judge := override.NewJudge(v.template)
	for i, e := range v.overrides {
		if at, twice := first[e.name]; twice {
			dup := field.Duplicate(e.ref.path, v.words.unit(e.name, v.namespace, v.topologyType))
			dup.Detail = fmt.Sprintf("%s[%d] is for it already: put all its overrides there", specPath.Child("overrides"), at)
			faults = append(faults, newFault("two entries "+e.name, dup))
		} else {
			first[e.name] = i
		}
		ops, errs := override.Parse(e.raw, e.path)
		if len(errs) == 0 {
			errs = judge.Validate(ops, e.path)
		}
		for _, err := range errs {
			id := fmt.Sprint("override ", e.name, err.Type, err.BadValue)
			if err.Type != field.ErrorTypeDuplicate { // there the detail says an index
				id += err.Detail
			}
			faults = append(faults, newFault(id, err))
		}
	}
	return faults
}

// compareFederated judges what only others can tell.
func (a *Admitter) compareFederated(ctx context.Context, req *Request) ([]fault, error) {
	v := read(req.Object)
	known := map[string]bool{}
	var faults []fault
	if req.Old != nil {
		old := read(req.Old)
		if old.topologyType != v.topologyType {
			return []fault{newFault("type changed", field.Forbidden(specPath.Child("topologyType"),
				fmt.Sprintf("was %s and cannot become %s: topologyType is immutable, make another object", old.topologyType, v.topologyType)))}, nil
		}
		for _, r := range old.placement.refs {
			known[r.name] = true
		}
	}
	if req.Namespace != "" {
		owner, err := a.judgeOwner(ctx, req)
		if err != nil {
			return nil, err
		}
		faults = append(faults, owner...)
		place, err := a.judgePlace(ctx, req, v)
		if err != nil {
			return nil, err
		}
		faults = append(faults, place...)
	}
	if !slices.Contains(a.types, v.topologyType) {
		return faults, nil // members, or a fault that was told already
	}
	for _, r := range v.placement.refs {
		if !r.good || known[r.name] {
			continue
		}
		known[r.name] = true
		text, err := a.missing(ctx, v, r.name)
		if err != nil {
			return nil, err
		}
		if text != "" {
			err := field.Invalid(r.path, v.words.unit(r.name, v.namespace, v.topologyType), text+": make the unit first, or take it out of the placement")
			faults = append(faults, newFault("unknown "+r.name, err))
		}
	}
	return faults, nil
}

// missing says that there is no such unit of the object's type; nothing if there is.
func (a *Admitter) missing(ctx context.Context, v *view, name string) (string, error) {
	unit, found, err := a.facts.Unit(ctx, v.namespace, name)
	if err != nil {
		return "", unavailable("whether there is a unit "+name+" in namespace "+v.namespace, err)
	}
	if found && unit.Spec.TopologyType == v.topologyType {
		return "", nil
	}
	text := fmt.Sprintf("no unit %s of type %s in namespace %s", name, v.topologyType, v.namespace)
	if found {
		text += " (it is of type " + strings.TrimSpace(unit.Spec.TopologyType) + ")"
	}
	return text, nil
}
