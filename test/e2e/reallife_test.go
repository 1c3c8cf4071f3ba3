package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/pkg/topology"
)

// Real lives: what pkg/plan's random lives do to a plane in memory, done to a real one over real members, with kill -9
// and members that freeze. The oracle knows the wishes that were uttered and what the members hold, and nothing of the
// plane. What happens follows from the seed alone, so that a life can be lived again.
var (
	lifeSteps = flag.Int("life.steps", 40, "how many things happen in a real life")
	lifeSeed  = flag.Uint64("life.seed", 0, "seed of the real life; 0 = another one each time")
)

// deed is one thing that happens in a life.
type deed struct {
	kind, object, unit string
	wish               wish
	form               string // in which the wish is uttered
	rest               bool   // let the plane come to rest afterwards
}

func (d deed) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", d.kind, d.object, d.unit, d.form, map[bool]string{true: d.wish.version()}[d.wish.n > 0]))
}

// realLife is what the oracle knows.
type realLife struct {
	*herd
	wishes map[string][]wish            // by object: those uttered since the last rest, the one in force then first
	stood  map[string]map[string]string // by unit and object: the version at the last rest; "" = none
	cities map[string]string
	frozen bool
	happen []string
}

const lifeObjects = 3

func deedsOf(seed uint64, n int) []deed {
	r := rand.New(rand.NewPCG(seed, 4))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var out []deed
	for i := range n {
		d := deed{object: fmt.Sprintf("web-%d", r.IntN(lifeObjects)), unit: pick("a", "b", "c"), rest: r.IntN(3) > 0}
		switch k := r.IntN(20); {
		case k < 9:
			d.kind, d.form = "wish", pick("v1beta1", "v2beta1")
			d.wish = wish{i + 1, pick("*", "*", "a", "b", "ab", "bc", ""), pick("abc", "abc", "ab", "bc", "c", "?x", "")}
		case k < 11:
			d.kind = "edit"
		case k < 13:
			d.kind = "remove"
		case k < 15:
			d.kind = "relabel"
		case k < 16:
			d.kind = "delete"
		case k < 18:
			d.kind, d.rest = "freeze or thaw", false
		default:
			d.kind = "kill"
		}
		out = append(out, d)
	}
	return out
}

func TestARealLifeKeepsTheLaws(t *testing.T) {
	seed := *lifeSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	p := newLonePlane(t, east, west, tower)
	l := &realLife{herd: p.newHerd(t, fmt.Sprintf("life-%d", seed), "a "+east, "b "+west, "c "+tower),
		wishes: map[string][]wish{}, stood: map[string]map[string]string{}, cities: map[string]string{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("live it again with -run RealLife -life.seed=%d -life.steps=%d; what happened:\n%s", seed, *lifeSteps, strings.Join(l.happen, "\n"))
		}
	})
	defer l.thaw()
	strangers := l.strangers()
	for unit := range l.units {
		l.stood[unit] = map[string]string{}
	}
	for _, d := range deedsOf(seed, *lifeSteps) {
		l.happen = append(l.happen, d.String())
		l.does(d)
		if d.rest {
			l.rests()
		}
		if t.Failed() {
			return
		}
	}
	l.thaw()
	l.rests()
	l.quiet(2 * time.Second)
	for object := range l.wishes {
		l.does(deed{kind: "delete", object: object})
	}
	l.rests()
	l.neverForbidden()
	for unit := range l.units {
		if left := l.copies(unit); len(left) > 0 {
			l.Errorf("unit %s still has %v", unit, left)
		}
	}
	for where, before := range strangers {
		if now := l.stranger(where); now != before {
			l.Errorf("an object of somebody else in member %s was touched: %s, now %s", where, before, now)
		}
	}
	l.Logf("seed %d: %d deeds, %d changes in the members", seed, *lifeSteps, len(l.sights()))
}

// strangers makes in every member an object of a federated object's name that the plane did not make, in a namespace
// of somebody else's, and returns what they are.
func (l *realLife) strangers() map[string]string {
	l.Helper()
	out := map[string]string{}
	for _, member := range l.units {
		ns := decode(l.T, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+l.ns+"-others}")
		_, err := world.inside[member].Resource(namespaces).Create(l.Context(), ns, metav1.CreateOptions{})
		l.must(err)
		u := decode(l.T, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web-0, labels: {kubefed.io/managed: \"true\"}}\ndata: {version: theirs}")
		_, err = world.inside[member].Resource(configMaps).Namespace(l.ns+"-others").Create(l.Context(), u, metav1.CreateOptions{})
		l.must(err)
		out[member] = l.stranger(member)
	}
	return out
}

func (l *realLife) stranger(member string) string {
	l.Helper()
	u, err := world.inside[member].Resource(configMaps).Namespace(l.ns+"-others").Get(l.Context(), "web-0", metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("uid %s at %s", u.GetUID(), u.GetResourceVersion())
}

func (l *realLife) does(d deed) {
	l.Helper()
	switch d.kind {
	case "wish":
		l.utters(d)
	case "edit":
		l.inMember(d, func(ctx context.Context) error {
			_, err := world.inside[l.units[d.unit]].Resource(configMaps).Namespace(l.ns).Patch(ctx, d.object, types.MergePatchType,
				[]byte(`{"data":{"version":"edited"}}`), metav1.PatchOptions{})
			return err
		})
	case "remove":
		l.inMember(d, func(ctx context.Context) error {
			return world.inside[l.units[d.unit]].Resource(configMaps).Namespace(l.ns).Delete(ctx, d.object, metav1.DeleteOptions{})
		})
	case "relabel":
		city := map[string]string{"x": "y", "y": "x", "": "x"}[l.cities[d.unit]]
		l.cities[d.unit] = city
		patch := fmt.Sprintf(`{"metadata":{"labels":{"city":"%s"}}}`, city)
		l.patiently(func(ctx context.Context) error {
			_, err := l.client.Resource(units).Namespace(l.ns).Patch(ctx, d.unit, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		})
		for object, uttered := range l.wishes { // what a selector chose before counts until the next rest
			l.wishes[object] = append(uttered, uttered[len(uttered)-1])
		}
	case "delete":
		l.patiently(func(ctx context.Context) error {
			err := l.objects().Delete(ctx, d.object, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
		delete(l.wishes, d.object)
		l.thaw() // the name is free again when every member has answered
		l.eventually(func() error {
			if l.stored()[d.object] != nil {
				return fmt.Errorf("%s is still there", d.object)
			}
			return nil
		})
		for unit := range l.units {
			delete(l.stood[unit], d.object)
		}
	case "freeze or thaw":
		if l.frozen {
			l.thaw()
			return
		}
		world.members.Named(tower).Pause(l.T)
		l.frozen = true
	case "kill":
		l.must(l.Kill())
		l.again()
	}
}

// inMember does what somebody in a member does. In one that is frozen nobody does anything.
func (l *realLife) inMember(d deed, do func(context.Context) error) {
	l.Helper()
	if l.frozen && l.units[d.unit] == tower {
		return
	}
	if err := do(l.Context()); err != nil && !apierrors.IsNotFound(err) {
		l.Error(err)
	}
}

func (l *realLife) thaw() {
	if !l.frozen {
		return
	}
	l.frozen = false
	if err := world.members.Named(tower).Do(context.WithoutCancel(l.Context()), playground.ActionResume); err != nil {
		l.Error(err)
	}
}

// patiently repeats a call while the plane is starting.
func (l *realLife) patiently(call func(context.Context) error) {
	l.Helper()
	l.eventually(func() error {
		ctx, cancel := context.WithTimeout(l.Context(), 2*time.Second)
		defer cancel()
		return call(ctx)
	})
}

// utters makes an object what a wish says, in one form or the other.
func (l *realLife) utters(d deed) {
	l.Helper()
	spec := d.wish.spec()
	if d.wish.placed == "?x" {
		spec["placement"] = map[string]any{"topologySelector": map[string]any{"matchLabels": map[string]any{"city": "x"}}}
	}
	if d.form == "v1beta1" {
		spec = l.inClusterForm(spec)
	}
	if spec["placementMask"] == nil {
		delete(spec, "placementMask")
	}
	objects := l.client.Resource(fedConfigMap.GroupResource().WithVersion(d.form)).Namespace(l.ns)
	l.patiently(func(ctx context.Context) error {
		u, err := objects.Get(ctx, d.object, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = objects.Create(ctx, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "types.kubefed.io/" + d.form,
				"kind": "FederatedConfigMap", "metadata": map[string]any{"name": d.object, "namespace": l.ns}, "spec": spec}}, metav1.CreateOptions{})
			return err
		}
		if err != nil {
			return err
		}
		u.Object["spec"] = spec
		_, err = objects.Update(ctx, u, metav1.UpdateOptions{})
		return err
	})
	l.wishes[d.object] = append(l.wishes[d.object], d.wish)
}

func (l *realLife) inClusterForm(spec map[string]any) map[string]any {
	out := map[string]any{"topologyType": spec["topologyType"], "template": spec["template"]}
	for _, field := range []string{"placement", "placementMask"} {
		selection, _ := spec[field].(map[string]any)
		switch {
		case selection == nil:
		case selection["topologies"] != nil:
			list := []any{}
			for _, e := range selection["topologies"].([]any) {
				list = append(list, map[string]any{"name": fmt.Sprintf("%s.%s.cell", e.(map[string]any)["name"], l.ns)})
			}
			out[field] = map[string]any{"clusters": list}
		default:
			selector := selection["topologySelector"].(map[string]any)
			out[field] = map[string]any{"clusterSelector": map[string]any{"matchLabels": selector["matchLabels"],
				"matchExpressions": topology.SelectorRequirements("cell", l.ns)}}
		}
	}
	return out
}

// chooses tells whether a wish places a unit, as labels are now.
func (l *realLife) chooses(w wish, unit string) bool {
	if w.placed == "?x" {
		return l.cities[unit] == "x"
	}
	return strings.Contains(w.placed, unit)
}

// rests waits until every member that can be reached holds what was wished for, and takes down what held units hold.
func (l *realLife) rests() {
	l.Helper()
	now := map[string]map[string]string{}
	l.eventually(func() error {
		for unit, member := range l.units {
			if l.frozen && member == tower {
				continue
			}
			now[unit] = l.copies(unit)
			for object, uttered := range l.wishes {
				if err := l.judge(unit, object, uttered, now[unit][object]); err != nil {
					return err
				}
			}
		}
		return l.toldSo()
	})
	for unit, copies := range now {
		for object, uttered := range l.wishes {
			// What somebody did to a copy that is on its way out changes nothing about which revision is the unit's own.
			if theirs := copies[object] == "" || copies[object] == "edited"; !theirs || uttered[len(uttered)-1].admits(unit) {
				l.stood[unit][object] = copies[object]
			}
		}
	}
	if l.frozen {
		return // what happens to the frozen member when it thaws depends on all that was wished meanwhile
	}
	for object, uttered := range l.wishes {
		l.wishes[object] = uttered[len(uttered)-1:]
	}
}

// judge is law 7, worked out from the wishes: a writable unit holds the last wish, or nothing where that does not place
// it; any other unit holds what it held, or what was wished for it in between.
func (l *realLife) judge(unit, object string, uttered []wish, version string) error {
	last := uttered[len(uttered)-1]
	if last.admits(unit) {
		want := ""
		if l.chooses(last, unit) {
			want = last.version()
		}
		if version != want {
			return fmt.Errorf("unit %s has %s at %q, want %q", unit, object, version, want)
		}
		return nil
	}
	possible := []string{l.stood[unit][object]}
	if !l.chooses(last, unit) {
		possible = append(possible, "", "edited") // on its way out: what somebody does to it there is not undone
	}
	for _, w := range uttered {
		if w.admits(unit) {
			possible = append(possible, w.version(), "")
		}
	}
	if !slices.Contains(possible, version) {
		return fmt.Errorf("unit %s is held and has %s at %q, want one of %q", unit, object, version, possible)
	}
	return nil
}

// toldSo checks that status is about what is wished now, and says that it is so where every member can be reached.
func (l *realLife) toldSo() error {
	for object := range l.wishes {
		u := l.stored()[object]
		if u == nil {
			return fmt.Errorf("%s is gone", object)
		}
		observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
		if c := conditionOf(u, "Propagation"); observed != u.GetGeneration() || c["status"] != "True" && !l.frozen {
			return fmt.Errorf("%s at generation %d is told at %d to be %v", object, u.GetGeneration(), observed, c)
		}
	}
	return nil
}

// neverForbidden checks that no unit was ever given a content that was not for it.
func (l *realLife) neverForbidden() {
	l.Helper()
	for _, s := range l.sights() {
		if s.version == "edited" {
			continue
		}
		if w := parseWish(s.version); !w.admits(s.unit) || w.placed != "?x" && !strings.Contains(w.placed, s.unit) {
			l.Errorf("unit %s was given %s at %s, which was not for it", s.unit, s.name, s.version)
		}
	}
}
