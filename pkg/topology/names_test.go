package topology_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cellfed/cellfed/pkg/topology"
)

func TestANameIsAUnitsOnlyIfItIsThreeLabels(t *testing.T) {
	for name, tc := range map[string]struct {
		in                        string
		unit, namespace, topology string
		ok                        bool
	}{
		"three labels":               {"rz00a.acme-prod.cell", "rz00a", "acme-prod", "cell", true},
		"a type nobody configured":   {"a.b.zone", "a", "b", "zone", true},
		"two labels":                 {in: "rz00a.acme-prod"},
		"four labels":                {in: "x.rz00a.acme-prod.cell"},
		"nothing":                    {in: ""},
		"an empty unit":              {in: ".acme-prod.cell"},
		"an empty namespace":         {in: "rz00a..cell"},
		"an empty type":              {in: "rz00a.acme-prod."},
		"upper case":                 {in: "RZ00A.acme-prod.cell"},
		"a label that is too long":   {in: strings.Repeat("a", 64) + ".b.cell"},
		"the type cluster":           {in: "rz00a.acme-prod.cluster"},
		"a member with a plain name": {in: "hz-1"},
	} {
		t.Run(name, func(t *testing.T) {
			unit, namespace, topologyType, ok := topology.ParseUnitClusterName(tc.in)
			if unit != tc.unit || namespace != tc.namespace || topologyType != tc.topology || ok != tc.ok {
				t.Errorf("%q became %q, %q, %q, %v", tc.in, unit, namespace, topologyType, ok)
			}
			if ok && topology.UnitClusterName(unit, namespace, topologyType) != tc.in {
				t.Errorf("%q does not come back from its parts", tc.in)
			}
		})
	}
}

func TestDifferentUnitsHaveDifferentNames(t *testing.T) {
	labels := []string{"a", "b", "a-b", "cell", "zone", "0"}
	seen := map[string][3]string{}
	for _, unit := range labels {
		for _, namespace := range labels {
			for _, kind := range labels {
				name := topology.UnitClusterName(unit, namespace, kind)
				if other, twice := seen[name]; twice {
					t.Fatalf("%v and %v are both %s", other, []string{unit, namespace, kind}, name)
				}
				seen[name] = [3]string{unit, namespace, kind}
				if short, ok := topology.ShortName(name, namespace, kind); !ok || short != unit {
					t.Errorf("the short name of %s is %q, %v", name, short, ok)
				}
			}
		}
	}
}

func TestDifferentMemberNamespacesHaveDifferentClaims(t *testing.T) {
	seen := map[string]string{}
	for _, cluster := range []string{"a", "a.b", "b", "b.a", "a.a", "b-a"} {
		for _, namespace := range []string{"a", "b", "a-b"} {
			name := topology.ClaimName(cluster, namespace)
			if other, twice := seen[name]; twice {
				t.Fatalf("%s and %s/%s both claim as %s", other, cluster, namespace, name)
			}
			seen[name] = cluster + "/" + namespace
		}
	}
}

func TestTheLongestNamesStillFit(t *testing.T) {
	label := strings.Repeat("a", topology.MaxLabel)
	if errs := topology.ValidateUnitName(label); len(errs) > 0 {
		t.Errorf("a unit of %d characters is refused: %v", len(label), errs)
	}
	if errs := validation.IsDNS1123Subdomain(topology.UnitClusterName(label, label, label)); len(errs) > 0 {
		t.Errorf("the longest unit has no KubeFedCluster: %v", errs)
	}
	cluster := strings.Repeat("c.", topology.MaxClusterName/2) + "c"
	if len(cluster) != topology.MaxClusterName {
		t.Fatalf("the test's cluster name has %d characters", len(cluster))
	}
	if errs := topology.ValidateClusterName(cluster); len(errs) > 0 {
		t.Errorf("a member of %d characters is refused: %v", len(cluster), errs)
	}
	if errs := validation.IsDNS1123Subdomain(topology.ClaimName(cluster, label)); len(errs) > 0 {
		t.Errorf("the longest claim is no object name: %v", errs)
	}
}

func TestANameIsRefused(t *testing.T) {
	for name, errs := range map[string][]string{
		"a unit with a dot":           topology.ValidateUnitName("a.b"),
		"a unit of 64 characters":     topology.ValidateUnitName(strings.Repeat("a", 64)),
		"a unit with no name":         topology.ValidateUnitName(""),
		"the topology type cluster":   topology.ValidateTopologyType("cluster"),
		"a topology type with a dot":  topology.ValidateTopologyType("a.b"),
		"a member of 190 characters":  topology.ValidateClusterName(strings.Repeat("a", 190)),
		"a member with an upper case": topology.ValidateClusterName("Hz"),
	} {
		t.Run(name, func(t *testing.T) {
			if len(errs) == 0 {
				t.Error("nothing was said against it")
			}
		})
	}
}
