package topology

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// TypeCluster is the topology type of objects that are placed by physical members. No unit has it.
const TypeCluster = "cluster"

// Limits of names. Three labels with two dots are 191 characters at most, so a unit's KubeFedCluster always fits the 253
// of an object name.
const (
	// MaxLabel is the longest name of a unit, namespace or topology type.
	MaxLabel = validation.DNS1123LabelMaxLength
	// MaxClusterName is the longest name of a physical member for which every claim still has a name.
	MaxClusterName = validation.DNS1123SubdomainMaxLength - MaxLabel - 1
)

// UnitClusterName names the KubeFedCluster of a unit. Labels hold no dots, so different units have different names.
func UnitClusterName(unit, namespace, topologyType string) string {
	return unit + Suffix(namespace, topologyType)
}

// Suffix is what the names of the KubeFedClusters of all units of one type in one namespace end in.
func Suffix(namespace, topologyType string) string {
	return "." + namespace + "." + topologyType
}

// ShortName is the unit's own part of a full cluster name, if that is the name of a unit of this type in this namespace.
func ShortName(clusterName, namespace, topologyType string) (unit string, ok bool) {
	return strings.CutSuffix(clusterName, Suffix(namespace, topologyType))
}

// ParseUnitClusterName takes a unit's full name apart. It is ok only for three DNS labels, of which the last is not
// "cluster": nothing else is ever the name of a unit.
func ParseUnitClusterName(name string) (unit, namespace, topologyType string, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 || parts[2] == TypeCluster {
		return "", "", "", false
	}
	for _, part := range parts {
		if len(validation.IsDNS1123Label(part)) > 0 {
			return "", "", "", false
		}
	}
	return parts[0], parts[1], parts[2], true
}

// ValidateUnitName says what is wrong with a unit's short name; nothing is wrong with a DNS label.
func ValidateUnitName(name string) []string {
	return validation.IsDNS1123Label(name)
}

// ValidateTopologyType says what is wrong with the name of a topology type that units are to have.
func ValidateTopologyType(name string) []string {
	if name == TypeCluster {
		return []string{fmt.Sprintf("must not be %q, which stands for the physical members themselves", TypeCluster)}
	}
	return validation.IsDNS1123Label(name)
}

// ValidateClusterName says what is wrong with the name of a physical member that is to hold units.
func ValidateClusterName(name string) []string {
	if len(name) > MaxClusterName {
		return []string{fmt.Sprintf("must be no more than %d characters, so that its namespaces can be claimed", MaxClusterName)}
	}
	return validation.IsDNS1123Subdomain(name)
}

// ClaimName names the claim on a namespace of a member. The namespace, a label, ends at the first dot: different pairs
// have different names.
func ClaimName(cluster, memberNamespace string) string {
	return memberNamespace + "." + cluster
}

// SelectorRequirements are the two label requirements that keep a topologySelector to the units of one type in one
// namespace, as unstructured JSON, newly made.
func SelectorRequirements(topologyType, namespace string) []any {
	return []any{
		requirement(wellknown.TopologyTypeLabel, topologyType),
		requirement(wellknown.TopologyNamespaceLabel, namespace),
	}
}

func requirement(key, value string) map[string]any {
	return map[string]any{"key": key, "operator": "In", "values": []any{value}}
}
