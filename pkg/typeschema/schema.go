package typeschema

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

type props = apiextensionsv1.JSONSchemaProps

// form is what differs between the schemas of the two versions.
type form struct {
	version string
	stored  bool
	about   string // what the form is, in a sentence

	list, selector, overrides, overrideName string // the form's own words

	name             string // what a name means in an entry
	verbatimName     string // the other form's key of a name that this form has no word for
	verbatimSelector string
	verbatim         string // what such a name means
	selectorMeaning  string
	verbatimMeaning  string
}

var clusterForm = form{
	version: wellknown.ClusterForm, stored: true,
	about: "cluster form, which speaks of KubeFedClusters",
	list:  "clusters", selector: "clusterSelector", overrides: "clusterOverrides", overrideName: "clusterName",
	name:             "name of a KubeFedCluster; that of a unit is <unit>.<namespace>.<topologyType>",
	verbatimName:     "topologyName",
	verbatim:         "short name of a unit of this object's namespace and topologyType, where it was written short",
	verbatimSelector: "topologySelector",
	selectorMeaning:  "clusterSelector selects among all KubeFedClusters by their labels. It counts only where clusters is absent. Empty selects all.",
	verbatimMeaning:  "topologySelector selects among the units of this object's namespace and topologyType, where it was written so. It counts only where clusters and clusterSelector are absent.",
}

var topologyForm = form{
	version: wellknown.TopologyForm,
	about:   "topology form, which speaks of units by their short names",
	list:    "topologies", selector: "topologySelector", overrides: "topologyOverrides", overrideName: "topologyName",
	name:             "short name of a unit of this object's namespace and topologyType; with topologyType cluster, name of a KubeFedCluster",
	verbatimName:     "clusterName",
	verbatim:         "full name of a KubeFedCluster, where that is not the way to say it short",
	verbatimSelector: "clusterSelector",
	selectorMeaning:  "topologySelector selects among the units of this object's namespace and topologyType by their labels. It counts only where topologies is absent. Empty selects all of them.",
	verbatimMeaning:  "clusterSelector selects among all KubeFedClusters, where it was written so in cluster form. It counts only where topologies is absent.",
}

func version(f form, kind string, scalable bool) apiextensionsv1.CustomResourceDefinitionVersion {
	schema := f.root(kind, scalable)
	return apiextensionsv1.CustomResourceDefinitionVersion{
		Name:    f.version,
		Served:  true,
		Storage: f.stored,
		Schema:  &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &schema},
		Subresources: &apiextensionsv1.CustomResourceSubresources{
			Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
		},
		AdditionalPrinterColumns: columns(),
	}
}

// columns print strings of the status, because a column shows only the first result of its path.
func columns() []apiextensionsv1.CustomResourceColumnDefinition {
	return []apiextensionsv1.CustomResourceColumnDefinition{
		{Name: "Units", Type: "string", JSONPath: ".status.summary.units", Description: "How many of the placed units are as asked."},
		{Name: "Healthy", Type: "string", JSONPath: ".status.summary.healthy", Description: "How many of the placed units are healthy, held ones included."},
		{Name: "Held", Type: "string", JSONPath: ".status.summary.held", Description: "How many units the mask keeps at the revision they have."},
		{Name: "Propagation", Type: "string", JSONPath: ".status.conditions[?(@.type=='Propagation')].status", Description: "Whether every writable unit is as asked."},
		{Name: "Reason", Type: "string", Priority: 1, JSONPath: ".status.conditions[?(@.type=='Propagation')].reason", Description: "Why Propagation is not True."},
		{Name: "Type", Type: "string", Priority: 1, JSONPath: ".spec.topologyType", Description: "What the object is placed by; empty means cluster."},
		{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"},
	}
}

func (f form) root(kind string, scalable bool) props {
	s := object(fmt.Sprintf("A federated %s: what it should be in the members, where, and how it is there. This version is the %s.", kind, f.about), map[string]props{
		"apiVersion": str("Version of the schema that this object is written in."),
		"kind":       str("Kind of this object."),
		"metadata":   {Type: "object"},
		"spec":       f.spec(kind, scalable),
		"status":     f.status(),
	})
	// A federated object without a spec is most likely a plain one with a wrong kind.
	s.Required = []string{"spec"}
	return s
}

func (f form) spec(kind string, scalable bool) props {
	fields := map[string]props{
		"topologyType": str("topologyType is what the object is placed by: cluster, cell, or any other type that the plane is configured with. Absent means cluster. It cannot be changed."),
		"template":     anything(fmt.Sprintf("template is the %s to have in the members, without status. Its name and namespace are this object's.", kind)),
		"placement":    f.selection("placement says where the object should exist. Empty means nowhere."),
		"placementMask": f.selection("placementMask says where the plane may change anything now. Absent, it may everywhere; empty, nowhere. " +
			"Units outside the mask keep the revision they have."),
		"overrides": list("overrides are the differences of single units from the template.", f.override()),
	}
	if scalable {
		fields["retainReplicas"] = props{Type: "boolean", Description: "retainReplicas leaves spec.replicas to the members, for instance to their autoscalers."}
	}
	return object("spec is what the object should be.", fields)
}

func (f form) selection(description string) props {
	entry := f.named("An entry names one place.", "name", nil)
	return object(description, map[string]props{
		f.list:             list(f.list+" are the places by name. Where it is present, even empty, selectors do not count.", entry),
		f.selector:         selector(f.selectorMeaning),
		f.verbatimSelector: selector(f.verbatimMeaning),
	})
}

// named is an object with a name under exactly one of two keys: the form's own, or the other form's. Which one is part
// of what a user said, so no object has both.
func (f form) named(description, own string, fields map[string]props) props {
	all := map[string]props{
		own:            str(own + " is the " + f.name + "."),
		f.verbatimName: str(f.verbatimName + " is the " + f.verbatim + "."),
	}
	for key, p := range fields {
		all[key] = p
	}
	s := object(description, all)
	s.OneOf = []props{{Required: []string{own}}, {Required: []string{f.verbatimName}}}
	return s
}

func (f form) override() props {
	op := str("op is add, replace (the default) or remove.")
	op.Pattern = `^(add|remove|replace)?$`
	operation := object("An operation changes one field, in the manner of JSON Patch.", map[string]props{
		"op":    op,
		"path":  str("path is the JSON pointer of the field, for instance /spec/replicas."),
		"value": anyValue("value is what the field becomes; it may be null."),
	})
	operation.Required = []string{"path"}
	return f.named("An override changes the template for one unit.", f.overrideName, map[string]props{
		f.overrides: list(f.overrides+" are applied one after the other.", operation),
	})
}

func selector(description string) props {
	requirement := object("A requirement on a label.", map[string]props{
		"key":      str("key is the label's."),
		"operator": str("operator is In, NotIn, Exists or DoesNotExist."),
		"values":   list("values are those of In and NotIn.", props{Type: "string"}),
	})
	requirement.Required = []string{"key", "operator"}
	s := object(description, map[string]props{
		"matchLabels": {
			Type: "object", Description: "matchLabels are labels that must have these values.",
			AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &props{Type: "string"}},
		},
		"matchExpressions": list("matchExpressions are further requirements. All of them must be met.", requirement),
	})
	// One owner: half of one manager's selector and half of another's would select what neither asked for.
	atomic := "atomic"
	s.XMapType = &atomic
	return s
}

func (f form) status() props {
	condition := object("A condition tells one thing about the object.", map[string]props{
		"type":               str("type is Propagation (every writable unit is as asked), Held (there are units outside the mask that differ), Healthy (every writable unit is as asked and healthy with it) or Contested (somebody in a member keeps changing what is asked for)."),
		"status":             str("status is True, False or Unknown."),
		"reason":             str("reason is one word for programs."),
		"message":            str("message is for humans."),
		"observedGeneration": integer("observedGeneration is the generation that the condition is about."),
		"lastUpdateTime":     dateTime("lastUpdateTime is when the condition was last written."),
		"lastTransitionTime": dateTime("lastTransitionTime is when status or reason last changed."),
	})
	condition.Required = []string{"type", "status"}
	entry := f.named("How one unit is.", "name", map[string]props{
		"status":              str("status is a code for what is wrong in this unit; absent means that nothing is."),
		"message":             str("message tells a human what is wrong."),
		"generation":          integer("generation is that of the member's object."),
		"revision":            str("revision is the content that was last written to the unit and confirmed."),
		"version":             str("version names what the member's object held after it was last written: another one there means that somebody changed it."),
		"inventory":           {Type: "boolean", Description: "inventory tells that the unit may hold a copy. It is recorded before the first write, and falls when the member itself said that nothing is there."},
		"cluster":             str("cluster is the member that the inventory is about."),
		"memberNamespace":     str("memberNamespace is the namespace in that member that the inventory is about."),
		"clusterID":           str("clusterID is the identity of that member: another cluster under the same name is another place."),
		"health":              str("health is Healthy, Progressing, Degraded or Unknown, judged from the member's object alone; absent where there never was a copy. Kinds without a status are healthy when they are there."),
		"healthMessage":       str("healthMessage tells a human why the health is what it is."),
		"healthyRevision":     str("healthyRevision is the revision that the unit runs, once it is healthy with it: wait for it to be the one that was released."),
		"behind":              integer("behind is how many releases of the object the unit has missed; absent when it runs what is asked for."),
		"held":                {Type: "boolean", Description: "held tells that the mask keeps the unit at the revision it has."},
		"remoteStatus":        anything("remoteStatus is the status of the member's object."),
		"remoteStatusOmitted": str("remoteStatusOmitted tells what of remoteStatus was left out for its size, and where to read it whole."),
	})
	return object("status is how the object is in the members.", map[string]props{
		"observedGeneration": integer("observedGeneration is the generation that the status is about."),
		"summary": object("summary is the status in short, for tables.", map[string]props{
			"units":   str("units is how many of the placed units are as asked, for instance 3/4."),
			"held":    str("held is how many units the mask keeps at the revision they have."),
			"healthy": str("healthy is how many of the placed units are healthy with the revision they run, for instance 3/4; held ones count."),
		}),
		"conditions": list("conditions tell about the object as a whole.", condition),
		f.list:       list(f.list+" tell about each place.", entry),
	})
}

func object(description string, fields map[string]props) props {
	return props{Type: "object", Description: description, Properties: fields}
}

// list is an atomic list: entries may repeat, and their order is the user's.
func list(description string, of props) props {
	atomic := "atomic"
	return props{
		Type: "array", Description: description, XListType: &atomic,
		Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &of},
	}
}

func str(description string) props { return props{Type: "string", Description: description} }

func integer(description string) props {
	return props{Type: "integer", Format: "int64", Description: description}
}

func dateTime(description string) props {
	return props{Type: "string", Format: "date-time", Description: description}
}

func anything(description string) props {
	yes := true
	return props{Type: "object", Description: description, XPreserveUnknownFields: &yes}
}

// anyValue is nullable because an API server drops the nulls of all other fields, and a null is a value here.
func anyValue(description string) props {
	yes := true
	return props{Description: description, XPreserveUnknownFields: &yes, Nullable: true}
}
