package admission

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
)

const (
	tenantLabel    = "tenancy.cellfed.io/tenant"
	workspaceLabel = "tenancy.cellfed.io/workspace"
)

// tenants is a plane with members of several tenants, and things on them.
func tenants() *fakeFacts {
	f := acme()
	f.namespaces["default"] = nil
	f.namespaces["kube-system"] = nil
	rivals := map[string]string{tenantLabel: "rival"}
	acmes := map[string]string{tenantLabel: "acme", workspaceLabel: "prod"}
	f.clusters = append(f.clusters, Cluster{Name: "rivals", Labels: rivals}, Cluster{Name: "acmes", Labels: acmes},
		Cluster{Name: "shared", Grants: []corev1beta1.TenantGrant{
			{Tenant: "acme", MemberNamespaces: []string{"acme-*", "web"}}, {Tenant: "rival", MemberNamespaces: []string{"hush-*"}}}},
		Cluster{Name: "guests", Labels: rivals, Grants: []corev1beta1.TenantGrant{{Tenant: "third", MemberNamespaces: []string{"*"}}}})
	f.inNamespace = map[string]string{"acme-prod": "FederatedDeployment web"}
	f.onMember = map[string]string{"acmes": "Unit acme-prod/rz00a"}
	return f
}

func judgedBy(t *testing.T, f *fakeFacts, obj, old *unstructured.Unstructured, subresource string) error {
	t.Helper()
	a := newAdmitter(f)
	req := requestFor(obj, old)
	req.Subresource = subresource
	if req.Kind.Kind == "Namespace" {
		req.Namespace = obj.GetName() // as the API server says it
	}
	if err := a.Mutate(context.Background(), req); err != nil {
		return err
	}
	_, err := a.Validate(context.Background(), req)
	return err
}

func TestAUnitIsMadeOnlyWhereItsTenantIsGranted(t *testing.T) {
	for name, c := range map[string]struct{ spec, field, text string }{
		"everybody's member":                          {`{"cluster":"hz-1","memberNamespace":"x"}`, "", ""},
		"its tenant's own":                            {`{"cluster":"acmes","memberNamespace":"x"}`, "", ""},
		"what is granted":                             {`{"cluster":"shared","memberNamespace":"acme-a"}`, "", ""},
		"what is not granted":                         {`{"cluster":"shared","memberNamespace":"other"}`, "spec.memberNamespace", "say one of acme-*, web"},
		"what is granted to another":                  {`{"cluster":"shared","memberNamespace":"hush-1"}`, "spec.memberNamespace", "not granted to tenant acme, workspace prod"},
		"the default is judged too":                   {`{"cluster":"guests"}`, "spec.cluster", "no KubeFedCluster guests"},
		"another tenant's member":                     {`{"cluster":"rivals","memberNamespace":"x"}`, "spec.cluster", "no KubeFedCluster rivals"},
		"another tenant's member with guests":         {`{"cluster":"guests","memberNamespace":"x"}`, "spec.cluster", "no KubeFedCluster guests"},
		"one that is not there is told in same words": {`{"cluster":"nowhere","memberNamespace":"x"}`, "spec.cluster", "no KubeFedCluster nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			err := judgedBy(t, tenants(), unitObject(t, `"name":"rz09x"`, c.spec), nil, "")
			wantFault(t, err, c.field, c.text)
			if err != nil && (strings.Contains(err.Error(), "hush-*") || strings.Contains(err.Error(), "third") || strings.Contains(err.Error(), "rival\"")) {
				t.Errorf("another tenant is told of: %v", err)
			}
		})
	}
	t.Run("who may not be there is not told who is", func(t *testing.T) {
		f := tenants()
		f.claims["hush-1.shared"] = f.claims["rival-a.hz-1"]
		err := judgedBy(t, f, unitObject(t, `"name":"rz09x"`, `{"cluster":"shared","memberNamespace":"hush-1"}`), nil, "")
		wantFault(t, err, "spec.memberNamespace", "not granted")
	})
	t.Run("foreign and missing members differ in nothing but their names", func(t *testing.T) {
		say := func(cluster string) string {
			err := judgedBy(t, tenants(), unitObject(t, `"name":"rz09x"`, `{"cluster":"`+cluster+`"}`), nil, "")
			if err == nil {
				t.Fatalf("%s was let in", cluster)
			}
			return strings.ReplaceAll(err.Error(), cluster, "X")
		}
		if a, b := say("rivals"), say("nowhere"); a != b {
			t.Errorf("%s\n%s", a, b)
		}
	})
	t.Run("grants can be required", func(t *testing.T) {
		a := New(tenants(), Options{TopologyTypes: []string{"cell"}, Gates: gated(t, "RequireTenantGrants", true)})
		obj := unitObject(t, `"name":"rz09x"`, `{"cluster":"hz-1","topologyType":"cell","memberNamespace":"x"}`)
		obj.SetLabels(map[string]string{tenantLabel: "acme", workspaceLabel: "prod"})
		_, err := a.Validate(context.Background(), requestFor(obj, nil))
		wantFault(t, err, "spec.cluster", "have its spec.grants list tenant acme, workspace prod")
	})
	t.Run("a unit that was granted once can be labelled still", func(t *testing.T) {
		old := unitObject(t, `"name":"rz00a"`, `{"cluster":"rivals","topologyType":"cell","memberNamespace":"x"}`)
		obj := old.DeepCopy()
		obj.SetLabels(map[string]string{"city": "hangzhou"})
		wantFault(t, judgedBy(t, tenants(), obj, old, ""), "", "")
	})
}

func TestOwnersDoNotChangeWhileAnythingIsThere(t *testing.T) {
	namespace := func(name, labels, more string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+name+`","labels":`+labels+more+`}}`)
	}
	member := func(name, labels, more string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"kube-federation-system","name":"`+name+`","labels":`+labels+more+
			`},"spec":{"apiEndpoint":"https://x","secretRef":{"name":"s"}}}`)
	}
	const mine, deleting = `{"tenancy.cellfed.io/tenant":"acme","tenancy.cellfed.io/workspace":"prod"}`, `,"deletionTimestamp":"2026-01-01T00:00:00Z"`
	kinds := map[string]struct {
		of                func(name, labels, more string) *unstructured.Unstructured
		used, free, stand string
		subresources      []string
	}{
		"namespace": {namespace, "acme-prod", "nobody", "FederatedDeployment web", []string{"", "status", "finalize"}},
		"member":    {member, "acmes", "hz-1", "Unit acme-prod/rz00a", []string{""}},
	}
	for kind, k := range kinds {
		for name, labels := range map[string]string{
			"the tenant is another":    `{"tenancy.cellfed.io/tenant":"rival","tenancy.cellfed.io/workspace":"prod"}`,
			"the workspace is another": `{"tenancy.cellfed.io/tenant":"acme","tenancy.cellfed.io/workspace":"test"}`,
			"a label is gone":          `{"tenancy.cellfed.io/tenant":"acme"}`,
			"both are gone":            `{"x":"y"}`,
			"one is empty":             `{"tenancy.cellfed.io/tenant":"","tenancy.cellfed.io/workspace":"prod"}`,
		} {
			for _, sub := range k.subresources {
				t.Run(kind+" "+sub+": "+name, func(t *testing.T) {
					err := judgedBy(t, tenants(), k.of(k.used, labels, ""), k.of(k.used, mine, ""), sub)
					wantFault(t, err, "metadata.labels", k.stand+" stands in the way")
					err = judgedBy(t, tenants(), k.of(k.used, labels, deleting), k.of(k.used, mine, deleting), sub)
					wantFault(t, err, "metadata.labels", "cannot be set, changed or removed")
					wantFault(t, judgedBy(t, tenants(), k.of(k.free, labels, ""), k.of(k.free, mine, ""), sub), "", "")
				})
			}
		}
		t.Run(kind+": labels cannot be added either", func(t *testing.T) {
			wantFault(t, judgedBy(t, tenants(), k.of(k.used, mine, ""), k.of(k.used, `{}`, ""), ""), "metadata.labels", "stands in the way")
		})
		t.Run(kind+": other labels are nobody's business, and nothing is looked up", func(t *testing.T) {
			f := tenants()
			wantFault(t, judgedBy(t, f, k.of(k.used, `{"a":"b"}`, ""), k.of(k.used, `{"a":"c"}`, ""), ""), "", "")
			if f.asked != 0 {
				t.Errorf("%d look-ups", f.asked)
			}
		})
		t.Run(kind+": what is there that cannot be found out refuses for the time being", func(t *testing.T) {
			f := tenants()
			f.err = errors.New("away")
			if err := judgedBy(t, f, k.of(k.free, mine, ""), k.of(k.free, `{}`, ""), ""); !apierrors.IsServiceUnavailable(err) {
				t.Error(err)
			}
		})
		t.Run(kind+": a new one is what it says", func(t *testing.T) {
			wantFault(t, judgedBy(t, tenants(), k.of(k.used, mine, ""), nil, ""), "", "")
		})
	}
}

func TestAnObjectOutOfADumpGetsItsNamespacesOwner(t *testing.T) {
	obj := parse(t, `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedDeployment","metadata":{"namespace":"acme-prod","name":"web",
		"uid":"old","resourceVersion":"7","deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["x"],"labels":{"tenancy.cellfed.io/tenant":"rival","app":"web"}},
		"spec":{"template":{}},"status":{"clusters":[{"name":"rivals","inventory":true}]}}`)
	if err := judgedBy(t, tenants(), obj, nil, ""); err != nil {
		t.Fatal(err)
	}
	if l := obj.GetLabels(); l[tenantLabel] != "acme" || l[workspaceLabel] != "prod" || l["app"] != "web" {
		t.Errorf("labels are %v", l)
	}
	if len(obj.GetFinalizers()) != 2 {
		t.Errorf("finalizers are %v", obj.GetFinalizers())
	}
}

func TestObjectsAreNotPlacedInSystemNamespaces(t *testing.T) {
	const cell, cluster = `{"topologyType":"cell","template":{}}`, `{"template":{}}`
	in := func(namespace, spec string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedDeployment","metadata":{"namespace":"`+namespace+`","name":"web"},"spec":`+spec+`}`)
	}
	for _, namespace := range []string{"kube-system", "kube-federation-system", "cellfed-units"} {
		wantFault(t, judgedBy(t, tenants(), in(namespace, cluster), nil, ""), "metadata.namespace", "system namespace")
		wantFault(t, judgedBy(t, tenants(), in(namespace, cell), nil, ""), "", "") // it lives where its units do
		wantFault(t, judgedBy(t, tenants(), in(namespace, `{"template":{"data":{}}}`), in(namespace, cluster), ""), "", "")
	}
	wantFault(t, judgedBy(t, tenants(), in("default", cluster), nil, ""), "", "")
	f := tenants()
	f.namespaces["default"] = map[string]string{tenantLabel: "acme"}
	wantFault(t, judgedBy(t, f, in("default", cluster), nil, ""), "metadata.namespace", "no tenant's")
}

func TestWarningsTellNothingOfOtherTenantsMembers(t *testing.T) {
	warned := func(cluster string) string {
		obj := parse(t, `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedDeployment","metadata":{"namespace":"acme-prod","name":"web",
			"labels":{"tenancy.cellfed.io/tenant":"acme","tenancy.cellfed.io/workspace":"prod"}},
			"spec":{"template":{},"placement":{"clusters":[{"name":"`+cluster+`"}]},"overrides":[{"clusterName":"`+cluster+`"}]}}`)
		warnings, err := newAdmitter(tenants()).Validate(context.Background(), requestFor(obj, nil))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(strings.Join(warnings, "\n"), cluster, "X")
	}
	if own := warned("acmes"); own != "" {
		t.Errorf("warned of its own member: %s", own)
	}
	if foreign, missing := warned("rivals"), warned("nowhere"); foreign == "" || foreign != missing {
		t.Errorf("of a foreign member:\n%s\nof one that is not there:\n%s", foreign, missing)
	}
	if foreign, missing := warned("hz-1"), warned("nowhere"); foreign != missing {
		t.Errorf("of a member of nobody's:\n%s\nof one that is not there:\n%s", foreign, missing)
	}
}

func TestGrantsThatCannotBeMeantAreRefused(t *testing.T) {
	for grants, want := range map[string][2]string{
		`[{"tenant":"acme","memberNamespaces":["acme-*","*-b-*","x"]}]`:                    {"", ""},
		`[{"memberNamespaces":["*"]}]`:                                                     {"", ""},
		`[{"tenant":"acme","memberNamespaces":["kube-system"]}]`:                           {"spec.grants[0].memberNamespaces[0]", "never granted"},
		`[{"tenant":"a","memberNamespaces":["a"]},{"memberNamespaces":["b","cellfed-*"]}]`: {"spec.grants[1].memberNamespaces[1]", "never granted"},
		`[{"tenant":"acme","memberNamespaces":["a.b"]}]`:                                   {"spec.grants[0].memberNamespaces[0]", "name of a namespace"},
		`[{"tenant":"acme","memberNamespaces":["A"]}]`:                                     {"spec.grants[0].memberNamespaces[0]", "name of a namespace"},
		`[{"tenant":"a b","memberNamespaces":["a"]}]`:                                      {"spec.grants[0].tenant", "value of a label"},
		`[{"tenant":"a","workspace":"-","memberNamespaces":["a"]}]`:                        {"spec.grants[0].workspace", "value of a label"},
	} {
		obj := parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"kube-federation-system","name":"m"},
			"spec":{"apiEndpoint":"https://x","secretRef":{"name":"s"},"grants":`+grants+`}}`)
		wantFault(t, judgedBy(t, tenants(), obj, nil, ""), want[0], want[1])
	}
}

func TestTheKubeFedClustersOfUnitsSayWhoseTheyAre(t *testing.T) {
	alias := func(name, labels string) *unstructured.Unstructured {
		return parse(t, `{"apiVersion":"core.kubefed.io/v1beta1","kind":"KubeFedCluster","metadata":{"namespace":"cellfed-units","name":"`+name+`","labels":{`+labels+`}},
			"spec":{"apiEndpoint":"https://x","secretRef":{"name":"s"}}}`)
	}
	const name = "rz00a.acme-prod.cell"
	const owner, place = `"tenancy.cellfed.io/tenant":"acme","tenancy.cellfed.io/workspace":"prod"`,
		`"topology.cellfed.io/type":"cell","topology.cellfed.io/namespace":"acme-prod","topology.cellfed.io/unit":"rz00a"`
	good := alias(name, owner+","+place)
	for what, c := range map[string]struct {
		obj, old    *unstructured.Unstructured
		field, text string
	}{
		"as the plane makes it":           {good, nil, "", ""},
		"drift that is being mended":      {good, alias(name, `"topology.cellfed.io/unit":"x"`), "", ""},
		"drift that stays":                {alias(name, `"topology.cellfed.io/unit":"x","a":"b"`), alias(name, `"topology.cellfed.io/unit":"x"`), "", ""},
		"another tenant's label":          {alias(name, place+`,"tenancy.cellfed.io/tenant":"rival","tenancy.cellfed.io/workspace":"prod"`), nil, "metadata.labels[tenancy.cellfed.io/tenant]", "leave this one"},
		"an owner's label taken off":      {alias(name, place+`,"tenancy.cellfed.io/tenant":"acme"`), good, "metadata.labels[tenancy.cellfed.io/workspace]", "leave this one"},
		"another unit's label":            {alias(name, owner+`,"topology.cellfed.io/unit":"rz77x"`), nil, "metadata.labels[topology.cellfed.io/unit]", "leave this one"},
		"a label for a namespace of none": {alias("x.nowhere.cell", `"tenancy.cellfed.io/tenant":"acme"`), nil, "metadata.labels[tenancy.cellfed.io/tenant]", "leave this one"},
		"no unit's name":                  {alias("hz-1", ``), nil, "metadata.name", "for the KubeFedClusters of units"},
	} {
		t.Run(what, func(t *testing.T) { wantFault(t, judgedBy(t, tenants(), c.obj, c.old, ""), c.field, c.text) })
	}
}

func TestInUseIsFoundByLiveReads(t *testing.T) {
	f := factsThrough(usedPlane(t))
	for _, running := range []bool{false, true} {
		if running {
			runCaches(t, f)
		}
		for namespace, want := range map[string]string{"acme-prod": "Unit rz00a", "with-object": "FederatedDeployment web", "with-history": "Revision r", "empty": ""} {
			if got, err := f.InNamespace(t.Context(), namespace); err != nil || got != want {
				t.Errorf("in %s: %q %v, want %q", namespace, got, err, want)
			}
		}
		for member, want := range map[string]string{"hz-1": "Unit acme-prod/rz00a", "sh-1": "FederatedDeployment with-object/web", "bj-1": "", "gz-1": ""} {
			if got, err := f.OnMember(t.Context(), member); err != nil || got != want {
				t.Errorf("on %s: %q %v, want %q", member, got, err, want)
			}
		}
	}
}

// usedPlane is a plane with a unit, a federated object that has a copy in sh-1 and says something of bj-1, and a revision.
func usedPlane(t *testing.T) *fake.FakeDynamicClient {
	t.Helper()
	kinds := map[schema.GroupVersionResource]string{
		{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}: "CustomResourceDefinitionList",
		{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federateddeployments"}:     "FederatedDeploymentList",
		{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatednothings"}:        "FederatedNothingList",
	}
	for gvr, kind := range map[schema.GroupVersionResource]string{
		{Version: "v1", Resource: "namespaces"}:                                                "NamespaceList",
		{Group: "topology.cellfed.io", Version: "v1alpha1", Resource: "units"}:                 "UnitList",
		{Group: "topology.cellfed.io", Version: "v1alpha1", Resource: "membernamespaceclaims"}: "MemberNamespaceClaimList",
		{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedclusters"}:            "KubeFedClusterList",
		{Group: "core.kubefed.io", Version: "v1beta1", Resource: "federatedtypeconfigs"}:       "FederatedTypeConfigList",
		{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedconfigs"}:             "KubeFedConfigList",
		{Group: "propagation.cellfed.io", Version: "v1alpha1", Resource: "revisions"}:          "RevisionList",
	} {
		kinds[gvr] = kind
	}
	definition := func(plural, kind string) runtime.Object {
		return parse(t, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"`+plural+`.types.kubefed.io",
			"labels":{"app.kubernetes.io/managed-by":"cellfed"},"annotations":{"core.cellfed.io/federated-type-config":"x"}},
			"spec":{"group":"types.kubefed.io","names":{"plural":"`+plural+`","kind":"`+kind+`"}}}`)
	}
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds,
		definition("federateddeployments", "FederatedDeployment"), definition("federatednothings", "FederatedNothing"),
		unitObject(t, `"name":"rz00a"`, `{"topologyType":"cell","cluster":"hz-1"}`),
		parse(t, `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedDeployment","metadata":{"namespace":"with-object","name":"web"},"spec":{},
			"status":{"clusters":[{"name":"bj-1"},{"name":"sh-1","inventory":true}]}}`),
		parse(t, `{"apiVersion":"propagation.cellfed.io/v1alpha1","kind":"Revision","metadata":{"namespace":"with-history","name":"r"},"spec":{}}`),
	)
}
