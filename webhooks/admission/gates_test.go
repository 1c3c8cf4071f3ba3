package admission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	clienttesting "k8s.io/client-go/testing"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/features"
)

// gated are the default gates with one of them set.
func gated(t *testing.T, name string, on bool) features.Gates {
	t.Helper()
	g, err := features.Gates{}.With(name, on)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// switched are facts of a plane whose KubeFedConfig says which gates are on.
type switched struct {
	*fakeFacts
	gates features.Gates
}

func (f switched) Gates(context.Context, features.Gates) (features.Gates, error) {
	return f.gates, f.ask()
}

func under(t *testing.T, gate string, obj, old *unstructured.Unstructured) error {
	t.Helper()
	a := New(switched{acme(), gated(t, gate, false)}, Options{TopologyTypes: []string{"cell", "zone"}})
	ctx := context.Background()
	if err := a.Mutate(ctx, requestFor(obj, old)); err != nil {
		return err
	}
	_, err := a.Validate(ctx, requestFor(obj, old))
	return err
}

func TestANewUseOfAFeatureThatIsOffIsRefusedWithItsPathAndAnOldOneIsNot(t *testing.T) {
	federated := func(spec string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"types.kubefed.io/v2beta1","kind":"FederatedDeployment","metadata":{"namespace":"acme-prod","name":"web"},"spec":`+spec+`}`)
	}
	clusterForm := func(spec string) *unstructured.Unstructured {
		o := federated(spec)
		o.SetAPIVersion("types.kubefed.io/v1beta1")
		return o
	}
	typeConfig := func(more string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"FederatedTypeConfig","metadata":{"namespace":"kube-federation-system","name":"widgets.acme.example"},
			"spec":{"propagation":"Enabled","targetType":{"group":"acme.example","version":"v1","kind":"Widget","pluralName":"widgets","scope":"Namespaced"},
			"federatedType":{"group":"types.kubefed.io","version":"v1beta1","kind":"FederatedWidget","pluralName":"federatedwidgets","scope":"Namespaced"}`+more+`}}`)
	}
	member := func(more string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"kube-federation-system","name":"hz-9"},
			"spec":{"apiEndpoint":"https://10.0.0.9:6443","secretRef":{"name":"hz-9"}`+more+`}}`)
	}
	for name, c := range map[string]struct {
		gate, field string
		with, plain *unstructured.Unstructured
	}{
		"a mask":                 {"PlacementMask", "spec.placementMask", federated(`{"placementMask":{"topologies":[]}}`), federated(`{"template":{}}`)},
		"an empty mask":          {"PlacementMask", "spec.placementMask", federated(`{"placementMask":{}}`), federated(`{"template":{}}`)},
		"a mask in cluster form": {"PlacementMask", "spec.placementMask", clusterForm(`{"placementMask":{"clusters":[]}}`), clusterForm(`{"template":{}}`)},
		"units":                  {"Topologies", "spec.topologyType", federated(`{"topologyType":"cell"}`), federated(`{"topologyType":"cluster"}`)},
		"a unit":                 {"Topologies", "kind", unitObject(t, `"name":"rz09x"`, `{"cluster":"hz-1"}`), nil},
		"annotations":            {"AnnotationPropagation", "spec.propagatingAnnotations", typeConfig(`,"propagatingAnnotations":["a/*"]`), typeConfig(`,"propagatingAnnotations":[]`)},
		"retention":              {"FieldRetention", "spec.retainedFields", typeConfig(`,"retainedFields":["/spec/replicas"]`), typeConfig("")},
		"grants":                 {"TenantIsolation", "spec.grants", member(`,"grants":[{"tenant":"acme","memberNamespaces":["*"]}]`), member("")},
	} {
		t.Run(name, func(t *testing.T) {
			wantFault(t, under(t, c.gate, c.with.DeepCopy(), nil), c.field, "feature gate "+c.gate+" is off")
			if other := "PropagatedVersions"; under(t, other, c.with.DeepCopy(), nil) != nil {
				t.Errorf("it is refused although its gate is on: %v", under(t, other, c.with.DeepCopy(), nil))
			}
			// What used it before may be changed.
			changed := c.with.DeepCopy()
			changed.SetLabels(map[string]string{"a": "b"})
			if err := under(t, c.gate, changed, c.with.DeepCopy()); err != nil {
				t.Errorf("an object that used it before cannot be changed: %v", err)
			}
			if c.plain == nil {
				return
			}
			if err := under(t, c.gate, c.plain.DeepCopy(), nil); err != nil {
				t.Errorf("an object that does not use it is refused: %v", err)
			}
			if c.gate != "Topologies" { // which type an object is of never changes
				wantFault(t, under(t, c.gate, c.with.DeepCopy(), c.plain.DeepCopy()), c.field, "feature gate "+c.gate+" is off")
			}
			if err := under(t, c.gate, c.plain.DeepCopy(), c.with.DeepCopy()); err != nil && c.gate != "Topologies" {
				t.Errorf("the use cannot be taken away: %v", err)
			}
		})
	}
}

func TestGatesThatCannotBeReadRefuseForTheTimeBeingOnlyWhatNeedsThem(t *testing.T) {
	facts := switched{acme(), features.Gates{}}
	facts.err = errors.New("the database is away")
	a := New(facts, Options{TopologyTypes: []string{"cell"}})
	req := requestFor(parse(t, `{"apiVersion":"types.kubefed.io/v2beta1","kind":"FederatedDeployment","metadata":{"namespace":"acme-prod","name":"web"},"spec":{"placementMask":{}}}`), nil)
	if _, err := a.judgeGates(context.Background(), req); err == nil || !strings.Contains(err.Error(), "which feature gates are on") {
		t.Errorf("error is %v", err)
	}
	req = requestFor(parse(t, `{"apiVersion":"types.kubefed.io/v2beta1","kind":"FederatedDeployment","metadata":{"namespace":"acme-prod","name":"web"},"spec":{}}`), nil)
	if _, err := a.judgeGates(context.Background(), req); err != nil {
		t.Errorf("what needs no gate is refused: %v", err)
	}
}

func config(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	return parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedConfig","metadata":{"namespace":"kube-federation-system","name":"kubefed"},"spec":`+spec+`}`)
}

func TestKubeFedConfigs(t *testing.T) {
	for name, c := range map[string]struct{ spec, field, text string }{
		"nothing":                    {`{}`, "", ""},
		"KubeFed's scope":            {`{"scope":"Cluster"}`, "", ""},
		"its other scope":            {`{"scope":"Namespaced"}`, "spec.scope", `supported values: "Cluster"`},
		"a gate":                     {`{"featureGates":[{"name":"PlacementMask","configuration":"Disabled"}]}`, "", ""},
		"a gate that is mistyped":    {`{"featureGates":[{"name":"PlacementMaks","configuration":"Disabled"}]}`, "spec.featureGates[0].name", `"PlacementMask"`},
		"a gate twice":               {`{"featureGates":[{"name":"PushReconciler","configuration":"Enabled"},{"name":"PushReconciler","configuration":"Disabled"}]}`, "spec.featureGates[1].name", "Duplicate"},
		"a period that is none":      {`{"clusterHealthCheck":{"period":"often"}}`, "spec.clusterHealthCheck.period", "duration"},
		"a period of nothing":        {`{"clusterHealthCheck":{"period":"0s"}}`, "spec.clusterHealthCheck.period", "at least"},
		"no failure at all":          {`{"clusterHealthCheck":{"failureThreshold":0}}`, "spec.clusterHealthCheck.failureThreshold", "between 1 and"},
		"no workers":                 {`{"syncController":{"maxConcurrentReconciles":0}}`, "spec.syncController.maxConcurrentReconciles", "between 1 and"},
		"adoption by another word":   {`{"syncController":{"adoptResources":"true"}}`, "spec.syncController.adoptResources", "Enabled"},
		"a namespace rule of no one": {`{"namespacePlacement":"strict"}`, "spec.namespacePlacement", "Strict"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admit(t, config(t, c.spec), nil)
			wantFault(t, err, c.field, c.text)
		})
	}
	t.Run("the one scope need not be said", func(t *testing.T) {
		a, obj := newAdmitter(acme()), config(t, `{}`)
		if err := a.Mutate(context.Background(), requestFor(obj, nil)); err != nil {
			t.Fatal(err)
		}
		if scope, _, _ := unstructured.NestedString(obj.Object, "spec", "scope"); scope != "Cluster" {
			t.Errorf("scope is %q", scope)
		}
	})
	t.Run("a fault of before may stay", func(t *testing.T) {
		old := config(t, `{"scope":"Cluster","clusterHealthCheck":{"period":"often"}}`)
		if _, err := admit(t, config(t, `{"scope":"Cluster","clusterHealthCheck":{"period":"often"},"namespacePlacement":"Strict"}`), old); err != nil {
			t.Error(err)
		}
	})
}

func TestAKubeFedConfigIsWarnedOf(t *testing.T) {
	elsewhere := config(t, `{}`)
	elsewhere.SetName("other")
	for name, c := range map[string]struct {
		obj  *unstructured.Unstructured
		want []string
	}{
		"what has no effect": {config(t, `{"leaderElect":{"resourceLock":"configmaps"},"statusController":{"maxConcurrentReconciles":1}}`),
			[]string{"accepted for KubeFed's sake, without effect here: spec.leaderElect, spec.statusController"}},
		"what a gate that is off means": {config(t, `{"featureGates":[{"name":"PlacementMask","configuration":"Disabled"}]}`),
			[]string{"feature gate PlacementMask is off: objects with a placementMask, an empty one too, are held"}},
		"another name": {elsewhere, []string{"a KubeFedConfig has no effect unless it is kubefed in namespace kube-federation-system"}},
		"nothing":      {config(t, `{"scope":"Cluster","syncController":{"adoptResources":"Enabled"}}`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := admit(t, c.obj, nil)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("warned of %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestLiveFactsReadGatesValueByValueFromTheOneConfigThatCounts(t *testing.T) {
	client := storedPlane(t)
	base := gated(t, "RequireTenantGrants", true)
	ctx := context.Background()
	if got, err := factsThrough(client).Gates(ctx, base); err != nil || got != base {
		t.Errorf("without a config gates are %q, %v", got, err)
	}
	configs := client.Resource(corev1beta1.GroupVersion.WithResource("kubefedconfigs")).Namespace("kube-federation-system")
	other := config(t, `{"featureGates":[{"name":"Topologies","configuration":"Disabled"}]}`)
	other.SetName("other")
	garbled := config(t, `{"syncController":"yes","clusterHealthCheck":{"period":{}},"featureGates":[7,{"name":"x"},{"name":"PlacementMask","configuration":"Disabled"}]}`)
	for _, u := range []*unstructured.Unstructured{other, garbled} {
		if _, err := configs.Create(ctx, u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := base.With("PlacementMask", false)
	facts := factsThrough(client)
	if got, err := facts.Gates(ctx, base); err != nil || got != want {
		t.Errorf("gates read from the API server are %q, %v; want %q", got, err, want)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() { _ = facts.Run(running) }()
	if err := wait.PollUntilContextTimeout(ctx, time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) { return facts.configs.ready(), nil }); err != nil {
		t.Fatal(err)
	}
	asked := len(client.Actions())
	if got, err := facts.Gates(ctx, base); err != nil || got != want {
		t.Errorf("gates read from the cache are %q, %v; want %q", got, err, want)
	}
	if n := len(client.Actions()); n != asked && slices.ContainsFunc(client.Actions()[asked:], func(a clienttesting.Action) bool {
		return a.GetResource().Resource == "kubefedconfigs" && a.GetVerb() == "list"
	}) {
		t.Error("each write asks the API server for the config")
	}
}
