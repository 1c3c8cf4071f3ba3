package playground

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNamesOfMembersAreLabelsAndDiffer(t *testing.T) {
	for sentence, test := range map[string]struct {
		names []string
		want  string
	}{
		"given names are fine":                {[]string{"hz-1", "hz-2"}, ""},
		"names nobody gave are fine":          {MemberNames(3), ""},
		"none is refused":                     {nil, "no members"},
		"the same twice is refused":           {[]string{"a", "a"}, "twice"},
		"a path is refused":                   {[]string{"../a"}, `"../a"`},
		"an empty name is refused":            {[]string{""}, `""`},
		"a file of the playground is refused": {[]string{"playground.json"}, "playground.json"},
	} {
		t.Run(sentence, func(t *testing.T) {
			err := checkNames(test.names)
			if test.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestAMemberKeepsItsPort(t *testing.T) {
	layout, err := NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	port := func(name string) int {
		if err := os.MkdirAll(layout.Member(name), 0o755); err != nil {
			t.Fatal(err)
		}
		port, err := layout.ensurePort(name)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	first := port("a")
	if again := port("a"); again != first {
		t.Errorf("port %d, then %d", first, again)
	}
	if first < firstPort || first > lastPort {
		t.Errorf("port %d is not between %d and %d", first, firstPort, lastPort)
	}
}

func TestAPortFileWithoutAPortIsToldAndKept(t *testing.T) {
	for sentence, content := range map[string]string{"no number": "x", "no port": "70000", "nothing": ""} {
		t.Run(sentence, func(t *testing.T) {
			layout, err := NewLayout(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(layout.Member("a"), "port")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if port, err := layout.ensurePort("a"); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("port %d, %v; want an error that names the file", port, err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != content {
				t.Errorf("the file holds %q, %v", data, err)
			}
		})
	}
}

func TestOnlyOnePlaygroundHasADirectory(t *testing.T) {
	layout, err := NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := layout.takeLock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.takeLock(); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second one: %v", err)
	}
	unlock()
	unlock, err = layout.takeLock()
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	unlock()
}
