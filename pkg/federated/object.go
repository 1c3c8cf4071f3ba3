package federated

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/topology"
)

// Object is a federated object in cluster form, read once.
type Object struct {
	Kind, Namespace, Name string
	UID                   string
	Generation            int64

	Deleting     bool
	HasFinalizer bool
	// Orphan asks to leave the copies where they are when the object is deleted.
	Orphan bool
	// DeleteOptions are the options that the copies are deleted with, as JSON, unread; "" = none.
	DeleteOptions string
	// Adopt asks to take over objects that are there already.
	Adopt bool

	// TopologyType is "cluster" where the object does not say it.
	TopologyType   string
	Template       map[string]any
	Placement      Selection
	Mask           *Selection // nil = no mask
	Overrides      map[string][]any
	RetainReplicas bool

	Status Status

	// Faults are what could not be read. An object with faults is held.
	Faults []Fault
}

// Fault is one thing in a stored object that cannot be read.
type Fault struct {
	Path    string
	Message string
}

func (f Fault) String() string { return f.Path + ": " + f.Message }

// Selection is a placement or a mask: names, or else a selector. KubeFed's rule: names that are there, even an empty
// list, win over the selector; neither selects nothing.
type Selection struct {
	Named    bool
	Names    []string // full cluster names, in order, as written
	Selector labels.Selector
}

// Status is what the object's status says of its units.
type Status struct {
	ObservedGeneration int64
	Units              []UnitStatus
	Conditions         []Condition
}

// UnitStatus is one entry of status.clusters.
type UnitStatus struct {
	Name       string
	Code       string
	Message    string
	Generation int64
	Revision   string
	Version    string
	Held       bool
	// Inventory: the unit may hold a copy. It is recorded before the first write and falls when the member itself said
	// that nothing is there; an entry without it only tells why nothing was done.
	Inventory bool
	// Cluster and MemberNamespace are the member, and the namespace there, that the inventory is about.
	Cluster, MemberNamespace string
	// ClusterID is the identity of that member; "" = it was not known when the unit was recorded.
	ClusterID string
	// Health of the copy, why, and the revision with which it is healthy; "" = not judged, or not healthy.
	Health, HealthMessage, HealthyRevision string
	// Behind is how many releases the unit has missed.
	Behind       int64
	RemoteStatus map[string]any
	// RemoteStatusOmitted tells what of RemoteStatus was left out.
	RemoteStatusOmitted string
}

// Condition is one entry of status.conditions, as KubeFed shapes it, with message and observedGeneration.
type Condition struct {
	Type, Status, Reason, Message      string
	ObservedGeneration                 int64
	LastUpdateTime, LastTransitionTime string
}

// Unit returns the entry of a unit by its full cluster name.
func (s *Status) Unit(name string) (UnitStatus, bool) {
	for i := range s.Units {
		if s.Units[i].Name == name {
			return s.Units[i], true
		}
	}
	return UnitStatus{}, false
}

// Condition returns the condition of a type.
func (s *Status) Condition(t string) (Condition, bool) {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return s.Conditions[i], true
		}
	}
	return Condition{}, false
}

// Read makes the typed view. It shares maps with u, which nobody may change afterwards.
func Read(u *unstructured.Unstructured) *Object {
	o := &Object{
		Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(),
		UID: string(u.GetUID()), Generation: u.GetGeneration(),
		Deleting: u.GetDeletionTimestamp() != nil,
	}
	for _, f := range u.GetFinalizers() {
		o.HasFinalizer = o.HasFinalizer || f == wellknown.SyncFinalizer
	}
	annotations := u.GetAnnotations()
	o.Orphan = annotations[wellknown.OrphanAnnotation] == "true"
	o.DeleteOptions = annotations[wellknown.DeleteOptionAnnotation]
	o.Adopt = annotations[wellknown.AdoptAnnotation] == "true"

	spec := o.object(u.Object, "spec", "spec")
	o.TopologyType = topology.TypeCluster
	if t, ok := spec["topologyType"].(string); ok && t != "" {
		o.TopologyType = t
	} else if raw := spec["topologyType"]; raw != nil && !ok {
		o.fault("spec.topologyType", "is %T, not a string", raw)
	}
	o.Template = o.object(spec, "template", "spec.template")
	o.Placement = o.selection(o.object(spec, "placement", "spec.placement"), "spec.placement")
	if raw, present := spec["placementMask"]; present && raw != nil {
		mask := o.selection(o.object(spec, "placementMask", "spec.placementMask"), "spec.placementMask")
		o.Mask = &mask
	}
	o.readOverrides(spec)
	if raw, present := spec["retainReplicas"]; present && raw != nil {
		var ok bool
		if o.RetainReplicas, ok = raw.(bool); !ok {
			o.fault("spec.retainReplicas", "is %T, not true or false", raw)
		}
	}
	o.Status = readStatus(u.Object)
	return o
}

func (o *Object) fault(path, format string, args ...any) {
	o.Faults = append(o.Faults, Fault{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (o *Object) object(in map[string]any, key, path string) map[string]any {
	raw, present := in[key]
	if !present || raw == nil {
		return nil
	}
	m, ok := raw.(map[string]any)
	if !ok {
		o.fault(path, "is %T, not an object", raw)
	}
	return m
}

func (o *Object) list(in map[string]any, key, path string) ([]any, bool) {
	raw, present := in[key]
	if !present || raw == nil {
		return nil, false
	}
	l, ok := raw.([]any)
	if !ok {
		o.fault(path, "is %T, not a list", raw)
	}
	return l, true
}

// fullName reads an entry's name in the cluster form: its own word, or the topology form's word that stands verbatim.
func (o *Object) fullName(entry any, own, path string) string {
	m, ok := entry.(map[string]any)
	if !ok {
		o.fault(path, "is %T, not an object", entry)
		return ""
	}
	if s, ok := m[own].(string); ok && s != "" {
		return s
	}
	if s, ok := m["topologyName"].(string); ok && s != "" {
		if o.TopologyType == topology.TypeCluster {
			return s
		}
		return topology.UnitClusterName(s, o.Namespace, o.TopologyType)
	}
	o.fault(path, "names nothing")
	return ""
}

func (o *Object) selection(in map[string]any, path string) Selection {
	var s Selection
	entries, named := o.list(in, "clusters", path+".clusters")
	s.Named = named
	for i, e := range entries {
		if n := o.fullName(e, "name", fmt.Sprintf("%s.clusters[%d]", path, i)); n != "" {
			s.Names = append(s.Names, n)
		}
	}
	own := o.selector(in, "clusterSelector", path)
	verbatim := o.selector(in, "topologySelector", path)
	if verbatim != nil {
		verbatim = o.scoped(verbatim, path+".topologySelector")
	}
	s.Selector = own
	switch {
	case own == nil:
		s.Selector = verbatim
	case verbatim != nil && !sameRequirements(o.scoped(own, path), verbatim):
		// Conversion leaves both only where they say the same. Choosing between two that differ would be guessing where
		// to release.
		o.fault(path, "clusterSelector and topologySelector select differently: keep one of them")
	}
	return s
}

// selector reads a label selector; nil = there is none that can be read.
func (o *Object) selector(in map[string]any, key, path string) labels.Selector {
	path += "." + key
	raw := o.object(in, key, path)
	if raw == nil {
		return nil
	}
	if where, what := garbledLabels(raw); what != "" {
		o.fault(path+where, "%s", what)
		return nil
	}
	parsed := &metav1.LabelSelector{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw, parsed, true); err != nil {
		o.fault(path, "%v", err)
		return nil
	}
	s, err := metav1.LabelSelectorAsSelector(parsed)
	if err != nil {
		o.fault(path, "%v", err)
		return nil
	}
	return s
}

// garbledLabels finds the first fault in a selector's matchLabels, by key: the same object must have the same faults
// whenever it is read, and a map is walked in any order.
func garbledLabels(selector map[string]any) (where, what string) {
	m, _ := selector["matchLabels"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		value, ok := m[key].(string)
		if !ok {
			return ".matchLabels[" + key + "]", fmt.Sprintf("is %T, not a string", m[key])
		}
		if _, err := labels.NewRequirement(key, selection.Equals, []string{value}); err != nil {
			return ".matchLabels[" + key + "]", "is no label: " + err.Error()
		}
	}
	return "", ""
}

// scoped is a selector that admits units of the object's type and namespace only.
func (o *Object) scoped(s labels.Selector, path string) labels.Selector {
	if o.TopologyType == topology.TypeCluster {
		return s
	}
	for _, own := range [][2]string{{wellknown.TopologyTypeLabel, o.TopologyType}, {wellknown.TopologyNamespaceLabel, o.Namespace}} {
		r, err := labels.NewRequirement(own[0], selection.In, []string{own[1]})
		if err != nil {
			o.fault(path, "%v", err)
			return s
		}
		s = s.Add(*r)
	}
	return s
}

func sameRequirements(a, b labels.Selector) bool {
	set := func(s labels.Selector) map[string]bool {
		out := map[string]bool{}
		all, _ := s.Requirements()
		for _, r := range all {
			out[r.String()] = true
		}
		return out
	}
	return maps.Equal(set(a), set(b))
}

func (o *Object) readOverrides(spec map[string]any) {
	entries, _ := o.list(spec, "overrides", "spec.overrides")
	if len(entries) == 0 {
		return
	}
	o.Overrides = make(map[string][]any, len(entries))
	for i, e := range entries {
		path := fmt.Sprintf("spec.overrides[%d]", i)
		name := o.fullName(e, "clusterName", path)
		if name == "" {
			continue
		}
		ops, _ := o.list(e.(map[string]any), "clusterOverrides", path+".clusterOverrides")
		if _, twice := o.Overrides[name]; twice {
			o.fault(path, "a second entry for %s: merge the two", name)
			continue
		}
		o.Overrides[name] = ops
	}
}

func readStatus(obj map[string]any) Status {
	var s Status
	in, _ := obj["status"].(map[string]any)
	s.ObservedGeneration, _ = in["observedGeneration"].(int64)
	entries, _ := in["clusters"].([]any)
	for _, e := range entries {
		if m, _ := e.(map[string]any); entryName(m) != "" {
			s.Units = append(s.Units, readUnit(m))
		}
	}
	conditions, _ := in["conditions"].([]any)
	for _, e := range conditions {
		m, _ := e.(map[string]any)
		var c Condition
		c.Type, _ = m["type"].(string)
		c.Status, _ = m["status"].(string)
		c.Reason, _ = m["reason"].(string)
		c.Message, _ = m["message"].(string)
		c.ObservedGeneration, _ = m["observedGeneration"].(int64)
		c.LastUpdateTime, _ = m["lastUpdateTime"].(string)
		c.LastTransitionTime, _ = m["lastTransitionTime"].(string)
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

// UnitOf is what an object's status says of one unit. It reads nothing else, for those who ask about many copies.
func UnitOf(u *unstructured.Unstructured, name string) (UnitStatus, bool) {
	status, _ := u.Object["status"].(map[string]any)
	entries, _ := status["clusters"].([]any)
	for _, e := range entries {
		if m, _ := e.(map[string]any); name != "" && entryName(m) == name {
			return readUnit(m), true
		}
	}
	return UnitStatus{}, false
}

func entryName(m map[string]any) string {
	name, _ := m["name"].(string)
	return name
}

func readUnit(m map[string]any) UnitStatus {
	u := UnitStatus{Name: entryName(m)}
	u.Code, _ = m["status"].(string)
	u.Message, _ = m["message"].(string)
	u.Generation, _ = m["generation"].(int64)
	u.Revision, _ = m["revision"].(string)
	u.Version, _ = m["version"].(string)
	u.Held, _ = m["held"].(bool)
	u.Inventory, _ = m["inventory"].(bool)
	u.Cluster, _ = m["cluster"].(string)
	u.MemberNamespace, _ = m["memberNamespace"].(string)
	u.ClusterID, _ = m["clusterID"].(string)
	u.Health, _ = m["health"].(string)
	u.HealthMessage, _ = m["healthMessage"].(string)
	u.HealthyRevision, _ = m["healthyRevision"].(string)
	u.Behind, _ = m["behind"].(int64)
	u.RemoteStatus, _ = m["remoteStatus"].(map[string]any)
	u.RemoteStatusOmitted, _ = m["remoteStatusOmitted"].(string)
	return u
}
