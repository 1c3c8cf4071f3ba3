package admission

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/topology"
)

// words are those of one form: what its author wrote and can find again.
type words struct {
	list         string // of a placement or mask
	selector     string // of a placement or mask
	overrideName string
	overrides    string
	verbatim     string // the key under which names of the other form stand
	full         bool   // units go by their full names
}

var (
	topologyWords = words{list: "topologies", selector: "topologySelector", overrideName: "topologyName",
		overrides: "topologyOverrides", verbatim: "clusterName"}
	clusterWords = words{list: "clusters", selector: "clusterSelector", overrideName: "clusterName",
		overrides: "clusterOverrides", verbatim: "topologyName", full: true}
)

// wordsOf tells which form a version is. Versions that CellFed does not make are KubeFed's.
func wordsOf(version string) words {
	if version == wellknown.TopologyForm {
		return topologyWords
	}
	return clusterWords
}

// unit says a unit's name as the author has to write it.
func (w words) unit(short, namespace, topologyType string) string {
	if w.full && topologyType != topology.TypeCluster {
		return topology.UnitClusterName(short, namespace, topologyType)
	}
	return short
}

// ref is a name of a unit, or of a member under topology type cluster, that an object mentions.
type ref struct {
	// name is the short name; for names that are none of this namespace's units, the full one.
	name string
	// good tells whether the name can be one of a unit of this object at all.
	good bool
	path *field.Path
}
