package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// soon is how long a healthy unit may wait for what concerns it, whatever else is wrong: on a quiet machine it takes
// some tens of milliseconds.
const soon = 3 * time.Second

// within has what should happen happen soon, not only in the end.
func (w *tenant) within(limit time.Duration, what string, act func()) {
	w.Helper()
	began := time.Now()
	act()
	if took := time.Since(began); took > limit {
		w.Errorf("%s took %s, want no more than %s", what, took.Round(time.Millisecond), limit)
	}
}

func TestWhatIsWrongIsSaidAtTheDoor(t *testing.T) {
	other := newTenant(t, "door-other", "theirs "+east+" door-other")
	w := newTenant(t, "door", "a "+east+" door-a", "b "+west+" door-b")
	w.apply(w.config("web", "1", placed("a")))
	full := func(name string) string {
		return fmt.Sprintf("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedConfigMap\nmetadata: {namespace: door, name: web}\n"+
			"spec:\n  topologyType: cell\n  template: {data: {version: \"2\"}}\n  placement: {clusters: [{name: %s}]}\n", name)
	}
	overrides := func(list string) string {
		return w.config("web", "2", placed("a")+"  overrides: "+list+"\n")
	}
	long := strings.Repeat("x", 64)
	for name, test := range map[string]struct {
		manifest string
		says     []string
	}{
		"an unknown unit": {w.config("web", "2", placed("a", "nowhere")),
			[]string{"spec.placement.topologies[1].name", "no unit nowhere of type cell in namespace door"}},
		"another namespace's unit by its short name": {w.config("web", "2", placed("theirs")),
			[]string{"spec.placement.topologies[0].name", "no unit theirs of type cell in namespace door"}},
		"another namespace's unit by its full name in topology form": {w.config("web", "2", placed("theirs.door-other.cell")),
			[]string{"spec.placement.topologies[0].name", "only units of its own namespace"}},
		"another namespace's unit by its full name in cluster form": {full("theirs.door-other.cell"),
			[]string{"spec.placement.clusters[0].name", "only units of its own namespace"}},
		"a member's own name under a unit's topology type": {full(east),
			[]string{"spec.placement.clusters[0].name", "<unit>.door.cell"}},
		"another namespace's unit in the mask": {w.config("web", "2", placed("a")+masked("theirs.door-other.cell")),
			[]string{"spec.placementMask.topologies[0].name", "only units of its own namespace"}},
		"another namespace's unit in an override": {
			overrides(`[{topologyName: theirs.door-other.cell, topologyOverrides: [{path: /data/version, value: "3"}]}]`),
			[]string{"spec.overrides[0].topologyName", "only units of its own namespace"}},
		"an unknown topology type": {strings.Replace(w.config("other", "1", placed("a")), "topologyType: cell", "topologyType: galaxy", 1),
			[]string{"spec.topologyType", "galaxy"}},
		"a change of topology type": {strings.Replace(w.config("web", "1", placed("a")), "topologyType: cell", "topologyType: zone", 1),
			[]string{"spec.topologyType", "immutable"}},
		"an override's path that is no pointer": {overrides(`[{topologyName: a, topologyOverrides: [{path: data.version, value: "3"}]}]`),
			[]string{"spec.overrides[0].topologyOverrides[0].path"}},
		"an override that applies nowhere": {overrides(`[{topologyName: a, topologyOverrides: [{op: remove, path: /data/nothing}]}]`),
			[]string{"spec.overrides[0].topologyOverrides[0].path", "does not apply to the template"}},
		"an override with an operation that there is not": {overrides(`[{topologyName: a, topologyOverrides: [{op: move, path: /data/version}]}]`),
			[]string{"spec.overrides[0].topologyOverrides[0].op", "move"}},
		"an override of the object's identity": {overrides(`[{topologyName: a, topologyOverrides: [{path: /metadata/name, value: x}]}]`),
			[]string{"spec.overrides[0].topologyOverrides[0].path", "may not change /metadata/name"}},
		"an override of the plane's own marks": {overrides(`[{topologyName: a, topologyOverrides: [{op: add, path: /metadata/labels, value: {kubefed.io/managed: "false"}}]}]`),
			[]string{"spec.overrides[0].topologyOverrides", "kubefed.io~1managed"}},
		"two override entries for one unit": {overrides(`[{topologyName: a, topologyOverrides: []}, {topologyName: a, topologyOverrides: []}]`),
			[]string{"spec.overrides[1].topologyName", "Duplicate"}},
		"a template of another kind": {strings.Replace(w.config("web", "2", placed("a")), "{data:", "{apiVersion: v1, kind: Secret, data:", 1),
			[]string{"spec.template.kind", "a FederatedConfigMap holds a ConfigMap"}},
		"a template of another group": {strings.Replace(w.config("web", "2", placed("a")), "{data:", "{apiVersion: apps/v1, kind: ConfigMap, data:", 1),
			[]string{"spec.template.apiVersion", "apps/v1"}},
		"a placement name too long for a label": {w.config("web", "2", placed(long)), []string{"spec.placement.topologies[0].name", "63"}},
		"a unit's name too long for a label":    {w.unit(long + " " + east + " door-long"), []string{"metadata.name", "63"}},
		"a unit's name with a dot":              {w.unit("a.b " + east + " door-dot"), []string{"metadata.name"}},
		"a unit of a member that there is not":  {w.unit("lost atlantis"), []string{"spec.cluster", "no KubeFedCluster atlantis"}},
		"a unit in a system namespace":          {w.unit("sys " + east + " kube-system"), []string{"spec.memberNamespace", "kube-system"}},
		"a unit in another unit's namespace":    {w.unit("thief " + east + " door-a"), []string{"spec.memberNamespace", "belongs to another unit"}},
		"a unit that moves":                     {strings.Replace(w.unit("a "+east+" door-a"), "cluster: "+east, "cluster: "+west, 1), []string{"immutable"}},
		"a member without an address": {"apiVersion: core.kubefed.io/v1beta1\nkind: KubeFedCluster\nmetadata: {namespace: kube-federation-system, name: homeless}\nspec: {apiEndpoint: \"\", secretRef: {name: x}}\n",
			[]string{"spec.apiEndpoint"}},
		"a member whose address is none": {"apiVersion: core.kubefed.io/v1beta1\nkind: KubeFedCluster\nmetadata: {namespace: kube-federation-system, name: homeless}\nspec: {apiEndpoint: \"ftp://x\", secretRef: {name: x}}\n",
			[]string{"spec.apiEndpoint", "https://"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := (&tenant{T: t, ns: w.ns}).refused(test.manifest)
			for _, word := range test.says {
				if !strings.Contains(out, word) {
					t.Errorf("the refusal does not say %q:\n%s", word, out)
				}
			}
		})
	}
	w.at["a"] = [2]string{east, "door-a"} // as it is; the table named it elsewhere
	w.has("web", "a=1")
	if g := w.get("web").GetGeneration(); g != 1 {
		t.Errorf("what was refused changed the object: it is at generation %d", g)
	}
	out := w.apply(w.config("web", "2", placed("a")+masked("a", "b")))
	if !strings.Contains(out, "Warning") || !strings.Contains(out, "spec.placementMask.topologies") || !strings.Contains(out, ": b") {
		t.Errorf("a mask entry outside the placement should be a warning that names it, got:\n%s", out)
	}
	w.within(soon, "a release after all that", func() { w.has("web", "a=2", "b=") })
	other.apply(other.config("web", "1", placed("theirs")))
	other.has("web", "theirs=1")
}

const priorityClasses = `apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: priorityclasses.scheduling.k8s.io, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {group: scheduling.k8s.io, version: v1, kind: PriorityClass, pluralName: priorityclasses, scope: Cluster}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedPriorityClass, pluralName: federatedpriorityclasses, scope: Cluster}
`

func TestUnitsInAClusterScopedObjectAreRefused(t *testing.T) {
	w := newTenant(t, "door-scope", "a "+east)
	w.apply(priorityClasses)
	defer w.kubectl("delete", "ftc/priorityclasses.scheduling.k8s.io", "-n", federation, "--wait=false")
	w.kubectl("wait", "--for=condition=Served", "ftc/priorityclasses.scheduling.k8s.io", "-n", federation, "--timeout=30s")
	manifest := "apiVersion: types.kubefed.io/v2beta1\nkind: FederatedPriorityClass\nmetadata: {name: bad}\n" +
		"spec:\n  topologyType: cell\n  template: {value: 7}\n  placement: {topologies: [{name: a}]}\n"
	var out string
	w.eventually(func() error { // the type is served a moment before it is judged
		if out = w.refused(manifest); !strings.Contains(out, "spec.topologyType") {
			return fmt.Errorf("the refusal says:\n%s", out)
		}
		return nil
	})
	if !strings.Contains(out, "cluster-scoped") {
		t.Errorf("the refusal does not tell why:\n%s", out)
	}
}

// badMembers are all that can be wrong with a member and still be a member: what its unit's status must tell.
func badMembers(t *testing.T) map[string]struct {
	rawMember
	code, says string
} {
	real := world.members.Named(east)
	at := func(name, endpoint string, ca []byte, token string) rawMember {
		return rawMember{name: name, endpoint: endpoint, ca: ca, secret: map[string]string{"token": token}}
	}
	good := memberToken(t, east)
	type bad = struct {
		rawMember
		code, says string
	}
	return map[string]bad{
		"a wrong CA":                   {at("bad-ca", real.Config.Host, otherAuthority(t), good), "ClusterNotReady", "not trusted"},
		"a token that is none":         {at("bad-token", real.Config.Host, real.Config.CAData, "garbage"), "ClusterNotReady", "does not accept the plane's credentials"},
		"a token of somebody else":     {at("bad-signature", real.Config.Host, real.Config.CAData, good[:len(good)-8]+"AAAAAAAA"), "ClusterNotReady", "does not accept the plane's credentials"},
		"no secret":                    {rawMember{name: "bad-secretless", endpoint: real.Config.Host, ca: real.Config.CAData}, "ClusterNotReady", "secret"},
		"nobody at the address":        {at("bad-deaf", deaf(t), nil, "any"), "ClusterNotReady", "connection refused"},
		"a name that is not known":     {at("bad-name", "https://nowhere.invalid", nil, "any"), "ClusterNotReady", "nowhere.invalid"},
		"no answer, not even in TLS":   {at("bad-silent", silent(t), nil, "any"), "ClusterNotReady", "not reachable"},
		"no answer to a request":       {fakeMember(t, "bad-mute", never), "ClusterNotReady", "not reachable"},
		"500 to everything":            {fakeMember(t, "bad-500", always(http.StatusInternalServerError, "{}")), "ClusterNotReady", "without ok"},
		"429 to everything":            {fakeMember(t, "bad-429", always(http.StatusTooManyRequests, "{}")), "ClusterNotReady", "without ok"},
		"health, and 500 otherwise":    {fakeMember(t, "bad-half-500", healthyBut(always(http.StatusInternalServerError, "{}"))), "CachedRetrievalFailed", "configmaps"},
		"health, and 403 otherwise":    {fakeMember(t, "bad-half-403", healthyBut(always(http.StatusForbidden, "{}"))), "CachedRetrievalFailed", "does not let the plane read configmaps/v1"},
		"health, and 404 otherwise":    {fakeMember(t, "bad-half-404", healthyBut(always(http.StatusNotFound, "{}"))), "KindNotInMember", "does not serve configmaps/v1"},
		"health, and 429 otherwise":    {fakeMember(t, "bad-half-429", healthyBut(always(http.StatusTooManyRequests, "{}"))), "", ""},
		"health, and nothing further":  {fakeMember(t, "bad-half-mute", healthyBut(never)), "Pending", "reading what is in member"},
		"health, and words of no list": {fakeMember(t, "bad-half-words", healthyBut(always(http.StatusOK, "welcome"))), "CachedRetrievalFailed", "configmaps"},
	}
}

func TestABadMemberIsToldOfItsUnitAloneAndDelaysNobody(t *testing.T) {
	w := newTenant(t, "bad-members", "good "+west)
	manifest := ""
	everywhere := []string{"good"}
	table := badMembers(t)
	for _, bad := range table {
		bad.federate(t)
		manifest += w.unit(bad.name + " " + bad.name)
		everywhere = append(everywhere, bad.name)
	}
	w.apply(manifest)
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=30s")

	w.apply(w.config("web", "1", placed(everywhere...)))
	w.within(soon, "placing in the healthy unit", func() { w.has("web", "good=1") })
	w.apply(w.config("web", "2", placed(everywhere...)))
	w.within(soon, "an update of the healthy unit", func() { w.has("web", "good=2") })
	w.within(soon, "the repair of the healthy unit", func() {
		w.deleteCopy("good", "web")
		w.has("web", "good=2")
	})
	w.apply(w.config("alone", "1", placed("good")))
	w.within(soon, "an object that no bad member concerns", func() { w.told("alone", "True") })
	w.told("web", "False")

	for name, bad := range table {
		t.Run(name, func(t *testing.T) {
			in := &tenant{T: t, ns: w.ns, at: w.at}
			in.eventually(func() error {
				e := in.entry("web", bad.name)
				code, _ := e["status"].(string)
				message, _ := e["message"].(string)
				if code == "" || bad.code != "" && code != bad.code || message == "" || !strings.Contains(message, bad.says) {
					return fmt.Errorf("its unit's status is %v, want code %s and a message that says %q", e, bad.code, bad.says)
				}
				return nil
			})
			if e := in.entry("web", bad.name); strings.Contains(fmt.Sprint(e), memberToken(t, east)[:40]) {
				t.Errorf("status holds a token: %v", e)
			}
		})
	}
	if e := w.entry("web", "good"); e["status"] != nil {
		t.Errorf("the healthy unit's status is %v", e)
	}
	// Nothing was ever written to a bad member, so nothing can be left there.
	w.within(soon, "deletion", func() { w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s") })
	w.has("web", "good=")
}

// widgets is a custom kind of members, and what federates it.
const (
	widgetKind = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.badinput.example.com}
spec:
  group: badinput.example.com
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`
	widgetType = `apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: widgets.badinput.example.com, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {group: badinput.example.com, version: v1, kind: Widget, pluralName: widgets, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedWidget, pluralName: federatedwidgets, scope: Namespaced}
`
)

func TestAKindThatMembersLackIsToldOfThoseMembersAlone(t *testing.T) {
	w := newTenant(t, "bad-kind", "a "+east, "b "+west)
	widgets, fedWidgets, crds := configMaps, fedConfigMap, configMaps
	widgets.Group, widgets.Resource = "badinput.example.com", "widgets"
	fedWidgets.Resource = "federatedwidgets"
	crds.Group, crds.Resource = "apiextensions.k8s.io", "customresourcedefinitions"

	w.apply(widgetType) // no member has the kind
	w.kubectl("wait", "--for=condition=Served", "ftc/widgets.badinput.example.com", "-n", federation, "--timeout=30s")
	w.apply("apiVersion: types.kubefed.io/v2beta1\nkind: FederatedWidget\nmetadata: {namespace: bad-kind, name: web}\n" +
		"spec:\n  topologyType: cell\n  template: {spec: {size: 1}}\n  placement: {topologies: [{name: a}, {name: b}]}\n")
	code := func(unit, want string) error {
		u, err := world.client.Resource(fedWidgets).Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		list, _, _ := nestedEntries(u)
		if got, _ := list[unit]["status"].(string); got != want || want != "" && list[unit]["message"] == nil {
			return fmt.Errorf("status of %s is %v, want code %q", unit, list[unit], want)
		}
		return nil
	}
	w.eventually(func() error { return code("a", "KindNotInMember") })
	w.eventually(func() error { return code("b", "KindNotInMember") })

	// Other kinds do not notice.
	w.apply(w.config("web", "1", placed("a", "b")))
	w.within(soon, "another kind", func() { w.has("web", "a=1", "b=1") })

	// One member gets the kind; nobody restarts anything.
	if _, err := world.inside[east].Resource(crds).Create(t.Context(), decode(t, widgetKind), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := world.inside[east].Resource(crds).Delete(t.Context(), "widgets.badinput.example.com", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	w.eventually(func() error {
		_, err := world.inside[east].Resource(widgets).Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{})
		return err
	})
	w.eventually(func() error { return code("a", "") })
	if err := code("b", "KindNotInMember"); err != nil {
		t.Error(err)
	}
	w.kubectl("delete", "federatedwidget/web", "-n", w.ns, "--timeout=20s")
	if _, err := world.inside[east].Resource(widgets).Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the copy is still there: %v", err)
	}
	w.kubectl("delete", "ftc/widgets.badinput.example.com", "-n", federation, "--timeout=20s")
}

func TestAMemberThatIsSlowDelaysNobody(t *testing.T) {
	proxy := newMolasses(t, east)
	snail := second(t, "snail", east)
	snail.endpoint = proxy.endpoint()
	snail.federate(t)
	w := newTenant(t, "slow", "good "+west, "slow snail slow-snail")
	w.at["slow"] = [2]string{east, "slow-snail"} // the same, past the proxy
	const objects = 24                           // more than there are workers: each worker may wait for a slow member once
	all := func(version string) string {
		manifest := ""
		for i := range objects {
			manifest += "---\n" + w.config(fmt.Sprintf("web-%d", i), version, placed("good", "slow"))
		}
		return manifest
	}
	w.apply(all("1"))
	for i := range objects {
		w.has(fmt.Sprintf("web-%d", i), "good=1", "slow=1")
		w.told(fmt.Sprintf("web-%d", i), "True")
	}
	proxy.slow.Store(true)
	w.apply(all("2"))
	w.within(soon, "a release to the healthy unit", func() {
		for i := range objects {
			w.has(fmt.Sprintf("web-%d", i), "good=2")
		}
	})
	w.apply(w.config("late", "1", placed("good", "slow")))
	w.within(soon, "an object that is new", func() { w.has("late", "good=1") })
	w.eventually(func() error {
		if e := w.entry("late", "slow"); e["status"] != "ClusterNotReady" {
			return fmt.Errorf("status of the slow unit is %v, want ClusterNotReady", e)
		}
		return nil
	})
	w.told("late", "False")
	proxy.slow.Store(false)
	for i := range objects {
		w.has(fmt.Sprintf("web-%d", i), "slow=2")
	}
	w.has("late", "slow=1")
	w.kubectl("delete", "federatedconfigmaps", "--all", "-n", w.ns, "--timeout=20s")
	w.kubectl("delete", "units", "--all", "-n", w.ns, "--timeout=30s")
}
