package admission

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// admit completes and judges, as an API server does.
func admit(t *testing.T, obj, old *unstructured.Unstructured) ([]string, error) {
	t.Helper()
	a := newAdmitter(acme())
	if err := a.Mutate(context.Background(), requestFor(obj, old)); err != nil {
		return nil, err
	}
	return a.Validate(context.Background(), requestFor(obj, old))
}

func unitObject(t *testing.T, meta, spec string) *unstructured.Unstructured {
	return parse(t, `{"apiVersion":"topology.cellfed.io/v1alpha1","kind":"Unit","metadata":{"namespace":"acme-prod",`+meta+`},"spec":`+spec+`}`)
}

func TestUnits(t *testing.T) {
	for name, c := range map[string]struct{ meta, spec, field, text string }{
		"a cluster is all that has to be said":  {`"name":"rz09x"`, `{"cluster":"hz-1"}`, "", ""},
		"its own labels may be said":            {`"name":"rz09x","labels":{"topology.cellfed.io/type":"cell","topology.cellfed.io/unit":"rz09x","topology.cellfed.io/namespace":"acme-prod"}`, `{"cluster":"hz-1"}`, "", ""},
		"a generated name is a label":           {`"generateName":"rz-"`, `{"cluster":"hz-1"}`, "", ""},
		"a generated name with a dot is none":   {`"generateName":"rz."`, `{"cluster":"hz-1"}`, "metadata.generateName", "no dots"},
		"a name with a dot":                     {`"name":"rz.a"`, `{"cluster":"hz-1"}`, "metadata.name", "must not contain dots"},
		"a name that is too long":               {`"name":"` + long + `"`, `{"cluster":"hz-1"}`, "metadata.name", "no more than 63 characters"},
		"no cluster":                            {`"name":"rz09x"`, `{}`, "spec.cluster", "say which KubeFedCluster"},
		"a cluster that is not there":           {`"name":"rz09x"`, `{"cluster":"bj-1"}`, "spec.cluster", "no KubeFedCluster bj-1 in namespace kube-federation-system: join the member first"},
		"a type that is not configured":         {`"name":"rz09x"`, `{"cluster":"hz-1","topologyType":"rack"}`, "spec.topologyType", `supported values: "cell", "zone"`},
		"cluster is no type of a unit":          {`"name":"rz09x"`, `{"cluster":"hz-1","topologyType":"cluster"}`, "spec.topologyType", `supported values: "cell", "zone"`},
		"kube-system is never granted":          {`"name":"rz09x"`, `{"cluster":"hz-1","memberNamespace":"kube-system"}`, "spec.memberNamespace", "system namespace"},
		"the federation's own namespace either": {`"name":"rz09x"`, `{"cluster":"hz-1","memberNamespace":"kube-federation-system"}`, "spec.memberNamespace", "system namespace"},
		"nor default":                           {`"name":"rz09x"`, `{"cluster":"hz-1","memberNamespace":"default"}`, "spec.memberNamespace", "system namespace"},
		"a member namespace that is no label":   {`"name":"rz09x"`, `{"cluster":"hz-1","memberNamespace":"a.b"}`, "spec.memberNamespace", "must not contain dots"},
		"another unit's claim":                  {`"name":"rz09x"`, `{"cluster":"hz-1","memberNamespace":"rival-a"}`, "spec.memberNamespace", "belongs to another unit"},
		"the claim of a unit that is no more":   {`"name":"rz09x"`, `{"cluster":"hz-1","memberNamespace":"left"}`, "", ""},
		"and of one that was made anew":         {`"name":"rz09x"`, `{"cluster":"hz-1","memberNamespace":"before"}`, "", ""},
		"a forged label":                        {`"name":"rz09x","labels":{"topology.cellfed.io/namespace":"rival"}`, `{"cluster":"hz-1"}`, "metadata.labels[topology.cellfed.io/namespace]", "leave it out"},
		"an invented label":                     {`"name":"rz09x","labels":{"topology.cellfed.io/x":"y"}`, `{"cluster":"hz-1"}`, "metadata.labels[topology.cellfed.io/x]", "leave it out"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admit(t, unitObject(t, c.meta, c.spec), nil)
			wantFault(t, err, c.field, c.text)
		})
	}
	t.Run("what is left out is set", func(t *testing.T) {
		obj := unitObject(t, `"name":"rz09x","labels":{"tenancy.cellfed.io/tenant":"rival"}`, `{"cluster":"hz-1"}`)
		if _, err := admit(t, obj, nil); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"cluster": "hz-1", "topologyType": "cell", "memberNamespace": "acme-prod"}
		if d := cmp.Diff(want, obj.Object["spec"]); d != "" {
			t.Error(d)
		}
		if obj.GetLabels()["tenancy.cellfed.io/tenant"] != "acme" || obj.GetLabels()["tenancy.cellfed.io/workspace"] != "prod" {
			t.Error(obj.GetLabels())
		}
	})
	t.Run("a claim of its own name is the controller's to judge", func(t *testing.T) {
		obj := unitObject(t, `"name":"rz77x"`, `{"cluster":"hz-1","memberNamespace":"rival-a"}`)
		obj.SetNamespace("rival")
		_, err := admit(t, obj, nil)
		wantFault(t, err, "", "")
	})
	t.Run("the spec is immutable", func(t *testing.T) {
		old := unitObject(t, `"name":"rz00a"`, `{"cluster":"hz-1","topologyType":"cell","memberNamespace":"acme-prod"}`)
		obj := unitObject(t, `"name":"rz00a"`, `{"cluster":"sh-1","topologyType":"cell","memberNamespace":"acme-prod"}`)
		_, err := admit(t, obj, old)
		wantFault(t, err, "spec", "make another unit")
	})
	t.Run("the same manifest can be written once more", func(t *testing.T) {
		old := unitObject(t, `"name":"rz00a"`, `{"cluster":"hz-1"}`)
		if _, err := admit(t, old, nil); err != nil {
			t.Fatal(err)
		}
		_, err := admit(t, unitObject(t, `"name":"rz00a"`, `{"cluster":"hz-1"}`), old)
		wantFault(t, err, "", "")
	})
	t.Run("a type that is left out is the default, not the one that is stored", func(t *testing.T) {
		old := unitObject(t, `"name":"east"`, `{"cluster":"hz-1","topologyType":"zone","memberNamespace":"acme-prod"}`)
		_, err := admit(t, unitObject(t, `"name":"east"`, `{"cluster":"hz-1"}`), old)
		wantFault(t, err, "spec", "immutable")
	})
	t.Run("a default that is not stored is not set afterwards", func(t *testing.T) {
		old := unitObject(t, `"name":"rz00a"`, `{"cluster":"hz-1","topologyType":"cell"}`)
		obj := unitObject(t, `"name":"rz00a","labels":{"a":"b"}`, `{"cluster":"hz-1"}`)
		_, err := admit(t, obj, old)
		wantFault(t, err, "", "")
	})
	t.Run("a unit of the same name in another namespace is another unit", func(t *testing.T) {
		_, err := admit(t, unitObject(t, `"name":"rz77x"`, `{"cluster":"hz-1","memberNamespace":"rival-a"}`), nil)
		wantFault(t, err, "spec.memberNamespace", "belongs to another unit")
	})
	t.Run("a label can be set on a unit that an old rule let in", func(t *testing.T) {
		old := unitObject(t, `"name":"rz00a"`, `{"cluster":"gone","topologyType":"rack","memberNamespace":"default"}`)
		obj := old.DeepCopy()
		obj.SetLabels(map[string]string{"city": "hangzhou"})
		_, err := admit(t, obj, old)
		wantFault(t, err, "", "")
	})
	t.Run("without facts it is refused for the time being", func(t *testing.T) {
		obj := unitObject(t, `"name":"rz09x"`, `{"cluster":"hz-1","topologyType":"cell","memberNamespace":"x"}`)
		_, err := newAdmitter(&fakeFacts{err: errors.New("away")}).Validate(context.Background(), requestFor(obj, nil))
		if !apierrors.IsServiceUnavailable(err) {
			t.Error(err)
		}
	})
}

func TestKubeFedClusters(t *testing.T) {
	good := `{"apiEndpoint":"https://10.0.0.1:6443","secretRef":{"name":"s"}}`
	for name, c := range map[string]struct{ name, spec, field, text string }{
		"KubeFed's own":                           {"hz-9", good, "", ""},
		"a host alone":                            {"hz-9", `{"apiEndpoint":"10.0.0.1","secretRef":{"name":"s"},"proxyURL":"socks5://p:1","disabledTLSValidations":["*"]}`, "", ""},
		"no endpoint":                             {"hz-9", `{"secretRef":{"name":"s"}}`, "spec.apiEndpoint", "say where"},
		"an endpoint of another scheme":           {"hz-9", `{"apiEndpoint":"ftp://x","secretRef":{"name":"s"}}`, "spec.apiEndpoint", "http"},
		"a port beyond all ports":                 {"hz-9", `{"apiEndpoint":"https://x:70000","secretRef":{"name":"s"}}`, "spec.apiEndpoint", "between 1 and 65535"},
		"no secret":                               {"hz-9", `{"apiEndpoint":"https://x"}`, "spec.secretRef.name", "say which secret"},
		"a secret's name that is none":            {"hz-9", `{"apiEndpoint":"https://x","secretRef":{"name":"A b"}}`, "spec.secretRef.name", "lowercase RFC 1123"},
		"a proxy of another scheme":               {"hz-9", `{"apiEndpoint":"https://x","secretRef":{"name":"s"},"proxyURL":"ftp://user:hush@p"}`, "spec.proxyURL", "socks5"},
		"a tunnel":                                {"hz-9", `{"apiEndpoint":"https://kubernetes.default.svc","secretRef":{"name":"s"},"tunnel":{"enrolment":"abcd1234"}}`, "", ""},
		"a tunnel and a proxy":                    {"hz-9", `{"apiEndpoint":"https://x","secretRef":{"name":"s"},"proxyURL":"http://p:1","tunnel":{}}`, "spec.proxyURL", "remove"},
		"an unknown TLS validation":               {"hz-9", `{"apiEndpoint":"https://x","secretRef":{"name":"s"},"disabledTLSValidations":["Some"]}`, "spec.disabledTLSValidations[0]", "supported values"},
		"all TLS validations and another":         {"hz-9", `{"apiEndpoint":"https://x","secretRef":{"name":"s"},"disabledTLSValidations":["*","SubjectName"]}`, "spec.disabledTLSValidations", "stands for all"},
		"a name too long for claims":              {strings.Repeat("a", 190), good, "metadata.name", "no more than 189"},
		"the longest name that claims leave room": {strings.Repeat("a", 189), good, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			obj := parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"kube-federation-system","name":"`+c.name+`"},"spec":`+c.spec+`}`)
			_, err := admit(t, obj, nil)
			wantFault(t, err, c.field, c.text)
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Errorf("a password was told: %v", err)
			}
		})
	}
	t.Run("elsewhere it has no effect, which is said", func(t *testing.T) {
		obj := parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"nobody","name":"x"},"spec":`+good+`}`)
		warnings, err := admit(t, obj, nil)
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "no effect outside namespace kube-federation-system") {
			t.Errorf("%v %v", warnings, err)
		}
	})
}

func typeConfig(t *testing.T, name, spec string) *unstructured.Unstructured {
	return parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"FederatedTypeConfig","metadata":{"namespace":"kube-federation-system","name":"`+name+`"},"spec":`+spec+`}`)
}

func TestFederatedTypeConfigs(t *testing.T) {
	const secrets = `{"targetType":{"version":"v1","kind":"Secret","scope":"Namespaced"}`
	for name, c := range map[string]struct{ name, spec, field, text string }{
		"a target is all that has to be said":         {"secrets", secrets + `}`, "", ""},
		"KubeFed's own":                               {"secrets", `{"targetType":{"version":"v1","kind":"Secret","pluralName":"secrets","scope":"Namespaced"},"propagation":"Enabled","federatedType":{"group":"types.kubefed.io","version":"v1beta1","kind":"FederatedSecret","pluralName":"federatedsecrets","scope":"Namespaced"}}`, "", ""},
		"namespaces are federated in namespaces":      {"namespaces", `{"targetType":{"version":"v1","kind":"Namespace","scope":"Cluster"}}`, "", ""},
		"a name that is not the target's":             {"foos", `{"targetType":{"version":"v1","kind":"Secret","pluralName":"secrets","scope":"Namespaced"}}`, "metadata.name", "must be the target's plural and group: secrets"},
		"a name without the group":                    {"widgets", `{"targetType":{"group":"example.com","version":"v1","kind":"Widget","pluralName":"widgets","scope":"Namespaced"}}`, "metadata.name", "widgets.example.com"},
		"no kind":                                     {"secrets", `{"targetType":{"version":"v1","scope":"Namespaced"},"federatedType":{"kind":"FederatedSecret"}}`, "spec.targetType.kind", "say which kind"},
		"no version":                                  {"secrets", `{"targetType":{"kind":"Secret","scope":"Namespaced"}}`, "spec.targetType.version", "say which version"},
		"another scope than the target's":             {"secrets", secrets + `,"federatedType":{"scope":"Cluster"}}`, "spec.federatedType.scope", "must be Namespaced"},
		"an unknown scope":                            {"secrets", `{"targetType":{"version":"v1","kind":"Secret","scope":"Galaxy"},"federatedType":{"scope":"Namespaced"}}`, "spec.targetType.scope", "supported values"},
		"a federated group without a dot":             {"secrets", secrets + `,"federatedType":{"group":"types"}}`, "spec.federatedType.group", "at least one dot"},
		"a federated group of Kubernetes":             {"secrets", secrets + `,"federatedType":{"group":"apps.k8s.io"}}`, "spec.federatedType.group", "Kubernetes' own"},
		"a federated kind by another name":            {"secrets", secrets + `,"federatedType":{"kind":"ManySecret"}}`, "spec.federatedType.kind", "must start with Federated"},
		"a federated version that is not a form":      {"secrets", secrets + `,"federatedType":{"version":"v1alpha1"}}`, "spec.federatedType.version", `supported values: "v1beta1"`},
		"but KubeFed may make any":                    {"secrets", secrets + `,"propagator":"KubeFed","federatedType":{"version":"v1alpha1"}}`, "", ""},
		"an unknown propagation":                      {"secrets", secrets + `,"propagation":"Sometimes"}`, "spec.propagation", "supported values"},
		"patterns of annotations and retained fields": {"secrets", `{"targetType":{"version":"v1","kind":"Secret","scope":"Namespaced"},"propagatingAnnotations":["lb.example.com/*","!lb.example.com/status-*"],"retainedFields":["/data/*"]}`, "", ""},
		"a malformed pattern":                         {"secrets", `{"targetType":{"version":"v1","kind":"Secret","scope":"Namespaced"},"propagatingAnnotations":["a","b c"]}`, "spec.propagatingAnnotations[1]", "which the key of an annotation cannot have"},
		"a pattern of the plane's own keys":           {"secrets", `{"targetType":{"version":"v1","kind":"Secret","scope":"Namespaced"},"propagatingAnnotations":["cellfed.io/*"]}`, "spec.propagatingAnnotations[0]", "never matches"},
		"a retained identity":                         {"secrets", `{"targetType":{"version":"v1","kind":"Secret","scope":"Namespaced"},"retainedFields":["/metadata/name"]}`, "spec.retainedFields[0]", "identity"},
		"a federated kind that another target has":    {"deployments.extensions", `{"targetType":{"version":"v1beta1","kind":"Deployment","scope":"Namespaced"}}`, "spec.federatedType.kind", "FederatedTypeConfig deployments.apps has this kind"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admit(t, typeConfig(t, c.name, c.spec), nil)
			wantFault(t, err, c.field, c.text)
		})
	}
	t.Run("what is left out is set", func(t *testing.T) {
		obj := typeConfig(t, "ingresses.networking.k8s.io", `{"targetType":{"version":"v1","kind":"Ingress","scope":"Namespaced"},"statusType":{"kind":"FederatedIngressStatus"}}`)
		if err := newAdmitter(acme()).Mutate(context.Background(), requestFor(obj, nil)); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"targetType":    map[string]any{"group": "networking.k8s.io", "version": "v1", "kind": "Ingress", "pluralName": "ingresses", "scope": "Namespaced"},
			"federatedType": map[string]any{"group": "types.kubefed.io", "version": "v1beta1", "kind": "FederatedIngress", "pluralName": "federatedingresses", "scope": "Namespaced"},
			"statusType":    map[string]any{"group": "types.kubefed.io", "version": "v1beta1", "kind": "FederatedIngressStatus", "pluralName": "federatedingressstatuses"},
			"propagation":   "Enabled",
		}
		if d := cmp.Diff(want, obj.Object["spec"]); d != "" {
			t.Error(d)
		}
	})
	t.Run("types are immutable, propagation is not", func(t *testing.T) {
		make := func() *unstructured.Unstructured {
			obj := typeConfig(t, "secrets", secrets+`}`)
			if _, err := admit(t, obj, nil); err != nil {
				t.Fatal(err)
			}
			return obj
		}
		obj := make()
		_ = unstructured.SetNestedField(obj.Object, "Disabled", "spec", "propagation")
		_, err := admit(t, obj, make())
		wantFault(t, err, "", "")
		_ = unstructured.SetNestedField(obj.Object, "v2", "spec", "targetType", "version")
		_, err = admit(t, obj, make())
		wantFault(t, err, "spec.targetType", "immutable")
	})
	t.Run("a group that is empty is one that is left out", func(t *testing.T) {
		// kubectl stores what its user wrote, and clients with Go types leave out what is empty.
		wrote := typeConfig(t, "secrets", secrets+`}`)
		if _, err := admit(t, wrote, nil); err != nil {
			t.Fatal(err)
		}
		writes := wrote.DeepCopy()
		_ = unstructured.SetNestedField(wrote.Object, "", "spec", "targetType", "group")
		unstructured.RemoveNestedField(writes.Object, "spec", "targetType", "group")
		writes.SetLabels(map[string]string{"a": "b"})
		_, err := admit(t, writes, wrote)
		wantFault(t, err, "", "")
	})
}
