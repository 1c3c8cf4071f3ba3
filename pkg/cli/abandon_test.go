package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
)

const deploymentsAreFederated = `
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: deployments.apps, namespace: kube-federation-system}
spec: {federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedDeployment, pluralName: federateddeployments}}
`

// memberObject is a member that the plane says is ready, or not.
func memberObject(ready string) string {
	return fmt.Sprintf(`
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {name: hz-1, namespace: kube-federation-system, annotations: {cellfed.io/member-uid: uid-hz-1}}
spec: {apiEndpoint: "https://hz-1:6443", secretRef: {name: hz-1-cellfed}}
status: {conditions: [{type: Ready, status: %q, reason: Checked, message: as it is}]}
`, ready)
}

// holder is a federated object with a copy in a unit on the member, in a cluster of an identity.
func holder(name, unit, id, deleted string) string {
	meta := "name: " + name + ", namespace: acme"
	if deleted != "" {
		meta += ", deletionTimestamp: \"" + deleted + "\", finalizers: [kubefed.io/sync-controller]"
	}
	return fmt.Sprintf(`
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {%s}
spec: {topologyType: cell}
status: {clusters: [{name: %s.acme.cell, inventory: true, cluster: hz-1, memberNamespace: acme, clusterID: %s}]}
`, meta, unit, id)
}

type abandoning struct {
	*abandonOptions
	out  *bytes.Buffer
	fake *dynamicfake.FakeDynamicClient
}

func newAbandoning(t *testing.T, answer string, manifests ...string) *abandoning {
	t.Helper()
	out := &bytes.Buffer{}
	a := &abandoning{out: out, abandonOptions: &abandonOptions{member: "hz-1", namespace: "acme", topologyType: "cell", output: outputTable,
		in: strings.NewReader(answer), out: out}}
	a.plane, a.fake = newCluster("uid-plane", objectsOf(t, append(manifests, deploymentsAreFederated)...)...)
	return a
}

func (a *abandoning) recorded(t *testing.T) []topologyv1alpha1.Abandonment {
	t.Helper()
	all, err := list[topologyv1alpha1.Abandonment](t.Context(), a.plane, abandonments, "")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAMemberIsGivenUpAfterItWasSaidWhatThatMeansAndYesWasSaid(t *testing.T) {
	a := newAbandoning(t, "y\n", memberObject("False"), holder("web", "rz00a", "uid-hz-1", ""), holder("old", "rz00b", "uid-hz-1", "2026-11-21T10:00:00Z"))
	a.reason = "flooded"
	if err := a.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 federated objects may have copies there, in 2 units", "1 of them are being deleted", "uid-hz-1", "created"} {
		if !strings.Contains(a.out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, a.out)
		}
	}
	all := a.recorded(t)
	if len(all) != 1 || all[0].Spec != (topologyv1alpha1.AbandonmentSpec{Cluster: "hz-1", ClusterID: "uid-hz-1", Reason: "flooded"}) {
		t.Errorf("recorded is %+v", all)
	}
	a.yes = true
	if err := a.run(t.Context()); err != nil || len(a.recorded(t)) != 1 {
		t.Errorf("a second time: %v, %d records", err, len(a.recorded(t)))
	}
}

func TestWhatIsNotYesGivesNothingUp(t *testing.T) {
	for _, answer := range []string{"", "\n", "n\n", "hz-1\n"} {
		a := newAbandoning(t, answer, memberObject("False"))
		if err := a.run(t.Context()); err == nil || len(writes(a.fake)) > 0 {
			t.Errorf("%q: %v, %v", answer, err, writes(a.fake))
		}
	}
}

func TestAMemberThatIsReadyIsNotGivenUpByMistake(t *testing.T) {
	a := newAbandoning(t, "", memberObject("True"), holder("web", "rz00a", "uid-before", ""))
	a.yes = true
	err := a.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--cluster-id=uid-before") || len(writes(a.fake)) > 0 {
		t.Fatalf("%v, %v", err, writes(a.fake))
	}
	a.clusterID = "uid-before"
	if err := a.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := a.recorded(t); len(all) != 1 || all[0].Spec.ClusterID != "uid-before" {
		t.Errorf("recorded is %+v", all)
	}
	a.clusterID, a.force = "", true
	if err := a.run(t.Context()); err != nil || len(a.recorded(t)) != 2 {
		t.Errorf("by force: %v, %+v", err, a.recorded(t))
	}
}

func TestAUnitThatLivesElsewhereIsGivenUpWhereItWas(t *testing.T) {
	unit := "{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: rz00a, namespace: acme}, spec: {topologyType: cell, cluster: %s, memberNamespace: acme}}"
	a := newAbandoning(t, "", memberObject("True"), holder("web", "rz00a", "uid-hz-1", ""), fmt.Sprintf(unit, "hz-1"))
	a.unit, a.yes = "rz00a", true
	if err := a.run(t.Context()); err == nil || !strings.Contains(err.Error(), "is ready") {
		t.Fatalf("a unit that is where it was: %v", err)
	}
	a = newAbandoning(t, "", memberObject("True"), holder("web", "rz00a", "uid-hz-1", ""), fmt.Sprintf(unit, "hz-2"))
	a.unit, a.yes = "rz00a", true
	if err := a.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := a.recorded(t); len(all) != 1 || all[0].Spec.Unit != "rz00a.acme.cell" {
		t.Errorf("recorded is %+v", all)
	}
}

func TestWhatNobodyKnowsIsNotGivenUp(t *testing.T) {
	a := newAbandoning(t, "")
	a.yes = true
	if err := a.run(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no member hz-1") {
		t.Errorf("%v", err)
	}
}

func TestWhatWasGivenUpIsTakenBackAndListed(t *testing.T) {
	a := newAbandoning(t, "", memberObject("False"))
	a.yes = true
	if err := a.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := read(t, a.plane, abandonments, "", a.recorded(t)[0].Name)
	u.Object["status"] = map[string]any{"leftoverCount": int64(2), "leftovers": []any{map[string]any{"type": "configmaps", "namespace": "acme", "name": "web", "unit": "rz00a.acme.cell"}},
		"conditions": []any{map[string]any{"type": "Leftovers", "status": "True", "reason": "Found", "message": "the place is back", "lastTransitionTime": "2026-11-21T10:00:00Z"}}}
	if _, err := a.plane.dynamic.Resource(abandonments).Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	a.out.Reset()
	if err := a.show(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hz-1", "the place is back", "configmaps acme/web, made for rz00a.acme.cell", "and 1 more"} {
		if !strings.Contains(a.out.String(), want) {
			t.Errorf("the list does not say %q:\n%s", want, a.out)
		}
	}
	a.unit = "rz00a"
	if err := a.takeBack(t.Context()); err == nil {
		t.Error("taking back a unit that was not given up took back the member")
	}
	a.unit = ""
	if err := a.takeBack(t.Context()); err != nil || len(a.recorded(t)) != 0 {
		t.Errorf("%v, %+v", err, a.recorded(t))
	}
}

func TestAnAbandonmentWaitsForDeletionsAndSaysWhenTheyDoNotEnd(t *testing.T) {
	a := newAbandoning(t, "", memberObject("False"), holder("old", "rz00b", "uid-hz-1", "2026-11-21T10:00:00Z"))
	a.yes, a.wait = true, 3*pollPeriod
	if err := a.run(t.Context()); err == nil || !strings.Contains(err.Error(), "1 objects") {
		t.Errorf("%v", err)
	}
	// A plane that lets the object go as soon as the record is there.
	a = newAbandoning(t, "", memberObject("False"), holder("old", "rz00b", "uid-hz-1", "2026-11-21T10:00:00Z"))
	a.yes, a.wait = true, 20*pollPeriod
	a.fake.PrependReactor("create", "abandonments", func(clienttesting.Action) (bool, runtime.Object, error) {
		return false, nil, a.fake.Tracker().Delete(federatedDeployments, "acme", "old")
	})
	if err := a.run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADeadMemberIsUnjoinedByForceAndGivenUpFirst(t *testing.T) {
	o, j, out := unjoining(t, objectsOf(t, deploymentsAreFederated, holder("web", "rz00a", "uid-hz-1", "")), nil)
	o.member, o.force, o.yes = nil, true, true
	kfc := read(t, j.plane, kubeFedClusters, federation, "hz-1")
	if err := o.run(t.Context()); err == nil || !strings.Contains(err.Error(), "is ready") {
		t.Fatalf("a member that is ready: %v", err)
	}
	kfc.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "False", "reason": "ClusterNotReachable"}}}
	if _, err := j.plane.dynamic.Resource(kubeFedClusters).Namespace(federation).Update(t.Context(), kfc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	j.onPlane.ClearActions()
	if err := o.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if w := strings.Join(writes(j.onPlane), ", "); w != "create abandonments, delete kubefedclusters, delete secrets" {
		t.Errorf("written was %s", w)
	}
}

func TestJoiningAMemberThatWasGivenUpSaysThatItIsNotUsed(t *testing.T) {
	given := func(id string) []runtime.Object {
		return objectsOf(t, "{apiVersion: topology.cellfed.io/v1alpha1, kind: Abandonment, metadata: {name: x}, spec: {cluster: hz-1, clusterID: "+id+"}}")
	}
	j := newJoining(t, given("uid-hz-1"), nil)
	if err := j.run(t.Context()); err != nil || !strings.Contains(j.out.String(), "was given up") {
		t.Errorf("%v\n%s", err, j.out)
	}
	j = newJoining(t, given("another"), nil)
	if err := j.run(t.Context()); err != nil || strings.Contains(j.out.String(), "was given up") {
		t.Errorf("another cluster of the name: %v\n%s", err, j.out)
	}
}
