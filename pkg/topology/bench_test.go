package topology_test

import (
	"testing"

	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/test/conversion/objects"
)

func BenchmarkA64UnitObject(b *testing.B) {
	cluster := objects.Units(64, objects.Cluster)
	topo := objects.Units(64, objects.Topology)
	b.Run("to topology form", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			topology.ToTopologyForm(cluster)
		}
	})
	b.Run("to cluster form", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			topology.ToClusterForm(topo)
		}
	})
}
