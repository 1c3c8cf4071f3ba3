package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

const web = `
apiVersion: types.kubefed.io/v2beta1
kind: FederatedDeployment
metadata: {name: web, namespace: acme-prod, generation: 4}
spec:
  topologyType: cell
  placement: {topologies: [{name: rz00a}, {name: rz01a}, {name: rz02a}]}
status:
  observedGeneration: 4
  conditions:
  - {type: Propagation, status: "False", reason: CheckClusters, message: rz01a cannot be reached}
  - {type: Healthy, status: "False", reason: NotAsAsked}
  topologies:
  - {name: rz01a, generation: 1, revision: 1b9d0123456789abcdef, held: true, behind: 3, health: Unknown, healthMessage: away, status: ClusterNotReady, message: cannot be reached}
  - {name: rz00a, generation: 2, revision: 7f3c0123456789abcdef, health: Progressing, healthMessage: 1 of 3 replicas are updated}
`

const rz00a = `
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {name: rz00a, namespace: acme-prod}
spec: {topologyType: cell, cluster: hz-1, memberNamespace: acme-prod-a}
status: {conditions: [{type: Ready, status: "True", reason: Ready}]}
`

// newStatus is a plane that serves federated deployments in both forms.
func newStatus(t *testing.T, kind, name string, manifests ...string) (*statusOptions, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	o := &statusOptions{kind: kind, name: name, namespace: "acme-prod", output: outputTable, out: out}
	o.plane, _ = newCluster("uid-plane", objectsOf(t, manifests...)...)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "types.kubefed.io", Version: "v2beta1"}, {Group: "types.kubefed.io", Version: "v1beta1"}, {Version: "v1"}})
	for _, version := range []string{"v2beta1", "v1beta1"} {
		mapper.Add(schema.GroupVersionKind{Group: "types.kubefed.io", Version: version, Kind: "FederatedDeployment"}, meta.RESTScopeNamespace)
	}
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, meta.RESTScopeNamespace)
	// Discovery puts the preferred version first.
	o.plane.mapper = meta.PriorityRESTMapper{Delegate: mapper, KindPriority: []schema.GroupVersionKind{
		{Group: "types.kubefed.io", Version: "v2beta1", Kind: meta.AnyKind},
	}}
	return o, out
}

func TestStatusShowsUnitsByRevisions(t *testing.T) {
	tests := map[string]struct {
		name, output string
		want         string
	}{
		"one object": {"web", outputTable, `
FederatedDeployment acme-prod/web, generation 4: Propagation=False CheckClusters, Healthy=False
UNIT    MEMBER   REVISION     GENERATION   HELD   BEHIND   HEALTH        STATUS            MESSAGE
rz00a   hz-1     7f3c012345   2            no     -        Progressing   OK                1 of 3 replicas are updated
rz01a   -        1b9d012345   1            yes    3        Unknown       ClusterNotReady   cannot be reached
rz02a   -        -            -            no     -        -             NotPlaced         named, and kept out by the namespace's FederatedNamespace
`},
		"one object, wide": {"web", outputWide, `
FederatedDeployment acme-prod/web, generation 4: Propagation=False CheckClusters, Healthy=False
UNIT    MEMBER   REVISION               GENERATION   HELD   BEHIND   HEALTH        STATUS            MESSAGE
rz00a   hz-1     7f3c0123456789abcdef   2            no     -        Progressing   OK                1 of 3 replicas are updated
rz01a   -        1b9d0123456789abcdef   1            yes    3        Unknown       ClusterNotReady   cannot be reached
rz02a   -        -                      -            no     -        -             NotPlaced         named, and kept out by the namespace's FederatedNamespace
`},
		"all objects of a kind": {"", outputTable, `
OBJECT   UNIT    MEMBER   REVISION     GENERATION   HELD   BEHIND   HEALTH        STATUS            MESSAGE
web      rz00a   hz-1     7f3c012345   2            no     -        Progressing   OK                1 of 3 replicas are updated
web      rz01a   -        1b9d012345   1            yes    3        Unknown       ClusterNotReady   cannot be reached
web      rz02a   -        -            -            no     -        -             NotPlaced         named, and kept out by the namespace's FederatedNamespace
`},
		"for a program": {"web", outputYAML, `
generation: 4
healthy: "False"
kind: FederatedDeployment
message: rz01a cannot be reached
name: web
namespace: acme-prod
observedGeneration: 4
propagation: "False"
reason: CheckClusters
topologyType: cell
units:
- generation: 2
  health: Progressing
  healthMessage: 1 of 3 replicas are updated
  held: false
  member: hz-1
  object: web
  revision: 7f3c0123456789abcdef
  status: OK
  unit: rz00a
- behind: 3
  generation: 1
  health: Unknown
  healthMessage: away
  held: true
  message: cannot be reached
  object: web
  revision: 1b9d0123456789abcdef
  status: ClusterNotReady
  unit: rz01a
- held: false
  message: named, and kept out by the namespace's FederatedNamespace
  object: web
  status: NotPlaced
  unit: rz02a
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, out := newStatus(t, "federateddeployments", tt.name, web, rz00a)
			o.output = tt.output
			if err := o.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), withoutTrailingSpace(out.String())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAUnitWithoutAnEntryIsToldWhy(t *testing.T) {
	for name, tt := range map[string]struct{ from, to, want string }{
		"the plane has not seen the object":  {"generation: 4}", "generation: 5}", "NotReported"},
		"nothing is placed while it is held": {"reason: CheckClusters", "reason: OnHold", "NotReported"},
		"it is deleted there":                {"generation: 4}", `generation: 4, deletionTimestamp: "2026-11-21T10:00:00Z", finalizers: [kubefed.io/sync-controller]}`, "Gone"},
		"the namespace is not placed there":  {"", "", "NotPlaced"},
	} {
		t.Run(name, func(t *testing.T) {
			o, out := newStatus(t, "federateddeployments", "web", strings.Replace(web, tt.from, tt.to, 1))
			if err := o.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(out.String(), "\n") {
				if strings.HasPrefix(line, "rz02a") && !strings.Contains(line, " "+tt.want+" ") {
					t.Errorf("%s is not said: %s", tt.want, line)
				}
			}
		})
	}
}

func withoutTrailingSpace(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestStatusOfTopologyClusterNamesTheMemberItself(t *testing.T) {
	o, out := newStatus(t, "FederatedDeployment", "web", `
apiVersion: types.kubefed.io/v2beta1
kind: FederatedDeployment
metadata: {name: web, namespace: acme-prod}
status: {topologies: [{name: hz-1}]}
`)
	o.output = outputJSON
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"member": "hz-1"`) {
		t.Errorf("got\n%s", out)
	}
}

func TestStatusOfAKindWithoutObjectsNamesTheNamespace(t *testing.T) {
	o, out := newStatus(t, "federateddeployments", "")
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "There is no FederatedDeployment in namespace acme-prod.\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestStatusRefusesWhatIsNoFederatedObject(t *testing.T) {
	tests := map[string]struct{ kind, name, want string }{
		"a kind that is not federated":     {"configmaps", "a", "ConfigMap is no federated type"},
		"a kind that nobody knows":         {"federatedfoos", "a", "does not know the kind federatedfoos"},
		"a federated object that is gone ": {"federateddeployments", "gone", "there is no FederatedDeployment gone in namespace acme-prod"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, _ := newStatus(t, tt.kind, tt.name, web)
			if err := o.run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestStatusWithoutAnObjectShowsMembersAndUnits(t *testing.T) {
	o, out := newStatus(t, "", "", rz00a, `
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {name: hz-1, namespace: kube-federation-system}
spec: {apiEndpoint: "https://hz-1.example:6443", secretRef: {name: hz-1-cellfed}}
status: {kubernetesVersion: v1.36.3, conditions: [{type: Ready, status: "False", reason: Unreachable, lastProbeTime: "2026-11-21T10:00:00Z"}]}
`)
	if err := o.overview(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `MEMBER   READY   VERSION   ENDPOINT                    SAYS
hz-1     no      v1.36.3   https://hz-1.example:6443   Ready=False Unreachable

In namespace acme-prod:
UNIT    TYPE   MEMBER   MEMBER-NAMESPACE   READY   REASON
rz00a   cell   hz-1     acme-prod-a        yes     Ready
`
	if diff := cmp.Diff(want, withoutTrailingSpace(out.String())); diff != "" {
		t.Error(diff)
	}
}

func TestWhoMayNotListMembersSeesTheUnits(t *testing.T) {
	o, out := newStatus(t, "", "", rz00a)
	o.plane.dynamic.(*dynamicfake.FakeDynamicClient).PrependReactor("list", "kubefedclusters", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(kubeFedClusters.GroupResource(), "", errors.New("a tenant's"))
	})
	if err := o.overview(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"you may not list KubeFedClusters", "rz00a   cell   hz-1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

func TestListsInJSONAreListsAlsoWhereNothingMayBeSeen(t *testing.T) {
	o, out := newStatus(t, "", "")
	o.output = outputJSON
	o.plane.dynamic.(*dynamicfake.FakeDynamicClient).PrependReactor("list", "kubefedclusters", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(kubeFedClusters.GroupResource(), "", errors.New("a tenant's"))
	})
	if err := o.overview(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"members": []`, `"units": []`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

func TestExitCodesTellWrongUsageFromFailure(t *testing.T) {
	tests := map[string]struct {
		args []string
		want int
		says string
	}{
		"help":                           {[]string{"--help"}, ExitOK, ""},
		"a version":                      {[]string{"version"}, ExitOK, ""},
		"an unknown command":             {[]string{"jion"}, ExitUsage, "unknown command"},
		"an unknown flag":                {[]string{"join", "--nmae"}, ExitUsage, "unknown flag"},
		"no name":                        {[]string{"join"}, ExitUsage, "the name of one member"},
		"two names":                      {[]string{"unjoin", "a", "b"}, ExitUsage, "the name of one member"},
		"an unknown format":              {[]string{"status", "-o", "xml"}, ExitUsage, "want one of"},
		"a name of three parts":          {[]string{"status", "a/b/c"}, ExitUsage, "want KIND/NAME"},
		"a kubeconfig that is not there": {[]string{"join", "hz-1", "--member-kubeconfig", "/nowhere/kubeconfig"}, ExitError, "reading the member's kubeconfig"},
		"a plane that does not answer":   {[]string{"status", "--server", "https://127.0.0.1:1", "--kubeconfig", "/dev/null"}, ExitError, "refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			streams, _, out, errOut := genericiooptions.NewTestIOStreams()
			if got := Run(t.Context(), tt.args, streams); got != tt.want {
				t.Errorf("exit code %d, want %d\n%s%s", got, tt.want, out, errOut)
			}
			if !strings.Contains(errOut.String(), tt.says) {
				t.Errorf("%q is not said: %s", tt.says, errOut)
			}
		})
	}
}

func TestEveryCommandShowsExamples(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	root := NewCommand(streams)
	for _, c := range append(root.Commands(), root) {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example or summary", c.CommandPath())
		}
	}
}
