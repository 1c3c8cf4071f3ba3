package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/test/harness"
)

var fedDeployment = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federateddeployments"}

// pipeline is a release pipeline: it has stock kubectl, the kubeconfig of a plane, and nothing else.
type pipeline struct {
	*testing.T
	kubeconfig string
}

func (p *pipeline) run(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(p.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(world.bin, "tools", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig, "PATH="+world.bin+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *pipeline) kubectl(stdin string, args ...string) string {
	p.Helper()
	out, err := p.run(stdin, args...)
	if err != nil {
		p.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// deployment is the spec of a FederatedDeployment, from its template's inner spec on.
func deploymentSpec(image, more string) string {
	return `  template:
    spec:
      replicas: 2
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec: {containers: [{name: web, image: "` + image + `"}]}
` + more
}

// healthyWard is a plane of its own over one member with a simulated node, where Deployments really roll out, and two
// cells in it.
const healthyWard = `apiVersion: v1
kind: Namespace
metadata: {name: clinic}
---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: clinic, name: a}
spec: {cluster: ward, memberNamespace: clinic-a}
---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: clinic, name: b}
spec: {cluster: ward, memberNamespace: clinic-b}
`

func TestAPipelineWaitsWithStockKubectlUntilItsCellsAreHealthy(t *testing.T) {
	members := harness.Members(t, 1, harness.MembersNamed("ward"), harness.MembersWithNodes(1))
	plane := harness.RunPlane(t, harness.PlaneOptions{})
	p := &pipeline{t, plane.Kubeconfig}
	p.kubectl("", "cellfed", "join", "ward", "--member-kubeconfig", members.Members[0].Kubeconfig)
	p.kubectl(typeConfigs+"---\n"+healthyWard, "apply", "-f", "-")
	p.kubectl("", "wait", "--for=condition=Served", "ftc", "--all", "-n", "kube-federation-system", "--timeout=60s")
	p.kubectl("", "wait", "--for=condition=Ready", "units", "--all", "-n", "clinic", "--timeout=60s")
	inside, err := dynamic.NewForConfig(members.Members[0].Config)
	if err != nil {
		t.Fatal(err)
	}
	for version, f := range map[string]struct {
		resource, list string
		name           func(string) string
	}{
		"v2beta1": {"federateddeployments.v2beta1.types.kubefed.io", "topologies", func(u string) string { return u }},
		"v1beta1": {"federateddeployments.v1beta1.types.kubefed.io", "clusters", func(u string) string { return u + ".clinic.cell" }},
	} {
		t.Run(version, func(t *testing.T) {
			p := &pipeline{t, plane.Kubeconfig}
			web := f.resource + "/web-" + version
			in := func(units ...string) string {
				var names []string
				for _, u := range units {
					names = append(names, f.name(u))
				}
				return "{" + f.list + ": [" + entries(names) + "]}"
			}
			manifest := func(image, mask string) string {
				return "apiVersion: types.kubefed.io/" + version + "\nkind: FederatedDeployment\nmetadata: {namespace: clinic, name: web-" + version +
					"}\nspec:\n  topologyType: cell\n" + deploymentSpec(image, "  placement: "+in("a", "b")+"\n"+mask)
			}
			field := func(unit, field string) string {
				return "{.status." + f.list + "[?(@.name==\"" + f.name(unit) + "\")]." + field + "}"
			}
			read := func(unit, name string) string {
				return p.kubectl("", "get", web, "-n", "clinic", "-o", "jsonpath="+field(unit, name))
			}
			runs := func(unit, image string) {
				t.Helper()
				d, err := inside.Resource(deployments).Namespace("clinic-"+unit).Get(t.Context(), "web-"+version, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
				updated, _, _ := unstructured.NestedInt64(d.Object, "status", "updatedReplicas")
				available, _, _ := unstructured.NestedInt64(d.Object, "status", "availableReplicas")
				observed, _, _ := unstructured.NestedInt64(d.Object, "status", "observedGeneration")
				if got := containers[0].(map[string]any)["image"]; got != image || updated != 2 || available != 2 || observed != d.GetGeneration() {
					t.Errorf("%s runs %v with %d updated and %d available replicas, want %s with 2 of each", unit, got, updated, available, image)
				}
			}
			p.kubectl(manifest("web:1", ""), "apply", "-f", "-")
			p.kubectl("", "wait", "--for=condition=Healthy", web, "-n", "clinic", "--timeout=60s")
			runs("a", "web:1")
			runs("b", "web:1")
			first := read("b", "revision")

			// The gray release: only cell a, and the wait is about the generation that was just applied.
			p.kubectl(manifest("web:2", "  placementMask: "+in("a")+"\n"), "apply", "-f", "-")
			p.kubectl("", "wait", "--for=condition=Healthy", web, "-n", "clinic", "--timeout=60s")
			runs("a", "web:2")
			runs("b", "web:1")
			second := read("a", "revision")
			if second == first || read("b", "healthyRevision") != first {
				t.Errorf("a runs %s; b, which is held, is healthy with %q, want %s", second, read("b", "healthyRevision"), first)
			}

			// Widened to b, by name of the revision that a has proved.
			p.kubectl("", "patch", web, "-n", "clinic", "--type=merge", "-p", `{"spec":{"placementMask":null}}`)
			p.kubectl("", "wait", "--for=jsonpath="+field("b", "healthyRevision")+"="+second, web, "-n", "clinic", "--timeout=60s")
			runs("b", "web:2")
			if got := p.kubectl("", "get", web, "-n", "clinic", "-o", "jsonpath={.status.summary.healthy}"); got != "2/2" {
				t.Errorf("summary: %q healthy", got)
			}
		})
	}
}

func TestADeploymentThatNeverGetsReadyIsProgressingAndThenDegraded(t *testing.T) {
	w := newTenant(t, "health-stuck", "a "+east, "b "+west)
	apply := func(seconds, replicas int) {
		w.apply(fmt.Sprintf("apiVersion: types.kubefed.io/v2beta1\nkind: FederatedDeployment\nmetadata: {namespace: %s, name: web}\nspec:\n  topologyType: cell\n%s",
			w.ns, strings.Replace(deploymentSpec("web:broken", placed("a")), "replicas: 2", fmt.Sprintf("replicas: %d\n      progressDeadlineSeconds: %d", replicas, seconds), 1)))
	}
	health := func() (unit, condition map[string]any) {
		u, err := world.client.Resource(fedDeployment).Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "topologies")
		if len(list) == 1 {
			unit = list[0].(map[string]any)
		}
		return unit, conditionOf(u, "Healthy")
	}
	is := func(want, reason string) {
		t.Helper()
		w.eventually(func() error {
			if e, c := health(); e["health"] != want || c["reason"] != reason {
				return fmt.Errorf("a is %v (%v), Healthy is %v; want %s, %s", e["health"], e["healthMessage"], c, want, reason)
			}
			return nil
		})
	}
	apply(4, 1) // these members have no nodes
	is("Progressing", "Progressing")
	is("Degraded", "Degraded")
	e, c := health()
	if e["healthyRevision"] != nil || c["status"] != "False" || !strings.Contains(fmt.Sprint(e["healthMessage"]), "ProgressDeadlineExceeded") {
		t.Errorf("a: %v; Healthy: %v", e, c)
	}
	w.kubectl("wait", "--for=condition=Propagation", "fdeploy/web", "-n", w.ns, "--timeout=10s") // what was asked for is there
	if out, err := kubectl(t.Context(), "", "wait", "--for=condition=Healthy", "fdeploy/web", "-n", w.ns, "--timeout=1s"); err == nil {
		t.Errorf("a pipeline would go on:\n%s", out)
	}
	apply(4, 0)
	is("Healthy", "AllHealthy")
	w.kubectl("wait", "--for=condition=Healthy", "fdeploy/web", "-n", w.ns, "--timeout=10s")
}
