package propagation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/annotation"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
	"github.com/cellfed/cellfed/pkg/retain"
)

// policyOf reads what a type says of its copies. Admission refuses what cannot be read; where it stands all the same,
// the type's objects are held: a pattern that is ignored would take annotations away from members.
func policyOf(t Type) (render.Policy, *plan.Why) {
	spec := field.NewPath("spec")
	annotations, errs := annotation.Parse(t.PropagatingAnnotations, spec.Child("propagatingAnnotations"))
	retained, more := retain.Parse(t.RetainedFields, spec.Child("retainedFields"))
	if errs = append(errs, more...); len(errs) > 0 {
		return render.Policy{}, &plan.Why{Code: plan.CodeOnHold,
			Message: fmt.Sprintf("FederatedTypeConfig %s: %v", t.Name, errs.ToAggregate())}
	}
	return render.Policy{Annotations: annotations, Retained: retained}, nil
}
