package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// quietly lets something happen in a member that is none of the plane's business: no write follows, and status says
// that all is well.
func (f *federated) quietly(member, name, unit string, happens func()) {
	f.Helper()
	before, refused := f.planeWrites(member, name)
	happens()
	time.Sleep(2 * time.Second)
	if after, more := f.planeWrites(member, name); after != before || more != refused {
		f.Errorf("%d writes followed, and %d that were refused", after-before, more-refused)
	}
	f.is(name, unit, "")
}

// path reads a field of a copy in a member.
func (f *federated) path(member, name string, path ...string) any {
	f.Helper()
	v, _, _ := unstructured.NestedFieldNoCopy(f.inside(member, f.ns, name).Object, path...)
	return v
}

func TestJobsCanBeReleasedAgainAndMayBeSuspendedInTheirMember(t *testing.T) {
	w := newTenant(t, "retain-job", "a "+east)
	f := w.federate("batch", "v1", "Job", "jobs", true)
	job := func(parallelism int) string {
		return fmt.Sprintf(`{topologyType: cell, placement: {topologies: [{name: a}]}, template: {spec: {parallelism: %d, completions: 9,
			template: {metadata: {labels: {app: sum}}, spec: {restartPolicy: Never, containers: [{name: sum, image: sum}]}}}}}`, parallelism)
	}
	f.put("sum", job(1))
	f.field(east, f.ns, "sum", "1", "spec", "parallelism")
	f.is("sum", "a", "")
	selector := fmt.Sprint(f.path(east, "sum", "spec", "selector"))
	f.put("sum", job(2))
	f.field(east, f.ns, "sum", "2", "spec", "parallelism")
	f.is("sum", "a", "")
	if now := fmt.Sprint(f.path(east, "sum", "spec", "selector")); now != selector || !strings.Contains(now, "controller-uid") {
		t.Errorf("the selector was %s and is %s", selector, now)
	}
	f.quietly(east, "sum", "a", func() { f.edit(east, "sum", `{"spec":{"suspend":true}}`) })
	if f.path(east, "sum", "spec", "suspend") != true {
		t.Error("the Job is not suspended any more")
	}
}

func TestAClaimKeepsTheVolumeThatItsMemberFoundForIt(t *testing.T) {
	w := newTenant(t, "retain-claim", "a "+east)
	f := w.federate("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true)
	claim := func(tier string) string {
		return `{topologyType: cell, placement: {topologies: [{name: a}]}, template: {metadata: {labels: {tier: ` + tier + `}},
			spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}`
	}
	f.put("data", claim("one"))
	f.field(east, f.ns, "data", "one", "metadata", "labels", "tier")
	f.is("data", "a", "")
	f.quietly(east, "data", "a", func() { f.edit(east, "data", `{"spec":{"volumeName":"pv-of-the-member"}}`) })
	f.put("data", claim("two"))
	f.field(east, f.ns, "data", "two", "metadata", "labels", "tier")
	f.is("data", "a", "")
	if v := f.path(east, "data", "spec", "volumeName"); v != "pv-of-the-member" {
		t.Errorf("the volume is %v", v)
	}
}

func TestAWebhooksCABundleIsItsMembersUnlessTheTemplateGivesOne(t *testing.T) {
	w := newTenant(t, "retain-webhook")
	f := w.federate("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false)
	const name = "e2e-retained"
	config := func(path string) string {
		hook := `{name: %s.example.com, sideEffects: None, admissionReviewVersions: [v1], failurePolicy: Ignore, clientConfig: {%s service: {namespace: none, name: none, path: ` + path + `}},
			rules: [{apiGroups: [none.example.com], apiVersions: [v1], operations: [CREATE], resources: [nothings]}]}`
		return `{placement: {topologies: [{name: east}]}, template: {webhooks: [` + fmt.Sprintf(hook, "a", "caBundle: Cg==,") + `, ` +
			fmt.Sprintf(hook, "b", "caBundle: bWluZQ==,") + `]}}`
	}
	f.put(name, config("/one"))
	defer f.delete(name)
	bundles := func() (paths, bundles []string) {
		u := f.inside(east, "", name)
		if u == nil {
			return nil, nil
		}
		hooks, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
		for _, h := range hooks {
			bundle, _, _ := unstructured.NestedString(h.(map[string]any), "clientConfig", "caBundle")
			path, _, _ := unstructured.NestedString(h.(map[string]any), "clientConfig", "service", "path")
			paths, bundles = append(paths, path), append(bundles, bundle)
		}
		return paths, bundles
	}
	has := func(path, first, second string) {
		t.Helper()
		f.eventually(func() error {
			paths, now := bundles()
			if len(now) != 2 || paths[0] != path || now[0] != first || now[1] != second {
				return fmt.Errorf("paths %v, bundles %v; want %s, %s, %s", paths, now, path, first, second)
			}
			return nil
		})
	}
	inject := func(i int, bundle string) {
		t.Helper()
		patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/%d/clientConfig/caBundle","value":%q}]`, i, bundle)
		if _, err := world.inside[east].Resource(f.inMember).Patch(t.Context(), name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	has("/one", "Cg==", "bWluZQ==")
	f.is(name, east, "")
	before, _ := f.clusterWrites(name)
	inject(0, "Y2VydC1tYW5hZ2Vy") // as a cert-manager would
	time.Sleep(2 * time.Second)
	if after, _ := f.clusterWrites(name); after != before {
		t.Errorf("%d writes followed the injection", after-before)
	}
	f.put(name, config("/two"))
	has("/two", "Y2VydC1tYW5hZ2Vy", "bWluZQ==")
	inject(1, "Zm9yZWlnbg==") // the template gives this one
	has("/two", "Y2VydC1tYW5hZ2Vy", "bWluZQ==")
}

// clusterWrites is planeWrites of a cluster-scoped copy in member east.
func (f *federated) clusterWrites(name string) (taken, refused int) {
	w := *f.tenant
	w.ns = ""
	c := *f
	c.tenant = &w
	return c.planeWrites(east, name)
}

func TestReplicasThatAMembersAutoscalerSetsAreNoDrift(t *testing.T) {
	w := newTenant(t, "retain-replicas", "a "+east)
	f := deploymentsOf(w)
	deployment := func(image string) string {
		return `{topologyType: cell, retainReplicas: true, placement: {topologies: [{name: a}]}, template: {spec: {replicas: 2,
			selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: ` + image + `}]}}}}}`
	}
	f.put("web", deployment("one"))
	f.field(east, f.ns, "web", "2", "spec", "replicas")
	f.is("web", "a", "")
	f.quietly(east, "web", "a", func() { f.edit(east, "web", `{"spec":{"replicas":7}}`) })
	f.put("web", deployment("two"))
	f.eventually(func() error {
		if raw := fmt.Sprint(f.path(east, "web", "spec", "template", "spec", "containers")); !strings.Contains(raw, "image:two") {
			return fmt.Errorf("containers are %s", raw)
		}
		return nil
	})
	f.is("web", "a", "")
	if v := f.path(east, "web", "spec", "replicas"); v != int64(7) {
		t.Errorf("%v replicas, want the member's 7", v)
	}
}

func TestRetainedFieldsOfATypeAreTheMembers(t *testing.T) {
	w := newTenant(t, "retain-fields", "a "+east, "b "+west)
	f := deploymentsOf(w)
	f.config = "deployments.apps"
	f.setPolicy(`{"retainedFields":["/spec/template/spec/containers/*/resources","/spec/paused"]}`)
	deployment := func(image string) string {
		return `{topologyType: cell, placement: {topologies: [{name: a}]}, template: {spec: {replicas: 1,
			selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [
			{name: helper, image: x}, {name: web, image: ` + image + `, resources: {requests: {cpu: 1}}}]}}}}}`
	}
	f.put("web", deployment("one"))
	f.field(east, f.ns, "web", "1", "spec", "replicas")
	f.is("web", "a", "")
	// The policy came in with the type's restart: an edit of what is not retained is repaired all the same.
	f.edit(east, "web", `{"spec":{"replicas":3}}`)
	f.field(east, f.ns, "web", "1", "spec", "replicas")
	f.is("web", "a", "")
	f.quietly(east, "web", "a", func() {
		const patch = `{"spec":{"paused":true,"template":{"spec":{"containers":[{"name":"web","resources":{"requests":{"cpu":"5"}}}]}}}}`
		if _, err := world.inside[east].Resource(deployments).Namespace(f.ns).Patch(context.Background(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	f.put("web", deployment("two"))
	f.eventually(func() error {
		raw := fmt.Sprint(f.path(east, "web", "spec", "template", "spec", "containers"))
		if !strings.Contains(raw, "image:two") || !strings.Contains(raw, "cpu:5") {
			return fmt.Errorf("containers are %s", raw)
		}
		return nil
	})
	if f.path(east, "web", "spec", "paused") != true {
		t.Error("the Deployment is not paused any more")
	}
	f.is("web", "a", "")
}
