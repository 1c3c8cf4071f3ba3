package admission

import (
	"strings"
	"testing"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
)

func TestAMemberThatIsAnotherMemberAlreadyIsWarnedOf(t *testing.T) {
	for name, c := range map[string]struct {
		name, namespace, annotations, endpoint string
		twin                                   bool
		more                                   string // of the spec
	}{
		"the same identity":                             {"hz-9", "kube-federation-system", `{"cellfed.io/member-uid":"id-1"}`, "https://elsewhere", true, ""},
		"the same endpoint, nobody asked yet":           {"hz-9", "kube-federation-system", `{}`, "https://hz-1", true, ""},
		"the same endpoint, and another identity":       {"hz-9", "kube-federation-system", `{"cellfed.io/member-uid":"id-2"}`, "https://hz-1", false, ""},
		"another one":                                   {"hz-9", "kube-federation-system", `{"cellfed.io/member-uid":"id-2"}`, "https://hz-9", false, ""},
		"itself":                                        {"hz-1", "kube-federation-system", `{"cellfed.io/member-uid":"id-1"}`, "https://hz-1", false, ""},
		"the same endpoint, as seen through its tunnel": {"hz-9", "kube-federation-system", `{}`, "https://hz-1", false, `,"tunnel":{}`},
	} {
		t.Run(name, func(t *testing.T) {
			facts := acme()
			facts.clusters = []Cluster{{Name: "hz-1", ID: "id-1", Endpoint: "https://hz-1"}, {Name: "sh-1"}}
			obj := parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"`+c.namespace+`","name":"`+c.name+
				`","annotations":`+c.annotations+`},"spec":{"apiEndpoint":"`+c.endpoint+`","secretRef":{"name":"s"}`+c.more+`}}`)
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

func TestTheEndpointBehindATunnelTellsNothingOfAMember(t *testing.T) {
	c := &corev1beta1.KubeFedCluster{}
	c.Spec.APIEndpoint = "https://kubernetes.default.svc"
	if got := clusterFacts(c).Endpoint; got != "https://kubernetes.default.svc" {
		t.Errorf("a member that is reached directly is at %q", got)
	}
	c.Spec.Tunnel = &corev1beta1.ClusterTunnel{}
	if got := clusterFacts(c).Endpoint; got != "" {
		t.Errorf("a member behind a tunnel is at %q", got)
	}
}
