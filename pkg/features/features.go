package features

import (
	"fmt"
	"slices"
	"strings"
)

// Gate is the name of a feature gate.
type Gate string

// CellFed's gates.
const (
	Topologies            Gate = "Topologies"
	PlacementMask         Gate = "PlacementMask"
	TenantIsolation       Gate = "TenantIsolation"
	AnnotationPropagation Gate = "AnnotationPropagation"
	FieldRetention        Gate = "FieldRetention"
	HealthStatus          Gate = "HealthStatus"
	RequireTenantGrants   Gate = "RequireTenantGrants"
	PropagatedVersions    Gate = "PropagatedVersions"
)

// KubeFed's gates.
const (
	PushReconciler              Gate = "PushReconciler"
	SchedulerPreferences        Gate = "SchedulerPreferences"
	RawResourceStatusCollection Gate = "RawResourceStatusCollection"
)

// Stage tells how settled a feature is.
type Stage string

// Stages.
const (
	Alpha Stage = "Alpha"
	Beta  Stage = "Beta"
	GA    Stage = "GA"
)

// Spec is what there is to know of a gate.
type Spec struct {
	Gate Gate
	// Owner is who decides about the feature.
	Owner   string
	Stage   Stage
	Default bool
	// Description says in one line what the feature is.
	Description string
	// Off says in one line what happens while the gate is off.
	Off string
}

// specs are all gates, in the order of their names. A Gates has one bit for each.
var specs = []Spec{
	{AnnotationPropagation, "cellfed/propagation", Beta, true,
		"annotations of templates that FederatedTypeConfig.spec.propagatingAnnotations lists are written to members and enforced",
		"objects of types that list any are held"},
	{FieldRetention, "cellfed/propagation", Beta, true,
		"fields that FederatedTypeConfig.spec.retainedFields lists belong to the members",
		"objects of types that list any are held"},
	{HealthStatus, "cellfed/propagation", Beta, true,
		"status tells the health of every unit's copy",
		"health is left out of status; nothing is held, since nobody asks for it in a spec"},
	{PlacementMask, "cellfed/propagation", Beta, true,
		"spec.placementMask says where the plane may change anything now",
		"objects with a placementMask, an empty one too, are held"},
	{PropagatedVersions, "cellfed/propagation", Alpha, false,
		"KubeFed's PropagatedVersion and ClusterPropagatedVersion objects are kept, for tools that read them",
		"none are written"},
	{PushReconciler, "cellfed/propagation", Beta, true,
		"KubeFed's gate: federated objects are brought to members",
		"all federated objects are held"},
	{RawResourceStatusCollection, "cellfed/propagation", Beta, true,
		"KubeFed's gate: status holds the copies' own status, where the FederatedTypeConfig does not disable statusCollection",
		"remoteStatus is left out of status; nothing is held"},
	{RequireTenantGrants, "cellfed/tenancy", Alpha, false,
		"a member without grants and without tenancy labels is only for namespaces without these labels",
		"it is everybody's"},
	{SchedulerPreferences, "cellfed/propagation", Alpha, true,
		"KubeFed's gate: replicas are spread by ReplicaSchedulingPreferences",
		"accepted and without effect: the plane has no scheduler"},
	{TenantIsolation, "cellfed/tenancy", Beta, true,
		"an object reaches only units and members of its own tenant and workspace",
		"objects in namespaces with tenancy labels are held"},
	{Topologies, "cellfed/topology", Beta, true,
		"objects are placed by units: topologyType other than cluster",
		"objects placed by units are held"},
}

// All are the gates that there are, in the order of their names.
func All() []Spec { return slices.Clone(specs) }

// Names are the names of all gates, in order.
func Names() []string {
	names := make([]string, 0, len(specs))
	for i := range specs {
		names = append(names, string(specs[i].Gate))
	}
	return names
}

// index finds a gate; -1 = there is none of that name.
func index(name Gate) int {
	return slices.IndexFunc(specs, func(s Spec) bool { return s.Gate == name })
}

// UnknownError says that a name is no gate's, and which there are.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("there is no feature gate %q; the gates are %s", e.Name, strings.Join(Names(), ", "))
}

// Gates says which gates are on. The zero value is the defaults.
type Gates struct {
	// turned has a bit for each gate that is not as by default.
	turned uint64
}

// Enabled tells whether a gate is on. A name that is no gate's is off.
func (g Gates) Enabled(name Gate) bool {
	i := index(name)
	return i >= 0 && specs[i].Default != (g.turned&(1<<i) != 0)
}

// With returns the gates with one of them set.
func (g Gates) With(name string, on bool) (Gates, error) {
	i := index(Gate(name))
	if i < 0 {
		return g, &UnknownError{name}
	}
	g.turned &^= 1 << i
	if specs[i].Default != on {
		g.turned |= 1 << i
	}
	return g, nil
}

// WithAll returns the gates with some of them set. Names that are no gates' are left out and told, all of them.
func (g Gates) WithAll(settings map[string]bool) (Gates, []error) {
	var errs []error
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var err error
		if g, err = g.With(name, settings[name]); err != nil {
			errs = append(errs, err)
		}
	}
	return g, errs
}

// String lists the gates that are not as by default, as a command line would say them.
func (g Gates) String() string {
	var out []string
	for i := range specs {
		if g.turned&(1<<i) != 0 {
			out = append(out, fmt.Sprintf("%s=%t", specs[i].Gate, !specs[i].Default))
		}
	}
	return strings.Join(out, ",")
}
