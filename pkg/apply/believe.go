package apply

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/plan"
)

// believed holds what a member answered against what it was asked: a sight of something else would make the next plan
// judge the wrong object.
func believed(step *plan.Step, r plan.Result) plan.Result {
	if r.Object == nil || r.Outcome != plan.Done && r.Outcome != plan.Found {
		return r
	}
	if err := fits(step, r); err != nil {
		code := map[plan.Action]string{
			plan.Create: plan.CodeCreationFailed, plan.Update: plan.CodeUpdateFailed, plan.Delete: plan.CodeDeletionFailed,
		}[step.Action]
		if code == "" || r.Outcome == plan.Found {
			code = plan.CodeRetrievalFailed
		}
		return failure(fmt.Errorf("it does not answer as an API server: %w", err), code, code, step)
	}
	return r
}

func fits(step *plan.Step, r plan.Result) error {
	there := r.Object
	asked := step.Object
	if asked == nil {
		asked = step.Observed
	}
	switch {
	case there.GetName() != step.Name || there.GetNamespace() != step.Namespace:
		return fmt.Errorf("asked for %s, it gave %s", place(step.Namespace, step.Name), place(there.GetNamespace(), there.GetName()))
	case asked != nil && there.GetKind() != asked.GetKind():
		return fmt.Errorf("asked for a %s, it gave a %s", asked.GetKind(), short(there.GetKind()))
	case there.GetUID() == "":
		return errors.New("it gave an object without a UID")
	case there.GetResourceVersion() == "":
		return errors.New("it gave an object without a resource version")
	case step.Action == plan.Update && r.Outcome == plan.Done && changedHands(step.Observed, there):
		return errors.New("it updated another object than it was asked to")
	}
	return nil
}

func changedHands(before, after *unstructured.Unstructured) bool {
	return before != nil && before.GetUID() != "" && before.GetUID() != after.GetUID()
}

func place(namespace, name string) string {
	if namespace == "" {
		return short(name)
	}
	return short(namespace) + "/" + short(name)
}

// short cuts a member's words: no name is longer.
func short(s string) string {
	const limit = 253
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
