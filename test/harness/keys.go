package harness

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// HandKeys brings the keys of one plane's data directory into another's as an operator does, so that both are servers of one
// plane.
func HandKeys(t testing.TB, from, to string) {
	t.Helper()
	binary, err := Binary("cellfed")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plane.keys")
	for _, args := range [][]string{{"keys", "export", "--data-dir", from, "--out", file}, {"keys", "import", "--data-dir", to, "--in", file}} {
		if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}
