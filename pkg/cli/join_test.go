package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

func TestJoinMakesTheMemberReachable(t *testing.T) {
	j := newJoining(t, nil, nil)
	j.labels = map[string]string{"city": "hangzhou"}
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	kfc := read(t, j.plane, kubeFedClusters, federation, "hz-1")
	for path, want := range map[string]string{
		"spec.apiEndpoint":     "https://hz-1.example:6443",
		"spec.caBundle":        "Y2Egb2YgaHotMQ==",
		"spec.secretRef.name":  "hz-1-cellfed",
		"spec.proxyURL":        "http://proxy.example:3128",
		"metadata.labels.city": "hangzhou",
	} {
		if got, _, _ := unstructured.NestedString(kfc.Object, strings.Split(path, ".")...); got != want {
			t.Errorf("KubeFedCluster %s is %q, want %q", path, got, want)
		}
	}
	secret := read(t, j.plane, secrets, federation, "hz-1-cellfed")
	if got, _, _ := unstructured.NestedString(secret.Object, "data", "token"); got != "dG9rZW4=" {
		t.Errorf("the plane's secret holds the token %q", got)
	}
	binding := read(t, j.member, clusterRoleBindings, "", "hz-1-cellfed")
	if got, _, _ := unstructured.NestedString(binding.Object, "roleRef", "name"); got != defaultRole {
		t.Errorf("the account is bound to %q", got)
	}
	for _, line := range []string{"member: serviceaccounts/hz-1-cellfed created", "plane: member hz-1 is ready"} {
		if !strings.Contains(j.out.String(), line) {
			t.Errorf("%q is not told:\n%s", line, j.out)
		}
	}
}

func TestTheRoleGivesNothingThatGivesMore(t *testing.T) {
	for _, rule := range roleRules() {
		for _, verb := range []string{"*", "escalate", "bind", "impersonate", "deletecollection"} {
			if slices.Contains(rule.Verbs, verb) {
				t.Errorf("%s is allowed on %v", verb, rule)
			}
		}
	}
}

func TestJoiningAgainChangesNothing(t *testing.T) {
	j := newJoining(t, nil, nil)
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	j.onPlane.ClearActions()
	j.inMember.ClearActions()
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := append(writes(j.onPlane), writes(j.inMember)...); len(got) > 0 {
		t.Errorf("joining again wrote %v", got)
	}
}

func TestJoiningAgainKeepsWhatOthersWroteAndRepairsTheRest(t *testing.T) {
	j := newJoining(t, objectsOf(t, `
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {name: hz-1, namespace: kube-federation-system, labels: {tier: gold}}
spec: {apiEndpoint: "https://old.example:6443", disabledTLSValidations: [SubjectName], secretRef: {name: old}}
status: {conditions: [{type: Ready, status: "True", lastProbeTime: "2026-11-21T10:00:00Z"}]}
`), nil)
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	kfc := read(t, j.plane, kubeFedClusters, federation, "hz-1")
	if kfc.GetLabels()["tier"] != "gold" {
		t.Error("the user's label is gone")
	}
	if kept, _, _ := unstructured.NestedStringSlice(kfc.Object, "spec", "disabledTLSValidations"); len(kept) != 1 {
		t.Error("the user's disabledTLSValidations are gone")
	}
	if got, _, _ := unstructured.NestedString(kfc.Object, "spec", "apiEndpoint"); got != "https://hz-1.example:6443" {
		t.Errorf("the endpoint is still %s", got)
	}
}

func TestAnotherRoleReplacesTheBinding(t *testing.T) {
	role := `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: bank-propagation}
`
	j := newJoining(t, nil, objectsOf(t, role))
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	j.memberRole = "bank-propagation"
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	binding := read(t, j.member, clusterRoleBindings, "", "hz-1-cellfed")
	if got, _, _ := unstructured.NestedString(binding.Object, "roleRef", "name"); got != "bank-propagation" {
		t.Errorf("the account is bound to %q", got)
	}
	if u := read(t, j.member, clusterRoles, "", "bank-propagation"); len(u.GetLabels()) > 0 {
		t.Error("the user's own role was marked as join's")
	}
}

func TestJoinRefusesBeforeItWrites(t *testing.T) {
	tests := map[string]struct {
		onPlane, inMember []string
		change            func(*joining)
		want              string
	}{
		"the plane as its own member": {
			change: func(j *joining) { j.member, j.inMember = newCluster("uid-plane") },
			want:   "is the plane itself",
		},
		"a member that is joined under another name": {
			onPlane: []string{`
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {name: east, namespace: kube-federation-system, annotations: {cellfed.io/member-uid: uid-hz-1}}
spec: {apiEndpoint: "https://elsewhere.example:6443"}
`},
			want: "is a member already, as east",
		},
		"a member that KubeFed's join registered under another name": {
			onPlane: []string{`
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {name: east, namespace: kube-federation-system}
spec: {apiEndpoint: "https://hz-1.example:6443"}
`},
			want: "is a member already, as east",
		},
		"another cluster under a name that is taken": {
			onPlane: []string{`
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {name: hz-1, namespace: kube-federation-system, annotations: {cellfed.io/member-uid: uid-other}}
spec: {apiEndpoint: "https://other.example:6443"}
`},
			want: "the name hz-1 is taken by another cluster (https://other.example:6443)",
		},
		"an endpoint in the clear": {
			change: func(j *joining) { j.access.config.Host = "http://hz-1.example:8080" },
			want:   "is not https",
		},
		"a kubeconfig that says what a KubeFedCluster cannot": {
			change: func(j *joining) { j.access.config.ServerName = "hz-1" },
			want:   "tls-server-name",
		},
		"a role that is not there": {
			change: func(j *joining) { j.memberRole = "absent" },
			want:   "looking for the role that --member-role names",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			j := newJoining(t, objectsOf(t, tt.onPlane...), objectsOf(t, tt.inMember...))
			if tt.change != nil {
				tt.change(j)
			}
			err := j.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			if got := append(writes(j.onPlane), writes(j.inMember)...); len(got) > 0 {
				t.Errorf("it wrote %v", got)
			}
		})
	}
}

func TestJoinTakesNothingOver(t *testing.T) {
	tests := map[string]struct{ there, want string }{
		"a service account of somebody else": {`
apiVersion: v1
kind: ServiceAccount
metadata: {name: hz-1-cellfed, namespace: kube-federation-system}
`, "was not made by joining"},
		"what another plane's join made": {`
apiVersion: v1
kind: ServiceAccount
metadata:
  name: hz-1-cellfed
  namespace: kube-federation-system
  labels: {cellfed.io/joined-as: hz-1, cellfed.io/plane: uid-of-another-plane}
`, "another plane (uid-of-another-plane)"},
		"a role of somebody else": {`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: cellfed-propagation}
`, "--member-role=cellfed-propagation"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			j := newJoining(t, nil, objectsOf(t, tt.there))
			err := j.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			if got := writes(j.onPlane); len(got) > 0 {
				t.Errorf("the plane was written: %v", got)
			}
		})
	}
}

func TestJoinSaysWhatItWaitedForInVain(t *testing.T) {
	t.Run("a token that the member never issues", func(t *testing.T) {
		j := newJoining(t, nil, nil)
		j.wait = 300 * 1000 * 1000
		j.inMember.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
			u := a.(clienttesting.CreateAction).GetObject()
			return true, u, j.inMember.Tracker().Create(secrets, u, federation)
		})
		err := j.run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "issued no token within 300ms") {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("a member that does not become ready", func(t *testing.T) {
		j := newJoining(t, nil, nil)
		findsMembers(j.onPlane, "False", "certificate signed by unknown authority")
		j.wait = 300 * 1000 * 1000
		err := j.run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "was not ready within 300ms: Ready=False Checked: certificate signed by unknown authority") {
			t.Errorf("got error %v", err)
		}
	})
}

func TestJoinWithoutVerificationUsesTheTokensAuthority(t *testing.T) {
	j := newJoining(t, nil, nil)
	j.access.config.TLSClientConfig.CAData, j.access.config.Insecure = nil, true
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	kfc := read(t, j.plane, kubeFedClusters, federation, "hz-1")
	if got, _, _ := unstructured.NestedString(kfc.Object, "spec", "caBundle"); got != "Y2E=" {
		t.Errorf("caBundle is %q", got)
	}
}

func TestADryRunShowsEverythingAndAsksNobody(t *testing.T) {
	for _, format := range []string{"", outputJSON, outputYAML} {
		t.Run("format "+format, func(t *testing.T) {
			j := newJoining(t, nil, nil)
			j.plane, j.member, j.output = nil, nil, format
			if err := j.show(); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"kube-federation-system", "hz-1-cellfed", "cellfed-propagation", "hz-1"} {
				if !strings.Contains(j.out.String(), want) {
					t.Errorf("%s is not shown:\n%s", want, j.out)
				}
			}
		})
	}
}

func TestJoinRefusesWrongUsage(t *testing.T) {
	tests := map[string]func(*joinOptions){
		"a name that is no DNS label":            func(o *joinOptions) { o.name = "hz.1" },
		"a name that is too long for a label":    func(o *joinOptions) { o.name = strings.Repeat("a", 64) },
		"no member":                              func(o *joinOptions) { o.memberKubeconfig, o.memberContext = "", "" },
		"a dry run of an unknown kind":           func(o *joinOptions) { o.dryRun = "server" },
		"a label that is none":                   func(o *joinOptions) { o.labels = map[string]string{"a b": "c"} },
		"a label that the plane keeps for units": func(o *joinOptions) { o.labels = map[string]string{"topology.cellfed.io/type": "cell"} },
		"a negative patience":                    func(o *joinOptions) { o.wait = -1 },
		"a proxy server without a tunnel":        func(o *joinOptions) { o.tunnel.servers = []string{"p:1"} },
		"a proxy server without a port":          tunnelled(func(o *joinOptions) { o.tunnel.servers = []string{"plane"} }),
		"a token that is good for ever":          tunnelled(func(o *joinOptions) { o.tunnel.tokenTTL = 1000 * time.Hour }),
		"a member in the clear":                  tunnelled(func(o *joinOptions) { o.endpoint = "http://member" }),
		"a dry run of a tunnel":                  tunnelled(func(o *joinOptions) { o.dryRun = "client" }),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			o := &joinOptions{name: "hz-1", memberKubeconfig: "f", dryRun: "none"}
			if err := o.validate(); err != nil {
				t.Fatalf("without the fault: %v", err)
			}
			change(o)
			if _, ok := o.validate().(usageError); !ok {
				t.Error("it was accepted")
			}
		})
	}
}

func tunnelled(change func(*joinOptions)) func(*joinOptions) {
	return func(o *joinOptions) {
		o.tunnel.on, o.tunnel.tokenTTL = true, time.Hour
		change(o)
	}
}

func TestAnIdentityIsNotGuessed(t *testing.T) {
	c, fake := newCluster("")
	if uid, err := identity(t.Context(), c); err == nil {
		t.Errorf("got %q of a namespace without UID", uid)
	}
	if err := fake.Tracker().Delete(namespaces, "", metav1.NamespaceSystem); err != nil {
		t.Fatal(err)
	}
	if uid, err := identity(t.Context(), c); err == nil {
		t.Errorf("got %q of a cluster without namespaces", uid)
	}
}

func TestTheKubeFedClusterIsPrintedWithoutTheToken(t *testing.T) {
	j := newJoining(t, nil, nil)
	progress := &bytes.Buffer{}
	j.output, j.progress = outputYAML, progress
	if err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(j.out.String(), "kind: KubeFedCluster") || !strings.Contains(progress.String(), "created") {
		t.Errorf("printed:\n%s\nprogress:\n%s", j.out, progress)
	}
	if strings.Contains(j.out.String()+progress.String(), "dG9rZW4=") {
		t.Error("the token is printed")
	}
}

func TestJoinWaitsForWhatIsOnItsWayOut(t *testing.T) {
	const going = "{apiVersion: v1, kind: Namespace, metadata: {name: kube-federation-system, deletionTimestamp: \"2026-11-21T10:00:00Z\", finalizers: [x]}}"
	t.Run("it joins when that is gone", func(t *testing.T) {
		j := newJoining(t, nil, objectsOf(t, going))
		gone := time.AfterFunc(300*time.Millisecond, func() {
			_ = j.inMember.Tracker().Delete(namespaces, "", federation)
		})
		defer gone.Stop()
		if err := j.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if u := read(t, j.member, namespaces, "", federation); u.GetDeletionTimestamp() != nil {
			t.Error("the namespace is the one that is being deleted")
		}
		if !strings.Contains(j.out.String(), "waiting for namespaces/kube-federation-system to be gone") {
			t.Errorf("it does not say what it waits for:\n%s", j.out)
		}
	})
	t.Run("it says so when that does not go, and has written nothing", func(t *testing.T) {
		j := newJoining(t, nil, objectsOf(t, going))
		j.wait = 300 * time.Millisecond
		if err := j.run(t.Context()); err == nil || !strings.Contains(err.Error(), "join again when it is gone") {
			t.Errorf("error %v", err)
		}
		if w := writes(j.inMember); len(w) != 0 {
			t.Errorf("it wrote %v", w)
		}
	})
}
