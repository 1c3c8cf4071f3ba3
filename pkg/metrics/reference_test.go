package metrics

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestTheReferenceListsEveryMetric(t *testing.T) {
	defer life().End()
	text, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		short := "…_" + strings.TrimPrefix(f.GetName(), "controller_runtime_")
		foreign := strings.HasPrefix(f.GetName(), controllerRuntime) && helps[f.GetName()] == "" && !strings.Contains(f.GetHelp(), "KubeFed")
		if !foreign && !strings.Contains(string(text), "`"+f.GetName()+"`") && !strings.Contains(string(text), "`"+short+"`") {
			t.Errorf("the reference does not tell of %s", f.GetName())
		}
	}
}
