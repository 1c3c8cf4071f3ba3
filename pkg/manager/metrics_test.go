package manager

import (
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/cellfed/cellfed/pkg/metrics"
)

// membersTold are the members that this process's metrics tell of.
func membersTold(t *testing.T) []string {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		if f.GetName() != "kubefedcluster_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			names = append(names, m.String())
		}
	}
	return names
}

func TestWhenTheControllersEndTheMetricsTellOfNoMemberAnyMore(t *testing.T) {
	metrics.Register()
	metrics.Member("former", metrics.MemberReady)
	if told := membersTold(t); !strings.Contains(strings.Join(told, ""), "former") {
		t.Fatalf("told are %q", told)
	}
	// Nobody answers there: the controllers end as soon as they have begun.
	if err := Run(t.Context(), &rest.Config{Host: "https://127.0.0.1:1"}, Options{}); err == nil {
		t.Fatal("controllers ran without a plane")
	}
	if told := membersTold(t); len(told) != 0 {
		t.Errorf("told are %q", told)
	}
}
