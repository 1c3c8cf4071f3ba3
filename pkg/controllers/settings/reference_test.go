package settings

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cellfed/cellfed/pkg/features"
)

func TestTheReferenceListsEveryGateAsItIs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range features.All() {
		state := map[bool]string{true: "on", false: "off"}[s.Default]
		if row := fmt.Sprintf("| `%s` | %s | %s |", s.Gate, s.Stage, state); !strings.Contains(string(text), row) {
			t.Errorf("there is no row %s", row)
		}
	}
}
