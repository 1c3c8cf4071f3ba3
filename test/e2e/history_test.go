package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// historyTold is what `kubectl cellfed history -o json` says, as far as tests look at it.
type historyTold struct {
	Revisions []struct {
		Revision, Template string
		Generation         int64
		Asked              bool
		Overrides          int
		Units              []struct {
			Name string
			Held bool
		}
	}
}

func (w *tenant) history(args ...string) historyTold {
	w.Helper()
	out := w.kubectl(append([]string{"cellfed", "history", "-n", w.ns, "-o", "json"}, args...)...)
	var told historyTold
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		w.Fatalf("%v\n%s", err, out)
	}
	return told
}

// running says who runs which revision, newest first: "revision asked unit unit(held)".
func (h historyTold) running() []string {
	var out []string
	for _, r := range h.Revisions {
		s := r.Revision
		if r.Asked {
			s += " asked"
		}
		for _, u := range r.Units {
			s += " " + u.Name
			if u.Held {
				s += "(held)"
			}
		}
		out = append(out, s)
	}
	return out
}

// revision is what a unit runs, by its status.
func (w *tenant) revision(name, unit string) string {
	w.Helper()
	r, _ := w.entry(name, unit)["revision"].(string)
	return r
}

func TestAGrayReleaseIsRolledBackInOneUnitByteForByte(t *testing.T) {
	for title, f := range bothForms {
		t.Run(title, func(t *testing.T) {
			w := newTenant(t, "rollback-"+f.version, "rz00a "+east+" rollback-a-"+f.version, "rz01a "+west, "rz00b "+east+" rollback-b-"+f.version)
			everywhere := "placement: " + f.in(w, "rz00a", "rz01a", "rz00b")
			overrides := "overrides: [{" + f.overrideName + ": " + f.name(w, "rz00b") + ", " + f.overrides + ": [{op: add, path: /data/b, value: only}]}]"
			numbers := func(manifest string) string {
				return strings.Replace(manifest, "{data: {", "{any: {big: 9007199254740993, fraction: 0.1, huge: 1e21, none: null}, data: {", 1)
			}
			w.apply(numbers(f.config(w, "web", "1", everywhere, overrides)))
			w.has("web", "rz00a=1", "rz01a=1", "rz00b=1")
			before := w.told("web", "True")
			a1, b1 := w.revision("web", "rz00a"), w.revision("web", "rz00b")
			if a1 != w.revision("web", "rz01a") || a1 == b1 || a1 == "" {
				t.Fatalf("revisions of version 1 are %s, %s and %s", a1, w.revision("web", "rz01a"), b1)
			}

			w.apply(f.config(w, "web", "2", everywhere, overrides, "placementMask: "+f.in(w, "rz00a")))
			w.has("web", "rz00a=2")
			w.told("web", "True")
			a2 := w.revision("web", "rz00a")
			want := []string{a2 + " asked rz00a", a1 + " rz01a(held)", b1 + " rz00b(held)"}
			got := w.history("fcm/web").running()
			if len(got) == 3 && strings.HasPrefix(got[1], b1) { // both were asked for by generation 1
				got[1], got[2] = got[2], got[1]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			if h := w.history("web"); len(h.Revisions) != 3 || h.Revisions[1].Template != h.Revisions[2].Template || h.Revisions[0].Template == h.Revisions[1].Template {
				t.Errorf("by its name alone: %+v", h)
			}
			shown := w.kubectl("cellfed", "history", "fcm", "web", "-n", w.ns, "--revision", b1[:8], "-o", "yaml")
			if wantShown := "path: /data/b\n  value: only\nrevision: " + b1 + "\n"; !strings.Contains(shown, wantShown) || !strings.Contains(shown, "big: 9007199254740993\n") {
				t.Errorf("revision %s is\n%s", b1, shown)
			}

			generation := w.get("web").GetGeneration()
			rollback := []string{"cellfed", "rollback", "fcm/web", "-n", w.ns, "--to", a1, "--mask", "rz00a"}
			for _, dry := range []string{"client", "server"} {
				out := w.kubectl(append(rollback, "--dry-run="+dry)...)
				if !strings.Contains(out, "would ask for "+a1) || w.get("web").GetGeneration() != generation {
					t.Errorf("a dry run (%s) changed the object, or says\n%s", dry, out)
				}
			}
			copyOf := func(unit string) any { return w.copyIn(unit, "web").GetResourceVersion() }
			others := []any{copyOf("rz01a"), copyOf("rz00b")}
			out := w.kubectl(rollback...)
			if !strings.Contains(out, "asks for "+a1+".\nThe mask: becomes: only rz00a may change.\n") {
				t.Errorf("rollback says\n%s", out)
			}
			w.has("web", "rz00a=1")
			after := w.told("web", "True")
			if got := w.revision("web", "rz00a"); got != a1 {
				t.Errorf("rz00a runs %s, want %s again", got, a1)
			}
			spec := after.Object["spec"].(map[string]any)
			spec["placementMask"] = nil
			wanted := before.Object["spec"].(map[string]any)
			wanted["placementMask"] = nil
			if diff := cmp.Diff(wanted, spec); diff != "" {
				t.Errorf("the spec is not what it was, the mask aside (-want +got):\n%s", diff)
			}
			w.keeps("web", time.Second, "rz01a=1", "rz00b=1")
			if now := []any{copyOf("rz01a"), copyOf("rz00b")}; !cmp.Equal(others, now) {
				t.Errorf("the others' copies were written: %v became %v", others, now)
			}
			// What is asked for again is the newest of the history, and what nobody runs any more is still there.
			w.eventually(func() error {
				got := w.history("fcm/web").running()
				if len(got) == 3 && strings.HasPrefix(got[0], b1) {
					got[0], got[1] = got[1], got[0]
				}
				if diff := cmp.Diff([]string{a1 + " asked rz00a rz01a(held)", b1 + " asked rz00b(held)", a2}, got); diff != "" {
					return fmt.Errorf("history (-want +got):\n%s", diff)
				}
				return nil
			})
			if out := w.kubectl(rollback...); !strings.Contains(out, "asks already for "+a1) || w.get("web").GetGeneration() != after.GetGeneration() {
				t.Errorf("a second time it says\n%s", out)
			}

			// All units, each with its own overrides: no mask any more, and the template of any revision of version 1.
			w.apply(f.config(w, "web", "3", everywhere, overrides))
			w.kubectl("patch", f.resource+"/web", "-n", w.ns, "--type=merge", "-p", `{"spec":{"placementMask":null}}`)
			w.has("web", "rz00a=3", "rz01a=3", "rz00b=3")
			w.told("web", "True")
			if out := w.kubectl("cellfed", "rollback", "fcm", "web", "-n", w.ns, "--to", a1); !strings.Contains(out, "every unit may change") {
				t.Errorf("rollback says\n%s", out)
			}
			w.has("web", "rz00a=1", "rz01a=1", "rz00b=1")
			w.told("web", "True")
			if a, b := w.revision("web", "rz00a"), w.revision("web", "rz00b"); a != a1 || b != b1 {
				t.Errorf("rz00a runs %s and rz00b %s, want %s and %s", a, b, a1, b1)
			}
		})
	}
}

func TestRollbackOfAnObjectPlacedByClusterSpeaksTheClusterForm(t *testing.T) {
	w := newTenant(t, "rollback-cluster")
	w.at[east], w.at[west] = [2]string{east, w.ns}, [2]string{west, w.ns}
	manifest := func(version string) string {
		return fmt.Sprintf("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedConfigMap\nmetadata: {namespace: %s, name: web}\nspec:\n  template: {data: {version: %q}}\n  placement: {clusters: [{name: east}, {name: west}]}\n", w.ns, version)
	}
	w.apply(manifest("1"))
	w.has("web", "east=1", "west=1")
	w.told("web", "True")
	first := w.revision("web", east)
	w.apply(manifest("2"))
	w.has("web", "east=2", "west=2")
	w.told("web", "True")
	w.kubectl("cellfed", "rollback", "web", "-n", w.ns, "--to", first, "--mask", "east")
	w.has("web", "east=1", "west=2")
	w.told("web", "True")
	for _, m := range w.get("web").GetManagedFields() {
		if m.Manager == "kubectl-cellfed" && m.APIVersion != "types.kubefed.io/v1beta1" {
			t.Errorf("it was written as %s", m.APIVersion)
		}
	}
	if got, want := w.revision("web", east), first; got != want {
		t.Errorf("east runs %s, want %s", got, want)
	}
	out, code := kubectlExit(t, "", "cellfed", "rollback", "web", "-n", w.ns, "--to", "0123456789abcdef")
	if code != 1 || !strings.Contains(out, "It has, newest first: "+first+", ") {
		t.Errorf("an unknown revision ends with %d and\n%s", code, out)
	}
	if out, code := kubectlExit(t, "", "cellfed", "rollback", "web", "-n", w.ns); code != 2 {
		t.Errorf("no revision ends with %d and\n%s", code, out)
	}
}

// What history and rollback compute, they compute from numbers as the plane stores them.
func TestARevisionsNumbersComeThroughThePlaneExactly(t *testing.T) {
	w := newTenant(t, "rollback-numbers", "a "+east)
	w.apply(strings.Replace(w.config("web", "1", placed("a")), "{data:", "{any: {least: -9223372036854775808, most: 9223372036854775807, more: 18446744073709551616, tiny: 5.0e-324, plain: 1.0, zero: 0}, data:", 1))
	w.has("web", "a=1")
	w.told("web", "True")
	first := w.revision("web", "a")
	stored := func() any {
		v, _, _ := unstructured.NestedFieldNoCopy(w.get("web").Object, "spec", "template")
		return v
	}
	before := stored()
	w.apply(w.config("web", "2", placed("a")))
	w.has("web", "a=2")
	w.told("web", "True")
	w.kubectl("cellfed", "rollback", "fcm/web", "-n", w.ns, "--to", first)
	w.has("web", "a=1")
	w.told("web", "True")
	if diff := cmp.Diff(before, stored()); diff != "" || w.revision("web", "a") != first {
		t.Errorf("revision %s, want %s; template (-want +got):\n%s", w.revision("web", "a"), first, diff)
	}
}
