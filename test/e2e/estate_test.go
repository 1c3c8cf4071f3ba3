package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/test/harness"
)

const (
	tenantKey    = "tenancy.cellfed.io/tenant"
	workspaceKey = "tenancy.cellfed.io/workspace"
)

var fedConfigMapV1 = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatedconfigmaps"}

// estate is a plane of two tenants. East is acme's, west is rival's, and tower grants some of its namespaces to either.
type estate struct {
	*lonePlane
	// from is how much each member had been asked by anybody before this plane was there.
	from map[string]int
}

const acmes, rivals = tenantKey + ": acme, " + workspaceKey + ": prod", tenantKey + ": rival, " + workspaceKey + ": prod"

func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{lonePlane: &lonePlane{T: t, Plane: harness.RunPlane(t, harness.PlaneOptions{Config: configuration})}, from: map[string]int{}}
	e.connect()
	for member, patch := range map[string]string{
		east:  `{"metadata":{"labels":{"` + tenantKey + `":"acme","` + workspaceKey + `":"prod"}}}`,
		west:  `{"metadata":{"labels":{"` + tenantKey + `":"rival","` + workspaceKey + `":"prod"}}}`,
		tower: grantsOfTower("acme-*"),
	} {
		e.from[member] = len(auditLog(t, member))
		e.must(second(t, member, member).create(t.Context(), e.client))
		e.patchMember(member, patch)
	}
	e.create(typeConfigResource, federation, decode(t, strings.Split(typeConfigs, "---\n")[0]))
	for _, member := range []string{east, west, tower} {
		e.awaitMember(member, "True")
	}
	e.eventually(func() error {
		_, err := e.client.Resource(fedConfigMap).List(e.Context(), metav1.ListOptions{})
		return err
	})
	e.create(namespaces, "", decode(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: estate-acme, labels: {"+acmes+"}}"))
	e.create(namespaces, "", decode(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: estate-rival, labels: {"+rivals+"}}"))
	return e
}

// grantsOfTower grants namespaces of tower to acme, and some to rival.
func grantsOfTower(acme string) string {
	return `{"spec":{"grants":[{"tenant":"acme","workspace":"prod","memberNamespaces":["` + acme + `"]},{"tenant":"rival","memberNamespaces":["rival-*"]}]}}`
}

func (e *estate) patchMember(name, patch string) {
	e.Helper()
	_, err := e.client.Resource(kubeFedClusters).Namespace(federation).Patch(e.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	e.must(err)
}

// asked is what this plane asked a member, but for what it asks of every member that there is: its health, its version, its
// kinds, and who it is.
func (e *estate) asked(member string) (of []string, membership int) {
	e.Helper()
	for _, r := range auditLog(e.T, member)[e.from[member]:] {
		switch {
		case !strings.HasPrefix(r.UserAgent, "cellfed") || strings.HasPrefix(r.UserAgent, "cellfed-playground") ||
			strings.HasPrefix(r.User.Username, "system:serviceaccount:"): // the member itself, or the plane that all tests share
		case r.ObjectRef.Resource == "", r.Verb == "get" && r.ObjectRef.Resource == "namespaces" && r.ObjectRef.Name == "kube-system":
			membership++
		default:
			of = append(of, r.Verb+" "+r.RequestURI+" ("+r.Stage+")")
		}
	}
	return of, membership
}

// untouched holds that a member was asked nothing but for its health and its like.
func (e *estate) untouched(member, when string) {
	e.Helper()
	of, membership := e.asked(member)
	if len(of) > 0 {
		e.Errorf("%s, a foreign member was asked:\n%s", when, strings.Join(of, "\n"))
	}
	if membership == 0 {
		e.Errorf("%s, nothing of member %s was recorded, not even its health: that proves nothing", when, member)
	}
}

// objectOf is a FederatedConfigMap of acme's.
func (e *estate) objectOf(form, name, version, spec string) *unstructured.Unstructured {
	e.Helper()
	return decode(e.T, fmt.Sprintf("apiVersion: types.kubefed.io/%s\nkind: FederatedConfigMap\nmetadata: {namespace: estate-acme, name: %s}\nspec:\n  template: {data: {version: \"%s\"}}\n%s",
		form, name, version, spec))
}

func (e *estate) read(name string) *unstructured.Unstructured {
	e.Helper()
	u, err := e.client.Resource(fedConfigMapV1).Namespace("estate-acme").Get(e.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	e.must(err)
	return u
}

// entryOf is what status says of a unit.
func (e *estate) entryOf(name, unit string) map[string]any {
	e.Helper()
	u := e.read(name)
	if u == nil {
		return nil
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "clusters")
	for _, entry := range list {
		if m := entry.(map[string]any); m["name"] == unit {
			return m
		}
	}
	return nil
}

func (e *estate) awaitEntry(name, unit, code string) {
	e.Helper()
	e.eventually(func() error {
		if entry := e.entryOf(name, unit); entry == nil || entry["status"] != code {
			return fmt.Errorf("status of %s in %s is %v, want %s", name, unit, entry, code)
		}
		return nil
	})
}

// holds waits until a member's namespace has a version of an object; "" = none.
func (e *estate) holds(member, namespace, name, version string) {
	e.Helper()
	e.eventually(func() error {
		got := ""
		u, err := world.inside[member].Resource(configMaps).Namespace(namespace).Get(e.Context(), name, metav1.GetOptions{})
		if err == nil {
			got, _, _ = unstructured.NestedString(u.Object, "data", "version")
		} else if !apierrors.IsNotFound(err) {
			return err
		}
		if got != version {
			return fmt.Errorf("%s in %s of %s is %q, want %q", name, namespace, member, got, version)
		}
		return nil
	})
}

// forge writes into an object's status, as somebody with the right to do so could, that a member may hold a copy; "" takes
// such entries out.
func (e *estate) forge(name, member string) {
	e.Helper()
	objects := e.client.Resource(fedConfigMapV1).Namespace("estate-acme")
	e.eventually(func() error {
		u := e.read(name)
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "clusters")
		var kept []any
		for _, entry := range list {
			if n := entry.(map[string]any)["name"]; n != west && n != tower {
				kept = append(kept, entry)
			}
		}
		if member != "" {
			kept = append(kept, map[string]any{"name": member, "inventory": true, "cluster": member, "memberNamespace": "estate-acme", "revision": "0000", "generation": int64(1)})
		}
		e.must(unstructured.SetNestedSlice(u.Object, kept, "status", "clusters"))
		_, err := objects.UpdateStatus(e.Context(), u, metav1.UpdateOptions{})
		return err
	})
}

func (e *estate) patch(name, patch string) {
	e.Helper()
	_, err := e.client.Resource(fedConfigMapV1).Namespace("estate-acme").Patch(e.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	e.must(err)
}

func (e *estate) crash() {
	e.Helper()
	e.must(e.Kill())
	e.again()
}

func (e *estate) awaitUnit(namespace, name, reason string) {
	e.Helper()
	e.eventually(func() error {
		u, err := e.client.Resource(units).Namespace(namespace).Get(e.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := conditionOf(u, "Ready"); c["reason"] != reason {
			return fmt.Errorf("unit %s is %v, want %s", name, c, reason)
		}
		return nil
	})
}

// labelsStay holds that no way in gives an object another owner's labels, or takes its own away.
func (e *estate) labelsStay(name string) {
	e.Helper()
	for _, sent := range []struct {
		as   types.PatchType
		body string
	}{
		{types.MergePatchType, `{"metadata":{"labels":{"` + tenantKey + `":"rival"}}}`},
		{types.MergePatchType, `{"metadata":{"labels":null}}`},
		{types.JSONPatchType, `[{"op":"replace","path":"/metadata/labels/tenancy.cellfed.io~1tenant","value":"rival"}]`},
		{types.ApplyPatchType, `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedConfigMap","metadata":{"name":"` + name + `","labels":{"` + tenantKey + `":"rival"}}}`},
	} {
		for _, sub := range []string{"", "status"} {
			force := true
			options := metav1.PatchOptions{FieldManager: "forger"}
			if sent.as == types.ApplyPatchType {
				options.Force = &force
			}
			var subresources []string
			if sub != "" {
				subresources = []string{sub}
			}
			_, err := e.client.Resource(fedConfigMapV1).Namespace("estate-acme").Patch(e.Context(), name, sent.as, []byte(sent.body), options, subresources...)
			e.must(err)
			if l := e.read(name).GetLabels(); l[tenantKey] != "acme" || l[workspaceKey] != "prod" {
				e.Errorf("after %s of %q the labels are %v", sent.body, sub, l)
			}
		}
	}
}

// person is somebody who has a tenant's role in a namespace, and nothing else.
func (e *estate) person(namespace string) func(args ...string) (string, error) {
	e.Helper()
	return func(args ...string) (string, error) {
		return kubectlOn(e.Context(), e.Kubeconfig, append([]string{"--as=somebody", "-n", namespace}, args...)...)
	}
}

// kubectlOn runs stock kubectl on a plane of its own.
func kubectlOn(ctx context.Context, kubeconfig string, args ...string) (string, error) {
	return kubectl(ctx, "", append([]string{"--kubeconfig=" + kubeconfig}, args...)...)
}

func kubectlStdin(ctx context.Context, kubeconfig, stdin string, args ...string) (string, error) {
	return kubectl(ctx, stdin, append([]string{"--kubeconfig=" + kubeconfig}, args...)...)
}

// tenantRole is the role of the samples, without the binding for the samples' namespace.
func tenantRole(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../config/samples/50-tenant-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role, _, _ := strings.Cut(string(raw), "\n---\n")
	return role
}
