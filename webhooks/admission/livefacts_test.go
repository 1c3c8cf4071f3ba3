package admission

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
)

func storedPlane(t *testing.T) *fake.FakeDynamicClient {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, corev1beta1.AddToScheme, topologyv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	federated := typeConfig(t, "deployments.apps", `{"targetType":{"group":"apps","kind":"Deployment"},"federatedType":{"group":"types.kubefed.io","kind":"FederatedDeployment"}}`)
	foreign := typeConfig(t, "jobs.batch", `{"propagator":"KubeFed","targetType":{"group":"batch","kind":"Job"},"federatedType":{"group":"types.kubefed.io","kind":"FederatedJob"}}`)
	return fake.NewSimpleDynamicClient(scheme, federated, foreign,
		parse(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"acme-prod","labels":{"a":"b"}}}`),
		unitObject(t, `"name":"rz00a"`, `{"topologyType":"cell","cluster":"hz-1"}`),
		parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"kube-federation-system","name":"hz-1","labels":{"city":"hz"}}}`),
		parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"cellfed-units","name":"rz00a.acme-prod.cell"}}`),
		parse(t, `{"apiVersion":"topology.cellfed.io/v1alpha1","kind":"MemberNamespaceClaim","metadata":{"name":"a.hz-1"},"spec":{"unit":{"namespace":"acme-prod","name":"rz00a"}}}`),
	)
}

// checkFacts asks for everything there is, and for as much that is not.
func checkFacts(t *testing.T, f *LiveFacts) {
	t.Helper()
	ctx := context.Background()
	labels, found, err := f.NamespaceLabels(ctx, "acme-prod")
	if err != nil || !found || labels["a"] != "b" {
		t.Errorf("namespace: %v %v %v", labels, found, err)
	}
	unit, found, err := f.Unit(ctx, "acme-prod", "rz00a")
	if err != nil || !found || unit.Spec.TopologyType != "cell" {
		t.Errorf("unit: %v %v %v", unit, found, err)
	}
	units, err := f.Units(ctx, "acme-prod")
	if err != nil || len(units) != 1 || units[0].Name != "rz00a" {
		t.Errorf("units: %v %v", units, err)
	}
	if units, err = f.Units(ctx, "rival"); err != nil || len(units) != 0 {
		t.Errorf("units of others: %v %v", units, err)
	}
	cluster, found, err := f.Cluster(ctx, "hz-1")
	if err != nil || !found || cluster.Labels["city"] != "hz" {
		t.Errorf("cluster: %v %v %v", cluster, found, err)
	}
	clusters, err := f.Clusters(ctx)
	if err != nil || len(clusters) != 1 || clusters[0].Name != "hz-1" {
		t.Errorf("clusters, without those of units: %v %v", clusters, err)
	}
	claim, found, err := f.Claim(ctx, "a.hz-1")
	if err != nil || !found || claim.Spec.Unit.Name != "rz00a" {
		t.Errorf("claim: %v %v %v", claim, found, err)
	}
	for kind, ours := range map[string]bool{"FederatedDeployment": true, "FederatedJob": false} {
		facts, found, err := f.FederatedType(ctx, schema.GroupKind{Group: "types.kubefed.io", Kind: kind})
		if err != nil || !found || facts.Ours != ours || "Federated"+facts.TargetKind != kind || facts.TargetGroup == "" {
			t.Errorf("type: %+v %v %v", facts, found, err)
		}
	}
	missing := map[string]func() (bool, error){
		"namespace": func() (bool, error) { _, found, err := f.NamespaceLabels(ctx, "x"); return found, err },
		"unit":      func() (bool, error) { _, found, err := f.Unit(ctx, "rival", "rz00a"); return found, err },
		"cluster":   func() (bool, error) { _, found, err := f.Cluster(ctx, "rz00a.acme-prod.cell"); return found, err },
		"claim":     func() (bool, error) { _, found, err := f.Claim(ctx, "b.hz-1"); return found, err },
		"type": func() (bool, error) {
			_, found, err := f.FederatedType(ctx, schema.GroupKind{Group: "x.y", Kind: "FederatedJob"})
			return found, err
		},
	}
	for what, ask := range missing {
		if found, err := ask(); found || err != nil {
			t.Errorf("a %s that is not there: %v %v", what, found, err)
		}
	}
}

func runCaches(t *testing.T, f *LiveFacts) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	err := wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		return f.namespaces.ready() && f.units.ready() && f.clusters.ready() && f.claims.ready() && f.types.ready(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func reads(client *fake.FakeDynamicClient) (n int) {
	for _, a := range client.Actions() {
		if a.GetVerb() == "get" || a.GetVerb() == "list" {
			n++
		}
	}
	return n
}

func TestFactsBeforeTheCachesAreFilled(t *testing.T) {
	checkFacts(t, factsThrough(storedPlane(t)))
}

func TestFactsFromTheCaches(t *testing.T) {
	client := storedPlane(t)
	f := factsThrough(client)
	runCaches(t, f)
	checkFacts(t, f)
	client.ClearActions()
	ctx := context.Background()
	_, _, _ = f.NamespaceLabels(ctx, "acme-prod")
	_, _, _ = f.Unit(ctx, "acme-prod", "rz00a")
	_, _ = f.Units(ctx, "acme-prod")
	_, _ = f.Clusters(ctx)
	_, _, _ = f.FederatedType(ctx, schema.GroupKind{Group: "types.kubefed.io", Kind: "FederatedJob"})
	if n := reads(client); n != 0 {
		t.Errorf("%d reads for what the caches know: %v", n, client.Actions())
	}
}

func TestACacheThatIsBehindIsNotBelievedThatSomethingIsMissing(t *testing.T) {
	client := storedPlane(t)
	// The watch of units says nothing: what is made later is not in the cache.
	client.PrependWatchReactor("units", clienttesting.DefaultWatchReactor(silence{}, nil))
	f := factsThrough(client)
	runCaches(t, f)
	late := unitObject(t, `"name":"rz01a"`, `{"topologyType":"cell","cluster":"hz-1"}`)
	if err := client.Tracker().Add(late); err != nil {
		t.Fatal(err)
	}
	if _, found, err := f.Unit(context.Background(), "acme-prod", "rz01a"); !found || err != nil {
		t.Errorf("%v %v", found, err)
	}
}

func TestWhatCannotBeReadIsAnErrorAndNotMissing(t *testing.T) {
	client := storedPlane(t)
	client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("away") })
	f := factsThrough(client)
	ctx := context.Background()
	_, _, a := f.NamespaceLabels(ctx, "acme-prod")
	_, _, b := f.Unit(ctx, "acme-prod", "rz00a")
	_, c := f.Units(ctx, "acme-prod")
	_, _, d := f.Cluster(ctx, "hz-1")
	_, e := f.Clusters(ctx)
	_, _, g := f.Claim(ctx, "a.hz-1")
	_, _, h := f.FederatedType(ctx, schema.GroupKind{Group: "types.kubefed.io", Kind: "FederatedJob"})
	for i, err := range []error{a, b, c, d, e, g, h} {
		if err == nil {
			t.Errorf("question %d: no error", i)
		}
	}
}

// silence is a watch that never says anything.
type silence struct{}

func (silence) Stop()                          {}
func (silence) ResultChan() <-chan watch.Event { return nil }
