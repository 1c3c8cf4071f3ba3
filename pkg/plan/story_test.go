package plan_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/render"
)

var update = flag.Bool("update", false, "rewrite what the plane answers in testdata/*.story")

// A story is a text of three kinds of lines: "#" for people, ">" for what happens, and indented lines for what the
// plane does then and how everything stands when it rests. "> given …" only sets the scene. With -update the indented
// lines are written anew; read the difference before you believe it.

func TestStories(t *testing.T) {
	for _, path := range stories(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".story"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			told, _ := tell(t, string(raw), nil)
			if *update {
				if err := os.WriteFile(path, []byte(told), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(raw), "\n"), strings.Split(told, "\n")); diff != "" {
				t.Errorf("the story goes otherwise (-told +now); if that is meant, run with -update:\n%s", diff)
			}
		})
	}
}

// TestStoriesDoNotDependOnOrder tells every story again with units in any order and members that answer in any order,
// some of them only when the plane has stopped waiting. Deeds may come in another order; where everything stands when
// the plane rests must be the same.
func TestStoriesDoNotDependOnOrder(t *testing.T) {
	for _, path := range stories(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".story"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, want := tell(t, string(raw), nil)
			for seed := range uint64(10) {
				_, got := tell(t, string(raw), rand.New(rand.NewPCG(seed, 7)))
				if strings.Contains(string(raw), "keeps changing") {
					uncounted(want)
					uncounted(got)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("with the order of seed %d (-ordered +shuffled):\n%s", seed, diff)
				}
			}
		})
	}
}

func stories(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.story")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	return paths
}

// tell runs a story. It returns the whole text and, apart, how everything stood after each line.
func tell(t *testing.T, script string, late *rand.Rand) (text string, stands []string) {
	t.Helper()
	w := newWorld()
	w.late = late
	w.violation = func(format string, args ...any) { t.Helper(); t.Errorf(format, args...) }
	v := &voice{world: w, numbers: map[string]string{}}
	var out strings.Builder
	last, answered := "", false
	for line := range strings.SplitSeq(script, "\n") {
		if line == "" || strings.HasPrefix(line, " ") {
			continue
		}
		if answered {
			out.WriteString("\n")
		}
		answered = false
		out.WriteString(line + "\n")
		said, happens := strings.CutPrefix(line, "> ")
		if !happens {
			continue
		}
		scene, given := strings.CutPrefix(said, "given ")
		if err := w.say(scene); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if given {
			continue
		}
		w.rest()
		answered = true
		stand := v.stand()
		stands = append(stands, line+"\n"+stand)
		out.WriteString(v.deeds())
		if stand == last {
			out.WriteString("    Everything stands as before.\n")
		} else {
			out.WriteString(stand)
		}
		last = stand
	}
	return out.String(), stands
}

// voice puts a world into words: short names of units, and revisions by number instead of hash.
type voice struct {
	world   *world
	numbers map[string]string
}

var hashes = regexp.MustCompile(`\b[0-9a-f]{16}\b`)

func (v *voice) plain(s string) string {
	s = strings.ReplaceAll(s, cellTail, "")
	return hashes.ReplaceAllStringFunc(s, func(h string) string {
		if v.numbers[h] == "" {
			v.numbers[h] = fmt.Sprintf("r%d", len(v.numbers)+1)
		}
		return v.numbers[h]
	})
}

func (v *voice) deeds() string {
	var b strings.Builder
	for _, d := range v.world.deeds {
		b.WriteString("    " + v.plain(d) + "\n")
	}
	for _, e := range v.world.events {
		kind := "event"
		if e.Warning {
			kind = "warning"
		}
		b.WriteString("    " + kind + " " + e.Reason + ": " + v.plain(e.Message) + "\n")
	}
	v.world.deeds, v.world.events = nil, nil
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	return b.String()
}

// stand is how everything stands: per unit what the member holds, whoever knows it, and what status says; and the
// conditions.
func (v *voice) stand() string {
	w := v.world
	var status federated.Status
	if w.object != nil {
		status = federated.Read(w.object).Status
	}
	// Revisions are numbered in the order in which status has them, whatever the order of events.
	for _, e := range status.Units {
		v.plain(e.Revision)
	}
	var names []string
	for _, e := range status.Units {
		names = append(names, e.Name)
	}
	for _, name := range sortedKeys(w.units) {
		if _, listed := status.Unit(w.full(name)); !listed && w.copyIn(w.units[name]) != nil {
			names = append(names, w.full(name))
		}
	}
	var b strings.Builder
	if len(names) > 0 {
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "    %s\tmember\tholds\tstatus\n", w.topology)
		for _, name := range names {
			where, holds := "?", "?"
			if u := w.units[strings.TrimSuffix(name, cellTail)]; u != nil {
				where, holds = u.member, v.holds(w.copyIn(u))
			}
			fmt.Fprintf(table, "    %s\t%s\t%s\t%s\n", v.plain(name), where, holds, v.says(status, name))
		}
		table.Flush()
	}
	for _, c := range status.Conditions {
		line := fmt.Sprintf("    %s is %s", c.Type, c.Status)
		if c.Reason != "" {
			line += " (" + c.Reason + ")"
		}
		if c.Message != "" {
			line += ": " + v.plain(c.Message)
		}
		b.WriteString(line + "\n")
	}
	if b.Len() == 0 {
		return "    Nothing is left.\n"
	}
	return b.String()
}

func (v *voice) holds(u *unstructured.Unstructured) string {
	if u == nil {
		return "nothing"
	}
	image, _, _ := unstructured.NestedString(u.Object, "spec", "image")
	replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	text := fmt.Sprintf("%s x%d, generation %d", image, replicas, u.GetGeneration())
	if owner, marked := render.OwnerOf(u); marked {
		text += ", " + v.plain(owner.Revision)
	}
	if words := foreign(u); words != "" {
		text += ", " + words
	}
	if u.GetLabels()[wellknown.ManagedLabel] != "true" {
		text += ", not managed"
	}
	if u.GetDeletionTimestamp() != nil {
		text += ", going"
	}
	return text
}

func (v *voice) says(status federated.Status, name string) string {
	e, there := status.Unit(name)
	if !there {
		return "-"
	}
	var words []string
	if e.Revision != "" {
		words = append(words, v.plain(e.Revision))
	}
	if e.Held {
		words = append(words, "held")
	}
	if e.Inventory && e.Revision == "" {
		words = append(words, "may hold a copy")
	}
	if e.Code == "" && !e.Held && e.Revision != "" {
		words = append(words, "as asked")
	}
	text := strings.Join(words, ", ")
	if e.Code != "" || e.Message != "" {
		if text != "" {
			text += "; "
		}
		text += strings.Trim(e.Code+": "+v.plain(e.Message), ": ")
	}
	return text
}
