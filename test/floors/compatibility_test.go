package floors

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// items are KubeFed's rules and features as docs/kubefed-compatibility.md counts them.
func items() []string {
	var out []string
	for _, section := range []struct{ number, last int }{{1, 8}, {3, 20}} {
		for i := 1; i <= section.last; i++ {
			out = append(out, fmt.Sprintf("%d.%d", section.number, i))
		}
	}
	return append(out, "2")
}

var (
	itemNumber = regexp.MustCompile(`\b[123](\.[0-9]+)?\b`)
	testName   = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	testFunc   = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
)

// TestWhatIsSaidOfKubeFedIsHeldByTestsThatExist reads the table of what is kept and improved: every item is in it, every
// row says what is so, and every test that it names is there.
func TestWhatIsSaidOfKubeFedIsHeldByTestsThatExist(t *testing.T) {
	root := "../.."
	raw, err := os.ReadFile(root + "/docs/kubefed-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	faults := compatibilityFaults(string(raw), testsIn(t, root))
	for _, f := range faults {
		t.Error(f)
	}
}

func TestATableThatSaysTooMuchIsFound(t *testing.T) {
	var good strings.Builder
	for _, i := range items() {
		good.WriteString("| " + i + " x | kept | | `TestA` |\n")
	}
	known := map[string]bool{"TestA": true}
	if faults := compatibilityFaults(good.String(), known); len(faults) != 0 {
		t.Errorf("a good table: %v", faults)
	}
	for name, row := range map[string]string{
		"a test that there is not": "| 3.1 x | kept | | `TestB` |\n",
		"no test":                  "| 3.1 x | improved | because | |\n",
		"no reason":                "| 3.1 x | improved | | `TestA` |\n",
		"no verdict":               "| 3.1 x | perhaps | why | `TestA` |\n",
	} {
		if faults := compatibilityFaults(good.String()+row, known); len(faults) != 1 {
			t.Errorf("%s: %v", name, faults)
		}
	}
	if faults := compatibilityFaults(strings.Replace(good.String(), "| 3.7 x", "| x", 1), known); len(faults) != 1 {
		t.Errorf("an item that is missing: %v", faults)
	}
}

func compatibilityFaults(page string, known map[string]bool) []string {
	var faults []string
	var seen []string
	for _, line := range strings.Split(page, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[1]) == "item" {
			continue
		}
		item, verdict, why, tests := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3]), cells[4]
		seen = append(seen, itemNumber.FindAllString(item, -1)...)
		if !strings.HasPrefix(verdict, "kept") && verdict != "improved" && verdict != "not offered" {
			faults = append(faults, fmt.Sprintf("%s: %q is no verdict", item, verdict))
		}
		if verdict != "kept" && why == "" {
			faults = append(faults, item+": says not how and why")
		}
		named := testName.FindAllStringSubmatch(tests, -1)
		if len(named) == 0 && verdict != "not offered" {
			faults = append(faults, item+": names no test")
		}
		for _, n := range named {
			if !known[n[1]] {
				faults = append(faults, fmt.Sprintf("%s: there is no test %s", item, n[1]))
			}
		}
	}
	for _, i := range items() {
		if !slices.Contains(seen, i) {
			faults = append(faults, "nothing is said of item "+i)
		}
	}
	return faults
}

// testsIn are the names of all tests below a folder.
func testsIn(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "bin"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		raw, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(raw), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
