package plan_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/topology"
)

// verb is one sentence of the stories' language: what it looks like, and what it does to the world.
type verb struct {
	sentence *regexp.Regexp
	do       func(w *world, a []string)
}

func sentence(pattern string, do func(w *world, a []string)) verb {
	return verb{regexp.MustCompile("^" + pattern + "$"), do}
}

// verbs are all sentences: what users of the plane do, what happens to members, and what happens to the plane.
var verbs = []verb{
	sentence(`topology cluster`, func(w *world, _ []string) {
		w.topology = "cluster"
		w.spec(func(s map[string]any) { delete(s, "topologyType") })
	}),
	sentence(`unit (\S+) appears on (\S+)((?: \S+=\S+)*)`, func(w *world, a []string) {
		if w.members[a[2]] == nil {
			w.members[a[2]] = &worldMember{objects: map[string]*unstructured.Unstructured{}}
		}
		labels := map[string]string{}
		for _, pair := range strings.Fields(a[3]) {
			key, value, _ := strings.Cut(pair, "=")
			labels[key] = value
		}
		w.units[a[1]] = &worldUnit{name: a[1], member: a[2], labels: labels}
	}),
	sentence(`unit (\S+) vanishes`, func(w *world, a []string) { delete(w.units, a[1]) }),
	sentence(`unit (\S+) is not ready: (.*)`, func(w *world, a []string) {
		w.units[a[1]].problem = &plan.Why{Code: plan.CodeUnitNotReady, Message: "unit " + a[1] + " is not ready: " + a[2]}
	}),
	sentence(`unit (\S+) is ready`, func(w *world, a []string) { w.units[a[1]].problem = nil }),

	sentence(`unit (\S+) is now (\S+)=(\S+)`, func(w *world, a []string) { w.units[a[1]].labels[a[2]] = a[3] }),

	sentence(`place nothing`, func(w *world, _ []string) { w.choose("placement", []any{}) }),
	sentence(`place (.+)`, func(w *world, a []string) { w.choose("placement", w.entries(a[1])) }),
	sentence(`select (\S+)=(\S+)`, func(w *world, a []string) { w.selects("placement", a[1], a[2]) }),
	sentence(`mask nothing`, func(w *world, _ []string) { w.choose("placementMask", []any{}) }),
	sentence(`mask where (\S+)=(\S+)`, func(w *world, a []string) { w.selects("placementMask", a[1], a[2]) }),
	sentence(`mask (.+)`, func(w *world, a []string) { w.choose("placementMask", w.entries(a[1])) }),
	sentence(`unmask`, func(w *world, _ []string) { w.spec(func(s map[string]any) { delete(s, "placementMask") }) }),
	sentence(`template (\S+)`, func(w *world, a []string) {
		w.template = a[1]
		w.spec(func(s map[string]any) { s["template"] = templateOf(a[1]) })
	}),
	sentence(`override (\S+) (\S+) (.+)`, func(w *world, a []string) { w.override(a[1], a[2], a[3]) }),
	sentence(`no overrides`, func(w *world, _ []string) { w.spec(func(s map[string]any) { delete(s, "overrides") }) }),
	sentence(`garble the placement`, func(w *world, _ []string) {
		w.spec(func(s map[string]any) { w.placedSpec, s["placement"] = s["placement"], "everywhere" })
	}),
	sentence(`mend the placement`, func(w *world, _ []string) {
		w.spec(func(s map[string]any) { s["placement"] = w.placedSpec })
	}),
	sentence(`delete`, func(w *world, _ []string) {
		now := metav1.Unix(1795262400, 0)
		w.object.SetDeletionTimestamp(&now)
		w.object.SetGeneration(w.object.GetGeneration() + 1)
	}),
	sentence(`orphan`, func(w *world, _ []string) { w.annotate(wellknown.OrphanAnnotation) }),
	sentence(`adopt`, func(w *world, _ []string) { w.annotate(wellknown.AdoptAnnotation) }),
	sentence(`the object is held: (.*)`, func(w *world, a []string) { w.hold = &plan.Why{Code: plan.CodeOnHold, Message: a[1]} }),
	sentence(`the object is held no more`, func(w *world, _ []string) { w.hold = nil }),

	sentence(`member (\S+) goes away`, func(w *world, a []string) { w.members[a[1]].away = true }),
	sentence(`member (\S+) returns`, func(w *world, a []string) {
		w.members[a[1]].away = false
		w.loading = true
		clear(w.failures)
	}),
	sentence(`member (\S+) hangs`, func(w *world, a []string) { w.members[a[1]].hangs = true }),
	sentence(`member (\S+) answers`, func(w *world, a []string) {
		w.members[a[1]].hangs = false
		for _, name := range sortedKeys(w.inFlight) {
			if s := w.inFlight[name]; s.Member == a[1] {
				delete(w.inFlight, name)
				w.perform(s)
			}
		}
	}),
	sentence(`member (\S+) refuses writes: (.*)`, func(w *world, a []string) { w.members[a[1]].refuses = a[2] }),
	sentence(`member (\S+) accepts writes`, func(w *world, a []string) { w.members[a[1]].refuses = "" }),
	sentence(`member (\S+) lacks the kind`, func(w *world, a []string) { w.members[a[1]].lacksKind = true }),
	sentence(`member (\S+) has the kind`, func(w *world, a []string) { w.members[a[1]].lacksKind = false }),

	sentence(`someone edits (\S+)`, func(w *world, a []string) {
		w.edit(a[1], func(u *unstructured.Unstructured) { u.Object["spec"].(map[string]any)["image"] = "broken" })
	}),
	sentence(`someone adds a finalizer in (\S+)`, func(w *world, a []string) {
		w.edit(a[1], func(u *unstructured.Unstructured) { u.SetFinalizers([]string{"example.com/slow"}) })
	}),
	sentence(`the finalizer in (\S+) goes`, func(w *world, a []string) {
		w.edit(a[1], func(u *unstructured.Unstructured) { u.SetFinalizers(nil) })
	}),
	sentence(`someone cuts the marks off in (\S+)`, func(w *world, a []string) { w.edit(a[1], strip) }),
	sentence(`someone cuts the owner mark off in (\S+)`, func(w *world, a []string) {
		w.edit(a[1], func(u *unstructured.Unstructured) { u.SetAnnotations(nil) })
	}),
	sentence(`someone cuts the managed label off in (\S+)`, func(w *world, a []string) {
		w.edit(a[1], func(u *unstructured.Unstructured) {
			labels := u.GetLabels()
			delete(labels, wellknown.ManagedLabel)
			u.SetLabels(labels)
		})
	}),
	sentence(`someone says hands off in (\S+)`, func(w *world, a []string) {
		w.edit(a[1], func(u *unstructured.Unstructured) {
			labels := u.GetLabels()
			labels[wellknown.ManagedLabel] = "false"
			u.SetLabels(labels)
		})
	}),
	sentence(`someone deletes what is in (\S+)`, func(w *world, a []string) {
		u := w.units[a[1]]
		w.members[u.member].put(w.namespaceOf(u), nil)
	}),
	sentence(`someone makes an object in (\S+)`, func(w *world, a []string) {
		u := w.units[a[1]]
		w.members[u.member].store(w, w.namespaceOf(u), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web", "namespace": w.namespaceOf(u)},
			"spec": map[string]any{"image": "theirs", "replicas": int64(7)},
		}})
	}),

	sentence(`the pause after failures is over`, func(w *world, _ []string) { clear(w.failures) }),
	sentence(`a minute passes`, func(w *world, _ []string) {
		for name := range w.sights {
			w.probes[name] = true
		}
	}),
	sentence(`(\S+) is given up`, func(w *world, a []string) {
		m := w.members[a[1]]
		w.abandonments = append(w.abandonments, plan.Abandonment{Cluster: a[1], ClusterID: m.id, Reason: "it burnt down"})
	}),
	sentence(`nothing is given up any more`, func(w *world, _ []string) { w.abandonments = nil }),
	sentence(`(\S+) is cluster (\S+)`, func(w *world, a []string) { w.members[a[1]].id = a[2] }),
	sentence(`(\S+) becomes cluster (\S+)`, func(w *world, a []string) {
		m := w.members[a[1]]
		m.id, m.objects, m.previous = a[2], map[string]*unstructured.Unstructured{}, nil
		w.loading = true
		for name, u := range w.units { // calls to the former cluster end with it
			if full := w.full(name); u.member == a[1] {
				delete(w.inFlight, full)
				delete(w.sights, full)
				delete(w.seen, full)
				delete(w.failures, full)
			}
		}
	}),
	sentence(`the namespace admits everything`, func(w *world, _ []string) { w.admitted = nil }),
	sentence(`the namespace admits (.+)`, func(w *world, a []string) {
		w.admitted = &federated.Object{TopologyType: w.topology, Placement: federated.Selection{Named: true}}
		for n := range strings.FieldsSeq(a[1]) {
			w.admitted.Placement.Names = append(w.admitted.Placement.Names, w.full(n))
		}
	}),
	sentence(`the plane dies before its (\d+)\. deed`, func(w *world, a []string) { w.fuse, _ = strconv.Atoi(a[1]) }),
	sentence(`the next status write is lost`, func(w *world, _ []string) { w.loseStatus = true }),
	sentence(`the plane restarts`, func(w *world, _ []string) { w.restart() }),
	sentence(`the status is lost`, func(w *world, _ []string) { delete(w.object.Object, "status") }),
	sentence(`revisions are lost`, func(w *world, _ []string) { clear(w.revisions) }),
}

// say does what a line of a script says: one or more sentences, joined by "and", that happen at once. "In cells" before
// them means that the user writes in topology form.
func (w *world) say(line string) error {
	line, w.cells = strings.CutPrefix(line, "in cells ")
	defer func() { w.cells = false }()
sentences:
	for s := range strings.SplitSeq(line, " and ") {
		for _, v := range slices.Concat(quarrelVerbs, verbs) {
			if a := v.sentence.FindStringSubmatch(s); a != nil {
				v.do(w, a)
				continue sentences
			}
		}
		return fmt.Errorf("no such sentence: %q", s)
	}
	return nil
}

// spec is one write of the federated object by its user.
func (w *world) spec(change func(map[string]any)) {
	w.object = w.object.DeepCopy()
	before, _ := json.Marshal(w.object.Object["spec"])
	if w.cells {
		w.object.Object = topology.ToTopologyForm(w.object.Object)
	}
	change(w.object.Object["spec"].(map[string]any))
	if w.cells {
		w.object.Object = topology.ToClusterForm(w.object.Object)
	}
	if after, _ := json.Marshal(w.object.Object["spec"]); string(after) != string(before) {
		w.object.SetGeneration(w.object.GetGeneration() + 1)
	}
}

func (w *world) entries(names string) []any {
	out := []any{}
	for n := range strings.FieldsSeq(names) {
		if !w.cells {
			n = w.full(n)
		}
		out = append(out, map[string]any{"name": n})
	}
	return out
}

// word is a word of the form in which the user writes.
func (w *world) word(cluster, cells string) string {
	if w.cells {
		return cells
	}
	return cluster
}

func (w *world) choose(field string, entries []any) {
	w.spec(func(s map[string]any) { s[field] = map[string]any{w.word("clusters", "topologies"): entries} })
}

func (w *world) selects(field, key, value string) {
	w.spec(func(s map[string]any) {
		s[field] = map[string]any{w.word("clusterSelector", "topologySelector"): map[string]any{"matchLabels": map[string]any{key: value}}}
	})
}

func (w *world) override(unit, path, value string) {
	var v any
	if json.Unmarshal([]byte(value), &v) != nil {
		v = value
	}
	if f, ok := v.(float64); ok {
		v = int64(f)
	}
	name, key := w.full(unit), w.word("clusterName", "topologyName")
	if w.cells {
		name = unit
	}
	w.spec(func(s map[string]any) {
		list, _ := s["overrides"].([]any)
		list = slices.DeleteFunc(list, func(e any) bool { return e.(map[string]any)[key] == name })
		s["overrides"] = append(list, map[string]any{key: name,
			w.word("clusterOverrides", "topologyOverrides"): []any{map[string]any{"path": path, "value": v}}})
	})
}

func (w *world) annotate(key string) {
	annotations := w.object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = "true"
	w.object.SetAnnotations(annotations)
}

// edit is a write to a member by somebody who is not the plane.
func (w *world) edit(unit string, change func(*unstructured.Unstructured)) {
	u := w.units[unit]
	m, ns := w.members[u.member], w.namespaceOf(u)
	there := m.objects[ns]
	if there == nil {
		return
	}
	edited := there.DeepCopy()
	change(edited)
	if edited.GetDeletionTimestamp() != nil && len(edited.GetFinalizers()) == 0 {
		m.put(ns, nil)
		return
	}
	m.store(w, ns, edited)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
