package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// unjoining is a member that was joined, and options that take it out.
func unjoining(t *testing.T, onPlane, inMember []runtime.Object) (*unjoinOptions, *joining, *bytes.Buffer) {
	t.Helper()
	j := newJoining(t, onPlane, inMember)
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	j.onPlane.ClearActions()
	j.inMember.ClearActions()
	out := &bytes.Buffer{}
	return &unjoinOptions{name: "hz-1", patience: time.Second, out: out, plane: j.plane, member: j.member}, j, out
}

type place struct {
	gvr             schema.GroupVersionResource
	namespace, name string
}

func (p place) String() string { return artefactName(p.gvr, p.name) }

var (
	account       = place{serviceAccounts, federation, "hz-1-cellfed"}
	token         = place{secrets, federation, "hz-1-cellfed"}
	binding       = place{clusterRoleBindings, "", "hz-1-cellfed"}
	role          = place{clusterRoles, "", defaultRole}
	namespaceHere = place{namespaces, "", federation}
)

func TestUnjoinRemovesWhatJoinMade(t *testing.T) {
	o, j, _ := unjoining(t, nil, objectsOf(t,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt, namespace: kube-federation-system}}",
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: kube-federation-system}}"))
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range []place{account, token, binding, role, namespaceHere} {
		if exists(t, j.member, p.gvr, p.namespace, p.name) {
			t.Errorf("member: %s is still there", p)
		}
	}
	for _, p := range []place{token, {kubeFedClusters, federation, "hz-1"}} {
		if exists(t, j.plane, p.gvr, p.namespace, p.name) {
			t.Errorf("plane: %s is still there", p)
		}
	}
	if !exists(t, j.plane, namespaces, "", federation) {
		t.Error("the plane's own namespace was deleted")
	}
}

func TestUnjoinLeavesWhatIsNotItsOwn(t *testing.T) {
	tests := map[string]struct {
		there string
		stays []place
		gone  []place
	}{
		"a namespace that was there before": {
			there: "{apiVersion: v1, kind: Namespace, metadata: {name: kube-federation-system}}",
			stays: []place{namespaceHere}, gone: []place{account, token, binding, role},
		},
		"a namespace with something in it": {
			there: "{apiVersion: v1, kind: ConfigMap, metadata: {name: notes, namespace: kube-federation-system}}",
			stays: []place{namespaceHere}, gone: []place{account, token, binding, role},
		},
		"a role that another plane's account is bound to": {
			there: `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: east-cellfed}
roleRef: {kind: ClusterRole, name: cellfed-propagation}
`,
			stays: []place{role, {clusterRoleBindings, "", "east-cellfed"}}, gone: []place{account, token, binding, namespaceHere},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, j, out := unjoining(t, nil, objectsOf(t, tt.there))
			if err := o.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, p := range tt.stays {
				if !exists(t, j.member, p.gvr, p.namespace, p.name) {
					t.Errorf("%s is gone:\n%s", p, out)
				}
			}
			for _, p := range tt.gone {
				if exists(t, j.member, p.gvr, p.namespace, p.name) {
					t.Errorf("%s is still there:\n%s", p, out)
				}
			}
		})
	}
}

func TestUnjoinLeavesTheUsersOwnRole(t *testing.T) {
	j := newJoining(t, nil, objectsOf(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: bank}}"))
	j.memberRole = "bank"
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := &unjoinOptions{name: "hz-1", patience: time.Second, out: &bytes.Buffer{}, plane: j.plane, member: j.member}
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !exists(t, j.member, clusterRoles, "", "bank") {
		t.Error("it is gone")
	}
}

func TestUnjoinRefusesBeforeItWrites(t *testing.T) {
	tests := map[string]struct {
		onPlane []string
		change  func(*unjoinOptions)
		want    string
	}{
		"while units live on the member": {
			onPlane: []string{"{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: rz00a, namespace: acme-prod}, spec: {cluster: hz-1}}"},
			want:    "unit rz00a in namespace acme-prod",
		},
		"while federated objects have a copy on the member": {
			onPlane: []string{`
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: deployments.apps, namespace: kube-federation-system}
spec: {federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedDeployment, pluralName: federateddeployments}}
`, `
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: web, namespace: acme-prod}
status: {clusters: [{name: hz-1}]}
`},
			want: "FederatedDeployment web in namespace acme-prod",
		},
		"with the kubeconfig of another cluster": {
			change: func(o *unjoinOptions) { o.member, _ = newCluster("uid-sh-1") },
			want:   "is of another cluster than member hz-1",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, j, _ := unjoining(t, objectsOf(t, tt.onPlane...), nil)
			if tt.change != nil {
				tt.change(o)
			}
			err := o.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			if got := append(writes(j.onPlane), writes(j.inMember)...); len(got) > 0 {
				t.Errorf("it wrote %v", got)
			}
		})
	}
}

func TestUnitsOfOtherMembersDoNotHinder(t *testing.T) {
	o, _, _ := unjoining(t, objectsOf(t,
		"{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: rz00a, namespace: acme-prod}, spec: {cluster: sh-1}}"), nil)
	if err := o.run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnjoinGoesOnAfterAnInterruption(t *testing.T) {
	o, j, _ := unjoining(t, nil, nil)
	member := o.member
	o.member = nil
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(writes(j.inMember)) > 0 {
		t.Error("the member was written without being named")
	}
	o.member = member
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(t, member, account.gvr, account.namespace, account.name) {
		t.Error("the account is still there")
	}
	if err := o.run(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no member hz-1") {
		t.Errorf("a third time: got error %v", err)
	}
}

func TestUnjoinLeavesWhatAnotherPlanesJoinMade(t *testing.T) {
	o, j, out := unjoining(t, nil, nil)
	u := read(t, j.member, account.gvr, account.namespace, account.name)
	u.SetLabels(map[string]string{joinedAsLabel: "hz-1", planeLabel: "uid-of-another-plane"})
	if err := j.inMember.Tracker().Update(account.gvr, u, account.namespace); err != nil {
		t.Fatal(err)
	}
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !exists(t, j.member, account.gvr, account.namespace, account.name) {
		t.Errorf("it is gone:\n%s", out)
	}
}

func TestALongRefusalIsCut(t *testing.T) {
	var there []string
	for range maxListed + 3 {
		name := "rz" + string(rune('a'+len(there)))
		there = append(there, "{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: "+name+", namespace: acme-prod}, spec: {cluster: hz-1}}")
	}
	o, _, _ := unjoining(t, objectsOf(t, there...), nil)
	if err := o.run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "and 3 more") {
		t.Errorf("got error %v", err)
	}
}
