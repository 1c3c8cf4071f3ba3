package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// point points a member of a plane that was made by hand to another cluster.
func (p *lonePlane) point(name, at string) {
	p.Helper()
	m := world.members.Named(at)
	kubeconfig, err := os.ReadFile(m.Kubeconfig)
	p.must(err)
	patch := func(v any) []byte {
		raw, err := json.Marshal(v)
		p.must(err)
		return raw
	}
	_, err = p.client.Resource(secrets).Namespace(federation).Patch(p.Context(), "raw-"+name, types.MergePatchType,
		patch(map[string]any{"data": map[string]any{"kubeconfig": base64.StdEncoding.EncodeToString(kubeconfig)}}), metav1.PatchOptions{})
	p.must(err)
	_, err = p.client.Resource(kubeFedClusters).Namespace(federation).Patch(p.Context(), name, types.MergePatchType,
		patch(map[string]any{"spec": map[string]any{"apiEndpoint": m.Config.Host, "caBundle": base64.StdEncoding.EncodeToString(m.Config.CAData)}}), metav1.PatchOptions{})
	p.must(err)
}

// pinned is who a member is recorded to be.
func (p *lonePlane) pinned(name string) string {
	p.Helper()
	u, err := p.client.Resource(kubeFedClusters).Namespace(federation).Get(p.Context(), name, metav1.GetOptions{})
	p.must(err)
	return u.GetAnnotations()["cellfed.io/member-uid"]
}

// clusterOf is who a real member is.
func clusterOf(t *testing.T, member string) string {
	t.Helper()
	ns, err := world.inside[member].Resource(namespaces).Get(t.Context(), "kube-system", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(ns.GetUID())
}

// businessOf is what planes that use a member's administrator asked it, health and identity aside.
func businessOf(t *testing.T, member string) []string {
	t.Helper()
	var out []string
	for _, r := range auditLog(t, member) {
		if !strings.HasPrefix(r.UserAgent, "cellfed") || strings.HasPrefix(r.User.Username, "system:") && r.User.Username != "system:admin" {
			continue
		}
		if r.ObjectRef.Resource == "namespaces" && r.ObjectRef.Name == "kube-system" || r.ObjectRef.Resource == "" {
			continue
		}
		out = append(out, r.Verb+" "+r.RequestURI)
	}
	return out
}

func (h *herd) says(name, unit, code string) {
	h.Helper()
	h.eventually(func() error {
		u := h.stored()[name]
		if u == nil {
			return errors.New("the object is gone")
		}
		if e := entryOf(u, unit); e["status"] != code {
			return fmt.Errorf("%s is told %v, want %s", unit, e, code)
		}
		return nil
	})
}

func TestAMemberThatIsPointedToAnotherClusterIsHeldUntilSomebodyDecides(t *testing.T) {
	before := len(businessOf(t, west))
	p := newOwnPlane(t)
	p.must(second(t, "mover", east).create(t.Context(), p.client))
	p.awaitMember("mover", "True")
	if got := p.pinned("mover"); got != clusterOf(t, east) {
		t.Fatalf("the member is recorded to be %s, want %s", got, clusterOf(t, east))
	}
	world.inside["mover"] = world.inside[east]
	defer delete(world.inside, "mover")
	h := p.newHerd(t, "identity-herd", "a mover")
	for _, name := range []string{"web", "doomed"} {
		h.must(h.make(h.Context(), name, wish{1, "*", "a"}))
	}
	h.settled()

	p.point("mover", west)
	p.eventually(func() error {
		if c := p.memberReady("mover"); c["reason"] != "ClusterChanged" {
			return fmt.Errorf("the member is %v, want ClusterChanged", c)
		}
		return nil
	})
	if m := fmt.Sprint(p.memberReady("mover")["message"]); !strings.Contains(m, clusterOf(t, east)) || !strings.Contains(m, clusterOf(t, west)) {
		t.Errorf("the message does not name both clusters: %s", m)
	}
	h.says("web", "a", "ClusterNotReady")
	h.must(h.change(h.Context(), "web", wish{2, "*", "a"}))
	h.must(h.delete("doomed"))
	h.says("doomed", "a", "ClusterNotReady")
	h.must(h.Kill()) // a plane that starts anew knows no better
	h.again()
	p.client = h.client
	h.says("web", "a", "ClusterNotReady")
	time.Sleep(3 * time.Second)
	if asked := businessOf(t, west)[before:]; len(asked) > 0 {
		t.Errorf("the other cluster was asked %v", asked)
	}
	if got := h.copies("a"); got["web"] != "1@*@a" || got["doomed"] != "1@*@a" {
		t.Errorf("the copies in the former cluster are %v", got)
	}

	// Somebody says that the new cluster shall be the member.
	_, err := p.client.Resource(kubeFedClusters).Namespace(federation).Patch(t.Context(), "mover", types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"cellfed.io/member-uid":null}}}`), metav1.PatchOptions{})
	p.must(err)
	p.awaitMember("mover", "True")
	if got := p.pinned("mover"); got != clusterOf(t, west) {
		t.Errorf("the member is recorded to be %s, want %s", got, clusterOf(t, west))
	}
	h.says("web", "a", "MemberChanged")
	h.says("doomed", "a", "MemberChanged")
	time.Sleep(2 * time.Second)
	for _, asked := range businessOf(t, west)[before:] {
		if !strings.HasPrefix(asked, "list ") && !strings.HasPrefix(asked, "watch ") && !strings.HasPrefix(asked, "get ") {
			t.Errorf("the new cluster was written before anybody decided about the copies: %s", asked)
		}
	}
	out, err := p.kubectl("cellfed", "abandon", "mover", "--yes")
	if err == nil || !strings.Contains(out, "--cluster-id="+clusterOf(t, east)) {
		t.Errorf("giving up a member that is ready should be refused, and name the former cluster: %v\n%s", err, out)
	}
	p.mustKubectl("cellfed", "abandon", "mover", "--cluster-id", clusterOf(t, east), "--yes")
	world.inside["mover"] = world.inside[west]
	h.eventually(func() error {
		if got := h.copies("a"); h.stored()["doomed"] != nil || got["web"] != "2@*@a" || len(got) != 1 {
			return fmt.Errorf("the new cluster has %v, want web only", got)
		}
		return nil
	})
	h.settled()

	// The name is given to another cluster: unjoined by force and joined again.
	p.point("mover", east)
	h.says("web", "a", "ClusterNotReady")
	p.mustKubectl("cellfed", "unjoin", "mover", "--force", "--yes", "--reason", "sold")
	h.says("web", "a", "Abandoned")
	p.must(p.client.Resource(secrets).Namespace(federation).Delete(t.Context(), "raw-mover", metav1.DeleteOptions{}))
	p.must(second(t, "mover", east).create(t.Context(), p.client))
	p.awaitMember("mover", "True")
	// The former life's cluster west and, before, east were given up; the copy that is left in east is nobody's.
	time.Sleep(2 * time.Second)
	left, err := world.inside[east].Resource(configMaps).Namespace(h.ns).Get(t.Context(), "web", metav1.GetOptions{})
	if v, _, _ := unstructured.NestedString(left.Object, "data", "version"); err != nil || v != "1@*@a" {
		t.Errorf("what was given up in east has version %q: %v", v, err)
	}
}

func TestAMemberThatIsOneClusterTwiceIsTold(t *testing.T) {
	twin := second(t, "identity-twin", east)
	twin.federate(t)
	w := newTenant(t, "identity-twin")
	w.awaitReady("identity-twin", "True")
	for name, other := range map[string]string{"identity-twin": east, east: "identity-twin"} {
		w.eventually(func() error {
			u, err := world.client.Resource(kubeFedClusters).Namespace(federation).Get(t.Context(), name, metav1.GetOptions{})
			if c := conditionOf(u, "Identified"); err != nil || c["reason"] != "JoinedTwice" || !strings.Contains(fmt.Sprint(c["message"]), other) {
				return fmt.Errorf("%s is told %v: %w", name, c, err)
			}
			return nil
		})
	}
}
