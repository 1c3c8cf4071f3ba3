package cli

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

const toldServers = `
apiVersion: v1
kind: ConfigMap
metadata: {name: cellfed-tunnel-servers, namespace: kube-federation-system}
data: {one: "plane-1.example:8132", two: "plane-2.example:8132"}
`

// newTunnelling is a joining through a tunnel, by somebody who cannot reach the member.
func newTunnelling(t *testing.T, onPlane ...runtime.Object) (j *joining, progress *bytes.Buffer) {
	j = newJoining(t, append(objectsOf(t, toldServers), onPlane...), nil)
	progress = &bytes.Buffer{}
	j.memberKubeconfig, j.access, j.member, j.errOut = "", nil, nil, progress
	j.tunnel = tunnelOptions{on: true, tokenTTL: time.Hour, agentImage: "registry.example/cellfed-agent:v1",
		plane: &rest.Config{Host: "https://plane.example:6443", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("ca of the plane")}}}
	return j, progress
}

// manifest reads what join printed.
func manifest(t *testing.T, out string) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, doc := range strings.Split(out, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if u.Object != nil {
			all[u.GetKind()+"/"+u.GetName()] = u
		}
	}
	return all
}

func enrolmentOf(t *testing.T, c *cluster) string {
	t.Helper()
	e, _, _ := unstructured.NestedString(read(t, c, kubeFedClusters, federation, "hz-1").Object, "spec", "tunnel", "enrolment")
	return e
}

// tokensOf are the tokens of a member, by their Secret's name.
func tokensOf(t *testing.T, c *cluster) map[string]map[string]string {
	t.Helper()
	l, err := c.dynamic.Resource(secrets).Namespace("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, u := range l.Items {
		data := map[string]string{}
		encoded, _, _ := unstructured.NestedStringMap(u.Object, "data")
		for k, v := range encoded {
			raw, err := base64.StdEncoding.DecodeString(v)
			if err != nil {
				t.Fatal(err)
			}
			data[k] = string(raw)
		}
		out[u.GetName()] = data
	}
	return out
}

func TestAMemberThatCannotBeReachedGetsAllItNeedsAsYAML(t *testing.T) {
	j, progress := newTunnelling(t)
	if err := j.runTunnel(t.Context()); err != nil {
		t.Fatal(err)
	}
	enrolment := enrolmentOf(t, j.plane)
	if !regexp.MustCompile(`^[a-z0-9]{16}$`).MatchString(enrolment) {
		t.Errorf("the enrolment is %q", enrolment)
	}
	kfc := read(t, j.plane, kubeFedClusters, federation, "hz-1")
	if got, _, _ := unstructured.NestedString(kfc.Object, "spec", "apiEndpoint"); got != "https://kubernetes.default.svc" {
		t.Errorf("the endpoint is %q", got)
	}
	tokens := tokensOf(t, j.plane)
	if len(tokens) != 1 {
		t.Fatalf("%d tokens were made", len(tokens))
	}
	var token string
	for name, data := range tokens {
		token = data["token-id"] + "." + data["token-secret"]
		expires, err := time.Parse(time.RFC3339, data["expiration"])
		if name != "bootstrap-token-"+data["token-id"] || !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(token) ||
			data["cellfed-cluster"] != "hz-1" || data["cellfed-enrolment"] != enrolment || err != nil || time.Until(expires) > time.Hour ||
			data["auth-extra-groups"] != "system:bootstrappers:cellfed:tunnel-agents" || data["usage-bootstrap-authentication"] != "true" || data["usage-bootstrap-signing"] != "" {
			t.Errorf("the token %s is %v", name, data)
		}
	}
	// The agent may hand over this member's credentials, and nothing else.
	role := read(t, j.plane, roles, federation, "hz-1-cellfed-agent")
	binding := read(t, j.plane, roleBindings, federation, "hz-1-cellfed-agent")
	rules, _, _ := unstructured.NestedSlice(role.Object, "rules")
	subjects, _, _ := unstructured.NestedSlice(binding.Object, "subjects")
	if len(rules) != 1 || len(subjects) != 1 || subjects[0].(map[string]any)["name"] != "cellfed:tunnel-agent:hz-1:"+enrolment {
		t.Errorf("rules %v for %v", rules, subjects)
	} else if names := rules[0].(map[string]any)["resourceNames"].([]any); len(names) != 1 || names[0] != "hz-1-cellfed" {
		t.Errorf("the agent may write %v", names)
	}

	made := manifest(t, j.out.String())
	for _, want := range []string{
		"Namespace/kube-federation-system", "ServiceAccount/hz-1-cellfed", "ClusterRole/cellfed-propagation", "ClusterRoleBinding/hz-1-cellfed", "Secret/hz-1-cellfed",
		"Secret/hz-1-cellfed-agent", "Secret/hz-1-cellfed-agent-state", "ServiceAccount/hz-1-cellfed-agent", "Role/hz-1-cellfed-agent", "RoleBinding/hz-1-cellfed-agent",
		"Deployment/hz-1-cellfed-agent",
	} {
		if made[want] == nil {
			t.Errorf("the member does not get %s", want)
		}
	}
	if !strings.Contains(j.out.String(), base64.StdEncoding.EncodeToString([]byte(token))) {
		t.Error("the token is not among it")
	}
	if strings.Contains(progress.String(), token) || !strings.Contains(progress.String(), "plane: kubefedclusters.core.kubefed.io/hz-1 created") {
		t.Errorf("told beside it was %s", progress)
	}
	containers, _, _ := unstructured.NestedSlice(made["Deployment/hz-1-cellfed-agent"].Object, "spec", "template", "spec", "containers")
	container := containers[0].(map[string]any)
	if container["image"] != "registry.example/cellfed-agent:v1" {
		t.Errorf("the image is %v", container["image"])
	}
	for _, want := range []string{
		"--cluster=hz-1", "--enrolment=" + enrolment, "--server=plane-1.example:8132", "--server=plane-2.example:8132", "--plane=https://plane.example:6443",
		"--allow=kubernetes.default.svc:443", "--deliver-secret=kube-federation-system/hz-1-cellfed",
	} {
		if !slices.Contains(container["args"].([]any), any(want)) {
			t.Errorf("the agent is not told %s: %v", want, container["args"])
		}
	}
}

func TestJoiningAgainGivesAnotherTokenToTheSameAgentsUnlessToldOtherwise(t *testing.T) {
	j, _ := newTunnelling(t)
	for range 2 {
		if err := j.runTunnel(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first := enrolmentOf(t, j.plane)
	for _, data := range tokensOf(t, j.plane) {
		if data["cellfed-enrolment"] != first {
			t.Errorf("a token is for %s, and the member admits %s", data["cellfed-enrolment"], first)
		}
	}
	if n := len(tokensOf(t, j.plane)); n != 2 {
		t.Errorf("there are %d tokens", n)
	}
	j.tunnel.newIdentity = true
	if err := j.runTunnel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if enrolmentOf(t, j.plane) == first {
		t.Error("the former agents are still admitted")
	}
}

func TestWhoReachesTheMemberGivesThePlaneTheTokenItself(t *testing.T) {
	j, _ := newTunnelling(t)
	if err := j.runTunnel(t.Context()); err != nil { // by somebody who could not: its agents may write the plane's secret
		t.Fatal(err)
	}
	j.memberKubeconfig = "hz-1.kubeconfig"
	j.access = &memberAccess{config: &rest.Config{Host: "https://10.1.2.3:6443"}}
	j.member, j.inMember = newCluster("uid-hz-1")
	issuesTokens(j.inMember)
	j.endpoint = "https://127.0.0.1:7443"
	if err := j.runTunnel(t.Context()); err != nil {
		t.Fatal(err)
	}
	kfc := read(t, j.plane, kubeFedClusters, federation, "hz-1")
	for path, want := range map[string]string{"spec.apiEndpoint": "https://127.0.0.1:7443", "spec.caBundle": "Y2E="} {
		if got, _, _ := unstructured.NestedString(kfc.Object, strings.Split(path, ".")...); got != want {
			t.Errorf("%s is %q", path, got)
		}
	}
	if got, _, _ := unstructured.NestedString(read(t, j.plane, secrets, federation, "hz-1-cellfed").Object, "data", "token"); got == "" {
		t.Error("the plane has no token")
	}
	if exists(t, j.plane, roles, federation, "hz-1-cellfed-agent") || exists(t, j.plane, roleBindings, federation, "hz-1-cellfed-agent") {
		t.Error("the agent may write credentials that it need not hand over")
	}
	if !exists(t, j.member, deployments, federation, "hz-1-cellfed-agent") {
		t.Error("the member has no agent")
	}
}

func TestAnAgentOutsideOfPodsGetsADirectoryAndItsCommand(t *testing.T) {
	j, _ := newTunnelling(t)
	j.tunnel.agentDir = filepath.Join(t.TempDir(), "agent")
	if err := j.runTunnel(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(j.tunnel.agentDir, "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v, %v", info, err)
	}
	if !strings.Contains(j.out.String(), "cellfed-agent --cluster=hz-1 ") {
		t.Errorf("no command in %s", j.out)
	}
}

func TestAPlaneWithoutTunnelsIsNotJoinedThroughOne(t *testing.T) {
	j, _ := newTunnelling(t)
	j.plane, j.onPlane = newCluster("uid-plane")
	err := j.runTunnel(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--tunnel-port") || len(writes(j.onPlane)) > 0 {
		t.Errorf("%v, and written was %v", err, writes(j.onPlane))
	}
}

func TestAMemberThatIsReachedAgainWithoutATunnelLeavesItsTunnel(t *testing.T) {
	j, _ := newTunnelling(t)
	if err := j.runTunnel(t.Context()); err != nil {
		t.Fatal(err)
	}
	direct := newJoining(t, nil, nil)
	direct.plane, direct.onPlane = j.plane, j.onPlane
	findsMembers(direct.onPlane, "True", "")
	direct.wait = 0
	if err := direct.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	spec, _, _ := unstructured.NestedMap(read(t, j.plane, kubeFedClusters, federation, "hz-1").Object, "spec")
	if exists(t, j.plane, roleBindings, federation, "hz-1-cellfed-agent") {
		t.Error("its former agents may still write the member's credentials")
	}
	if _, there := spec["tunnel"]; there || spec["apiEndpoint"] != "https://hz-1.example:6443" {
		t.Errorf("the spec is %v", spec)
	}
}

func TestRevokeCutsOffAgentsAndTakesTheirTokens(t *testing.T) {
	j, _ := newTunnelling(t)
	if err := j.runTunnel(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := &bytes.Buffer{}
	revoke := &revokeOptions{name: "hz-1", out: out, plane: j.plane}
	for range 2 { // the second time there is nothing left to do, which is no error
		if err := revoke.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if e := enrolmentOf(t, j.plane); e != "" {
		t.Errorf("agents of %q are still admitted", e)
	}
	if left := tokensOf(t, j.plane); len(left) > 0 {
		t.Errorf("left are the tokens %v", left)
	}
	if exists(t, j.plane, roleBindings, federation, "hz-1-cellfed-agent") || exists(t, j.plane, roles, federation, "hz-1-cellfed-agent") {
		t.Error("the agents may still write the member's credentials")
	}
	if !exists(t, j.plane, secrets, federation, "hz-1-cellfed") {
		t.Error("the member's own credentials are gone")
	}
}

func TestRevokeRefusesMembersWithoutAgents(t *testing.T) {
	direct := newJoining(t, nil, nil)
	if err := direct.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	direct.onPlane.ClearActions()
	for name, want := range map[string]string{"hz-1": "not reached through a tunnel", "sz-1": "no member sz-1"} {
		err := (&revokeOptions{name: name, out: &bytes.Buffer{}, plane: direct.plane}).run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w := writes(direct.onPlane); len(w) > 0 {
		t.Errorf("written was %v", w)
	}
}
