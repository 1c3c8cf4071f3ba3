package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

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

	e.labelsStay("v2-selector")
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
