package admission

import (
	"strings"
	"testing"
)

func TestAMemberThatIsAnotherMemberAlreadyIsWarnedOf(t *testing.T) {
	for name, c := range map[string]struct {
		name, namespace, annotations, endpoint string
		twin                                   bool
	}{
		"the same identity":                       {"hz-9", "kube-federation-system", `{"cellfed.io/member-uid":"id-1"}`, "https://elsewhere", true},
		"the same endpoint, nobody asked yet":     {"hz-9", "kube-federation-system", `{}`, "https://hz-1", true},
		"the same endpoint, and another identity": {"hz-9", "kube-federation-system", `{"cellfed.io/member-uid":"id-2"}`, "https://hz-1", false},
		"another one":                             {"hz-9", "kube-federation-system", `{"cellfed.io/member-uid":"id-2"}`, "https://hz-9", false},
		"itself":                                  {"hz-1", "kube-federation-system", `{"cellfed.io/member-uid":"id-1"}`, "https://hz-1", false},
	} {
		t.Run(name, func(t *testing.T) {
			facts := acme()
			facts.clusters = []Cluster{{Name: "hz-1", ID: "id-1", Endpoint: "https://hz-1"}, {Name: "sh-1"}}
			obj := parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"`+c.namespace+`","name":"`+c.name+
				`","annotations":`+c.annotations+`},"spec":{"apiEndpoint":"`+c.endpoint+`","secretRef":{"name":"s"}}}`)
			warnings, err := newAdmitter(facts).Validate(t.Context(), requestFor(obj, nil))
			if err != nil {
				t.Fatal(err)
			}
			if warned := strings.Contains(strings.Join(warnings, " "), "same cluster as member hz-1"); warned != c.twin {
				t.Errorf("the warnings are %q", warnings)
			}
		})
	}
}
