package admission

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kubefed 3.12: there is an event InvalidName and nothing else; here the write is refused.
func TestAFederatedNamespaceIsNamedLikeItsNamespace(t *testing.T) {
	facts := TypeFacts{ConfigName: "namespaces", TargetKind: "Namespace", Ours: true}
	object := func(name string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedNamespace","metadata":{"namespace":"acme-prod","name":"`+name+`"},"spec":{}}`)
	}
	if faults := judgeMetadata(object("acme-prod"), facts); len(faults) != 0 {
		t.Errorf("refused: %v", faults[0].err)
	}
	faults := judgeMetadata(object("web"), facts)
	if len(faults) != 1 || faults[0].err.Field != "metadata.name" {
		t.Errorf("faults: %v", faults)
	}
	if faults := judgeMetadata(object("web"), TypeFacts{TargetKind: "Namespace", TargetGroup: "example.com"}); len(faults) != 0 {
		t.Errorf("another kind of that name is refused: %v", faults[0].err)
	}
}

// kubefed 3.1: the annotation kubefed.io/deleteoption.
func TestDeleteOptionsAreReadWhenTheyAreWritten(t *testing.T) {
	for name, c := range map[string]struct{ raw, text string }{
		"KubeFed's own example":      {`{"gracePeriodSeconds":5}`, ""},
		"with its kind":              {`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Orphan","preconditions":{"uid":"u"}}`, ""},
		"no JSON":                    {`gracePeriodSeconds=5`, "is no DeleteOptions as JSON"},
		"no object":                  {`[]`, "is no DeleteOptions as JSON"},
		"nothing":                    {``, ""},
		"a policy that there is not": {`{"propagationPolicy":"Leave"}`, "must be Orphan, Background or Foreground"},
		"a mistyped policy":          {`{"propagationpolicy":"Orphan"}`, "have no field propagationpolicy"},
		"a grace period below zero":  {`{"gracePeriodSeconds":-1}`, "must not be negative"},
		"a grace period as text":     {`{"gracePeriodSeconds":"5"}`, "is no DeleteOptions as JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			obj, before := inClusterForm(t, `{}`), inClusterForm(t, `{}`)
			obj.SetAnnotations(map[string]string{"kubefed.io/deleteoption": c.raw})
			const at = "metadata.annotations[kubefed.io/deleteoption]"
			field := at
			if c.text == "" {
				field = ""
			}
			_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, nil))
			wantFault(t, err, field, c.text)
			_, err = newAdmitter(acme()).Validate(context.Background(), requestFor(obj, before)) // the annotation alone
			wantFault(t, err, field, c.text)
			_, err = newAdmitter(acme()).Validate(context.Background(), requestFor(obj, obj.DeepCopy()))
			wantFault(t, err, "", "") // what was there before is tolerated
		})
	}
}
