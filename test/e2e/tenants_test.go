package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

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

// lives are objects of acme's that ask for all members, in both forms, by name and by a selector that all match.
var lives = map[string][2]string{
	"v1-names":    {"v1beta1", "  placement: {clusters: [{name: east}, {name: west}, {name: tower}]}\n  overrides: [{clusterName: west, clusterOverrides: [{path: /data/x, op: add, value: z}]}]\n"},
	"v1-selector": {"v1beta1", "  placement: {clusterSelector: {}}\n"},
	"v2-names":    {"v2beta1", "  topologyType: cluster\n  placement: {topologies: [{name: east}, {name: west}, {name: tower}]}\n"},
	"v2-selector": {"v2beta1", "  topologyType: cluster\n  placement: {topologySelector: {}}\n"},
}

func TestAForeignMemberSeesNoRequestOverTheWholeLifeOfAnObject(t *testing.T) {
	e := newEstate(t)
	each := func(do func(name string)) {
		for name := range lives {
			do(name)
		}
	}
	each(func(name string) {
		u := e.objectOf(lives[name][0], name, "1", lives[name][1])
		// What somebody could bring along: a dump with another tenant's labels, a status and a deletion.
		u.SetLabels(map[string]string{tenantKey: "rival", workspaceKey: "prod"})
		list := map[string]string{"v1beta1": "clusters", "v2beta1": "topologies"}[lives[name][0]]
		u.Object["status"] = map[string]any{list: []any{map[string]any{"name": west, "inventory": true}}}
		e.create(fedConfigMap.GroupResource().WithVersion(lives[name][0]), "estate-acme", u)
		if l := e.read(name).GetLabels(); l[tenantKey] != "acme" || l[workspaceKey] != "prod" {
			t.Errorf("%s was made with the labels %v", name, l)
		}
	})
	each(func(name string) { e.holds(east, "estate-acme", name, "1") })
	e.untouched(west, "after objects were made")
	for _, name := range []string{"v1-names", "v2-names"} {
		e.awaitEntry(name, west, "UnknownUnit")
		if m := fmt.Sprint(e.entryOf(name, west)["message"]); !strings.Contains(m, "there is no west") || strings.Contains(m, "rival") {
			t.Errorf("status tells of a foreign member: %s", m)
		}
	}
	if e.entryOf("v1-selector", west) != nil || e.entryOf("v2-selector", tower) != nil {
		t.Error("a selector selected a foreign member")
	}

	e.patch("v1-names", `{"spec":{"template":{"data":{"version":"2"}},"placementMask":{"clusters":[{"name":"east"},{"name":"west"}]}}}`)
	e.patch("v1-selector", `{"spec":{"template":{"data":{"version":"2"}},"placementMask":{"clusterSelector":{}}}}`)
	e.patch("v2-names", `{"spec":{"template":{"data":{"version":"2"}},"placementMask":{"clusters":[{"name":"west"}]}}}`)
	e.patch("v2-selector", `{"spec":{"template":{"data":{"version":"2"}}}}`)
	for name, version := range map[string]string{"v1-names": "2", "v1-selector": "2", "v2-names": "1", "v2-selector": "2"} {
		e.holds(east, "estate-acme", name, version)
	}
	e.untouched(west, "after releases and masks")

	for _, sent := range []struct {
		as   types.PatchType
		body string
	}{
		{types.MergePatchType, `{"metadata":{"labels":{"` + tenantKey + `":"rival"}}}`},
		{types.MergePatchType, `{"metadata":{"labels":null}}`},
		{types.JSONPatchType, `[{"op":"replace","path":"/metadata/labels/tenancy.cellfed.io~1tenant","value":"rival"}]`},
		{types.ApplyPatchType, `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedConfigMap","metadata":{"name":"v2-selector","labels":{"` + tenantKey + `":"rival"}}}`},
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
			_, err := e.client.Resource(fedConfigMapV1).Namespace("estate-acme").Patch(t.Context(), "v2-selector", sent.as, []byte(sent.body), options, subresources...)
			e.must(err)
			if l := e.read("v2-selector").GetLabels(); l[tenantKey] != "acme" || l[workspaceKey] != "prod" {
				t.Errorf("after %s of %q the labels are %v", sent.body, sub, l)
			}
		}
	}
	e.forge("v1-names", west)
	e.forge("v2-selector", west)
	e.awaitEntry("v1-names", west, "UnknownUnit")
	e.awaitEntry("v2-selector", west, "UnknownUnit")
	e.crash()
	e.awaitMember(west, "True")
	each(func(name string) { // somebody edits, and somebody deletes, the copies
		_, err := world.inside[east].Resource(configMaps).Namespace("estate-acme").Patch(t.Context(), name, types.MergePatchType, []byte(`{"data":{"version":"drift"}}`), metav1.PatchOptions{})
		e.must(err)
	})
	for name, version := range map[string]string{"v1-names": "2", "v1-selector": "2", "v2-names": "1", "v2-selector": "2"} {
		e.holds(east, "estate-acme", name, version)
	}
	e.untouched(west, "after forged records, a crash and drift")

	each(func(name string) {
		e.must(e.client.Resource(fedConfigMap).Namespace("estate-acme").Delete(t.Context(), name, metav1.DeleteOptions{}))
	})
	each(func(name string) { e.holds(east, "estate-acme", name, "") })
	e.crash()
	e.awaitMember(west, "True")
	for _, name := range []string{"v1-names", "v2-selector"} {
		e.awaitEntry(name, west, "UnknownUnit") // held on doubt, and the doubt is the forger's
		e.forge(name, "")
	}
	e.eventually(func() error {
		for name := range lives {
			if u := e.read(name); u != nil {
				return fmt.Errorf("%s is still there: %v", name, u.Object["status"])
			}
		}
		return nil
	})
	e.untouched(west, "after the objects were deleted")
	e.untouched(tower, "after the objects were deleted")
	of, _ := e.asked(east)
	if len(of) < 20 {
		t.Errorf("only %d requests to the tenant's own member were recorded: that proves nothing", len(of))
	}
	_, membership := e.asked(west)
	t.Logf("%d requests for objects reached the tenant's own member; the foreign one was asked %d times for its health and its like, and for nothing else", len(of), membership)
}

func TestAUnitLivesWhereItIsGrantedAndOnlyForAsLong(t *testing.T) {
	e := newEstate(t)
	unit := func(namespace, name, member, memberNamespace string) error {
		_, err := e.client.Resource(units).Namespace(namespace).Create(t.Context(), decode(t, fmt.Sprintf(
			"apiVersion: topology.cellfed.io/v1alpha1\nkind: Unit\nmetadata: {name: %s, namespace: %s}\nspec: {cluster: %s, memberNamespace: %s}", name, namespace, member, memberNamespace)), metav1.CreateOptions{})
		return err
	}
	for what, err := range map[string]error{
		"no KubeFedCluster west in namespace": unit("estate-acme", "stranger", west, "acme-x"),
		"say one of acme-*":                   unit("estate-acme", "stranger", tower, "rival-x"),
		"is a system namespace":               unit("estate-acme", "stranger", east, "kube-system"),
	} {
		if err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "rival-*") {
			t.Errorf("a unit that is not granted: %v, want %q", err, what)
		}
	}
	e.must(unit("estate-acme", "a", tower, "acme-estate"))
	e.must(unit("estate-acme", "b", east, "acme-estate"))
	e.must(unit("estate-rival", "c", tower, "rival-estate"))
	for _, name := range []string{"a", "b"} {
		e.awaitUnit("estate-acme", name, "Ready")
	}
	e.awaitUnit("estate-rival", "c", "Ready")
	alias, err := e.client.Resource(kubeFedClusters).Namespace("cellfed-units").Get(t.Context(), "a.estate-acme.cell", metav1.GetOptions{})
	e.must(err)
	if _, told, _ := unstructured.NestedFieldNoCopy(alias.Object, "spec", "grants"); told || alias.GetLabels()[tenantKey] != "acme" {
		t.Errorf("the unit's KubeFedCluster is %v", alias.Object)
	}
	e.create(fedConfigMap, "estate-acme", e.objectOf("v2beta1", "web", "1", "  topologyType: cell\n  placement: {topologySelector: {}}\n"))
	e.holds(tower, "acme-estate", "web", "1")
	e.holds(east, "acme-estate", "web", "1")

	e.patchMember(tower, grantsOfTower("acme-other-*"))
	e.awaitUnit("estate-acme", "a", "NotGranted")
	e.awaitUnit("estate-rival", "c", "Ready")
	e.awaitEntry("web", "a.estate-acme.cell", "NotYours")
	e.eventually(func() error { // nor does a watch stay open, and ask anew when it breaks
		open := 0
		of, _ := e.asked(tower)
		for _, line := range of {
			switch {
			case strings.HasPrefix(line, "watch ") && strings.HasSuffix(line, "(ResponseStarted)"):
				open++
			case strings.HasPrefix(line, "watch ") && strings.HasSuffix(line, "(ResponseComplete)"):
				open--
			}
		}
		if open > 0 {
			return fmt.Errorf("%d watches are open in a member of which nothing is granted", open)
		}
		return nil
	})
	before, _ := e.asked(tower)
	e.patch("web", `{"spec":{"template":{"data":{"version":"2"}}}}`)
	e.holds(east, "acme-estate", "web", "2")
	_, err = world.inside[tower].Resource(configMaps).Namespace("acme-estate").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"data":{"version":"theirs"}}`), metav1.PatchOptions{})
	e.must(err)
	e.crash()
	e.awaitMember(tower, "True")
	e.must(e.client.Resource(fedConfigMap).Namespace("estate-acme").Delete(t.Context(), "web", metav1.DeleteOptions{}))
	e.holds(east, "acme-estate", "web", "")
	e.awaitEntry("web", "a.estate-acme.cell", "NotYours")
	if after, _ := e.asked(tower); len(after) != len(before) {
		// A watch that ended is told once more when it ends.
		for _, line := range after[len(before):] {
			if !strings.HasPrefix(line, "watch ") || !strings.Contains(line, "ResponseComplete") {
				t.Errorf("after the grant was withdrawn, the member was asked: %s", line)
			}
		}
	}
	e.holds(tower, "acme-estate", "web", "theirs")

	e.patchMember(tower, grantsOfTower("acme-*"))
	e.holds(tower, "acme-estate", "web", "")
	e.eventually(func() error {
		if u := e.read("web"); u != nil {
			return fmt.Errorf("the object is still there: %v", u.Object["status"])
		}
		return nil
	})
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

func TestOwnersDoNotChangeWhileAnythingIsTheirs(t *testing.T) {
	e := newEstate(t)
	namespace := func(patch string, sub ...string) error {
		_, err := e.client.Resource(namespaces).Patch(e.Context(), "estate-acme", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, sub...)
		return err
	}
	// The subresources of a namespace take labels, too: finalize as a whole object only.
	finalize := func(labels map[string]string) error {
		u, err := e.client.Resource(namespaces).Get(e.Context(), "estate-acme", metav1.GetOptions{})
		e.must(err)
		u.SetLabels(labels)
		_, err = e.client.Resource(namespaces).Update(e.Context(), u, metav1.UpdateOptions{}, "finalize")
		return err
	}
	member := func(name, labels string) error {
		_, err := e.client.Resource(kubeFedClusters).Namespace(federation).Patch(e.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":`+labels+`}}`), metav1.PatchOptions{})
		return err
	}
	const toRival, off = `{"metadata":{"labels":{"` + tenantKey + `":"rival"}}}`, `{"metadata":{"labels":{"` + tenantKey + `":null}}}`
	refused := func(what string, err error, why string) {
		t.Helper()
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "metadata.labels") {
			t.Errorf("%s: %v, want it refused because of %q", what, err, why)
		}
	}
	e.must(namespace(off)) // nothing is there yet
	e.must(namespace(`{"metadata":{"labels":{"` + tenantKey + `":"acme"}}}`))

	e.create(fedConfigMapV1, "estate-acme", e.objectOf("v1beta1", "web", "1", "  placement: {clusterSelector: {}}\n"))
	e.holds(east, "estate-acme", "web", "1")
	for what, err := range map[string]error{
		"another tenant": namespace(toRival), "no tenant": namespace(off), "by status": namespace(toRival, "status"),
		"by finalize": finalize(map[string]string{tenantKey: "rival", workspaceKey: "prod"}),
	} {
		refused("the namespace, "+what, err, "web stands in the way")
	}
	e.must(namespace(`{"metadata":{"labels":{"city":"hangzhou"}}}`))
	for what, err := range map[string]error{
		"another tenant": member(east, `{"`+tenantKey+`":"rival"}`), "no labels": member(east, `{"`+tenantKey+`":null,"`+workspaceKey+`":null}`),
	} {
		refused("the member, "+what, err, "FederatedConfigMap estate-acme/web stands in the way")
	}
	e.must(member(east, `{"city":"hangzhou"}`))
	e.must(member(west, `{"`+workspaceKey+`":"test"}`)) // nobody has anything there

	t.Run("also while all of it goes", func(t *testing.T) {
		east := world.members.Named(east)
		east.Stop(t)
		defer func() { e.must(east.Do(context.WithoutCancel(t.Context()), "start")) }()
		e.must(e.client.Resource(namespaces).Delete(t.Context(), "estate-acme", metav1.DeleteOptions{}))
		e.eventually(func() error {
			if u := e.read("web"); u == nil || u.GetDeletionTimestamp() == nil {
				return fmt.Errorf("the object is not being deleted: %v", u)
			}
			return nil
		})
		refused("a namespace that goes", namespace(toRival), "stands in the way")
		refused("a namespace that goes, by finalize", finalize(map[string]string{tenantKey: "rival"}), "stands in the way")
	})
	e.eventually(func() error {
		_, err := e.client.Resource(namespaces).Get(t.Context(), "estate-acme", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the namespace is still there: %w", err)
		}
		return nil
	})
	e.must(member(east, `{"`+tenantKey+`":"rival"}`))
	e.untouched(west, "at the end")
}

// person is somebody who has a tenant's role in a namespace, and nothing else.
func (e *estate) person(namespace string) func(args ...string) (string, error) {
	e.Helper()
	return func(args ...string) (string, error) {
		return kubectlOn(e.Context(), e.Kubeconfig, append([]string{"--as=somebody", "-n", namespace}, args...)...)
	}
}

func TestATenantSeesAndTouchesItsOwnOnly(t *testing.T) {
	e := newEstate(t)
	if out, err := kubectlStdin(t.Context(), e.Kubeconfig, tenantRole(t), "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := kubectlOn(t.Context(), e.Kubeconfig, "create", "rolebinding", "somebody", "-n", "estate-acme", "--clusterrole=cellfed-tenant", "--user=somebody"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	own, other := e.person("estate-acme"), e.person("estate-rival")
	may := func(who func(...string) (string, error), verb, what string) bool {
		resource, sub, _ := strings.Cut(what, "/")
		out, _ := who("auth", "can-i", verb, resource, "--subresource="+sub)
		return strings.Contains(out, "yes")
	}
	for _, c := range []struct {
		verb, what string
		want       bool
	}{
		{"create", "federatedconfigmaps.types.kubefed.io", true}, {"delete", "federatedconfigmaps.types.kubefed.io", true},
		{"update", "federatedconfigmaps.types.kubefed.io/status", false}, {"get", "units.topology.cellfed.io", true},
		{"create", "units.topology.cellfed.io", false}, {"get", "revisions.propagation.cellfed.io", true}, {"delete", "revisions.propagation.cellfed.io", false},
		{"list", "events", true}, {"get", "kubefedclusters.core.kubefed.io", false}, {"create", "abandonments.topology.cellfed.io", false},
		{"list", "membernamespaceclaims.topology.cellfed.io", false}, {"get", "secrets", false}, {"update", "namespaces", false},
	} {
		if got := may(own, c.verb, c.what); got != c.want {
			t.Errorf("may a tenant %s %s in its namespace: %v, want %v", c.verb, c.what, got, c.want)
		}
		for where, who := range map[string]func(...string) (string, error){"another tenant's namespace": other, "cellfed-units": e.person("cellfed-units"), federation: e.person(federation)} {
			if may(who, c.verb, c.what) {
				t.Errorf("a tenant may %s %s in %s", c.verb, c.what, where)
			}
		}
	}
	raw, err := json.Marshal(e.objectOf("v2beta1", "web", "1", "  topologyType: cluster\n  placement: {topologies: [{name: east}, {name: west}]}\n").Object)
	e.must(err)
	out, err := kubectlStdin(t.Context(), e.Kubeconfig, string(raw), "--as=somebody", "apply", "-f", "-")
	if err != nil || !strings.Contains(out, "no such cluster now: west") {
		t.Errorf("%v\n%s", err, out)
	}
	e.holds(east, "estate-acme", "web", "1")
	e.awaitEntry("web", west, "UnknownUnit")
	e.eventually(func() error {
		out, err := own("get", "events", "-o", "jsonpath={.items[*].message}")
		if err != nil || strings.Contains(out, "rival") {
			t.Errorf("%v: %s", err, out)
		}
		if !strings.Contains(out, "west") {
			return fmt.Errorf("events are %q", out)
		}
		return nil
	})
	e.must(e.client.Resource(fedConfigMap).Namespace("estate-acme").Delete(t.Context(), "web", metav1.DeleteOptions{}))
	e.holds(east, "estate-acme", "web", "")
	e.untouched(west, "at the end")
}

// Two ways to one name in a member: a unit's member namespace, and the namespace of the same name by topology cluster.
func TestCopiesOfTwoOwnersNeverOverwriteEachOther(t *testing.T) {
	w := newTenant(t, "two-owners", "a "+tower+" two-owners-shared")
	other := newTenant(t, "two-owners-shared")
	other.at["m"] = [2]string{tower, "two-owners-shared"}
	byCluster := func(version string) string {
		return "apiVersion: types.kubefed.io/v1beta1\nkind: FederatedConfigMap\nmetadata: {namespace: two-owners-shared, name: web, annotations: {cellfed.io/adopt: \"true\"}}\n" +
			"spec: {template: {data: {version: \"" + version + "\"}}, placement: {clusters: [{name: " + tower + "}]}}\n"
	}
	w.apply(w.config("web", "first", placed("a")))
	w.has("web", "a=first")
	other.apply(byCluster("second"))
	other.told("web", "False")
	other.keeps("web", time.Second, "m=first")
	if m := fmt.Sprint(other.entry("web", tower)); !strings.Contains(m, "AlreadyExists") || strings.Contains(m, "a.two-owners.cell") {
		t.Errorf("status is %s, want AlreadyExists without a name", m)
	}
	other.kubectl("delete", "federatedconfigmap/web", "-n", other.ns, "--timeout=20s")
	w.keeps("web", time.Second, "a=first")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	other.apply(byCluster("second"))
	other.has("web", "m=second")
	w.apply(w.config("web", "first", placed("a")))
	w.told("web", "False")
	w.keeps("web", time.Second, "a=second")
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
