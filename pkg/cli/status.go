package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const statusHelp = `Show how releases stand: units × revisions.

With KIND and NAME, or KIND/NAME: one row for each unit of that federated object.
With KIND alone: those of all objects of the kind in the namespace.
With neither: the members of the plane and the units of the namespace.

GENERATION is that of the unit's own object, HELD that the mask keeps the unit
as it is, BEHIND how many releases it has missed. STATUS is about what was
written there (OK: as asked, or held; else a code), HEALTH about what became
of it. -o wide shows revisions and messages in full.

KIND is what kubectl calls it: federateddeployment, federateddeployments,
fdeploy, federateddeployments.types.kubefed.io.

Exit codes: 0 shown, 1 tried and failed, 2 wrong usage.`

const statusExample = `  # Which cell holds which revision of an application
  kubectl cellfed status fdeploy web -n acme-prod

  # With the whole revision and message
  kubectl cellfed status federateddeployment/web -n acme-prod -o wide

  # For a program
  kubectl cellfed status fdeploy/web -n acme-prod -o json

  # Members and units
  kubectl cellfed status -n acme-prod`

type statusOptions struct {
	kind, name string
	namespace  string
	output     string

	out   io.Writer
	plane *cluster
}

func newStatusCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &statusOptions{output: outputTable, out: streams.Out}
	cmd := &cobra.Command{
		Use:     "status [KIND NAME | KIND/NAME | KIND]",
		Short:   "Show which unit holds which revision",
		Long:    statusHelp,
		Example: statusExample,
		Args:    func(_ *cobra.Command, args []string) error { return o.parse(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.namespace, _, err = flags.ToRawKubeConfigLoader().Namespace(); err != nil {
				return fmt.Errorf("reading how to reach the plane: %w", err)
			}
			if o.plane, err = planeClients(flags); err != nil {
				return err
			}
			if o.kind == "" {
				return o.overview(cmd.Context())
			}
			return o.run(cmd.Context())
		},
	}
	addOutputFlag(cmd, &o.output, outputTable, outputWide, outputJSON, outputYAML)
	return cmd
}

func (o *statusOptions) parse(args []string) error {
	switch {
	case len(args) > 2 || len(args) == 2 && strings.Contains(args[0]+args[1], "/"):
		return usagef("want KIND NAME or KIND/NAME, and got %s", strings.Join(args, " "))
	case len(args) == 2:
		o.kind, o.name = args[0], args[1]
	case len(args) == 1:
		kind, name, slash := strings.Cut(args[0], "/")
		if slash && (name == "" || strings.Contains(name, "/")) || kind == "" {
			return usagef("want KIND/NAME, and got %s", args[0])
		}
		o.kind, o.name = kind, name
	}
	return nil
}

// cell is one unit of one federated object.
type cell struct {
	Object     string `json:"object"`
	Unit       string `json:"unit"`
	Member     string `json:"member,omitempty"`
	Revision   string `json:"revision,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	Held       bool   `json:"held"`
	Status     string `json:"status"`
	Message    string `json:"message,omitempty"`
	Health     string `json:"health,omitempty"`
	// HealthMessage says why the health is what it is.
	HealthMessage string `json:"healthMessage,omitempty"`
	// HealthyRevision is the revision that the unit runs and is healthy with.
	HealthyRevision string `json:"healthyRevision,omitempty"`
	// Behind is how many releases the unit has missed.
	Behind int64 `json:"behind,omitempty"`
}

// release is one federated object and its cells.
type release struct {
	Kind               string `json:"kind"`
	Namespace          string `json:"namespace,omitempty"`
	Name               string `json:"name"`
	TopologyType       string `json:"topologyType"`
	Generation         int64  `json:"generation"`
	ObservedGeneration int64  `json:"observedGeneration"`
	Propagation        string `json:"propagation"`
	Reason             string `json:"reason,omitempty"`
	Message            string `json:"message,omitempty"`
	Healthy            string `json:"healthy,omitempty"`
	Units              []cell `json:"units"`
}

func (o *statusOptions) run(ctx context.Context) error {
	mapping, err := o.plane.federatedType(o.kind)
	if err != nil {
		return err
	}
	namespace := o.namespace
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		namespace = ""
	}
	objects, err := o.read(ctx, mapping, namespace)
	if err != nil {
		return err
	}
	members, err := o.membersOfUnits(ctx, namespace)
	if err != nil {
		return err
	}
	releases := make([]release, 0, len(objects))
	for _, u := range objects {
		releases = append(releases, readRelease(u, members))
	}
	if o.output == outputJSON || o.output == outputYAML {
		if o.name != "" {
			return printStructured(o.out, o.output, releases[0])
		}
		return printStructured(o.out, o.output, map[string]any{"items": releases})
	}
	if len(releases) == 0 {
		where := ""
		if namespace != "" {
			where = " in namespace " + namespace // which is often the one that was not given
		}
		_, err := fmt.Fprintf(o.out, "There is no %s%s.\n", mapping.GroupVersionKind.Kind, where)
		return err
	}
	return printReleases(o.out, releases, o.output == outputWide, o.name != "")
}

// federatedType finds the kind that the user means, in the form that speaks of units.
func (c *cluster) federatedType(said string) (*meta.RESTMapping, error) {
	resource := schema.ParseGroupResource(said)
	kind, err := c.mapper.KindFor(resource.WithVersion(""))
	if meta.IsNoMatchError(err) {
		// A kind by its name, as manifests write it.
		kind, err = c.mapper.KindFor(schema.GroupVersionResource{Group: resource.Group, Resource: strings.ToLower(resource.Resource)})
	}
	if meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("the plane does not know the kind %s: 'kubectl get federatedtypeconfigs -A' lists what is federated", said)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the kind %s: %w", said, err)
	}
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), wellknown.TopologyForm)
	if err != nil {
		return nil, fmt.Errorf("%s is no federated type: it has no version %s", kind.GroupKind(), wellknown.TopologyForm)
	}
	return mapping, nil
}

func (o *statusOptions) read(ctx context.Context, mapping *meta.RESTMapping, namespace string) ([]*unstructured.Unstructured, error) {
	if o.name != "" {
		u, err := o.plane.dynamic.Resource(mapping.Resource).Namespace(namespace).Get(ctx, o.name, metav1.GetOptions{})
		if err != nil {
			return nil, asObject(err, mapping, namespace, o.name)
		}
		return []*unstructured.Unstructured{u}, nil
	}
	var out []*unstructured.Unstructured
	err := eachOf(ctx, o.plane, mapping.Resource, namespace, func(u *unstructured.Unstructured) error {
		out = append(out, u.DeepCopy())
		return nil
	})
	return out, err
}

// membersOfUnits tells where units live, by their name and type. Who may not read units still sees the rest.
func (o *statusOptions) membersOfUnits(ctx context.Context, namespace string) (map[string]string, error) {
	if namespace == "" {
		return nil, nil
	}
	all, err := list[topologyv1alpha1.Unit](ctx, o.plane, units, namespace)
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, asPlane(err)
	}
	members := make(map[string]string, len(all))
	for _, u := range all {
		members[u.Name+"."+u.Spec.TopologyType] = u.Spec.Cluster
	}
	return members, nil
}

// readRelease reads a federated object in topology form, tolerantly: a garbled field shows as nothing.
func readRelease(u *unstructured.Unstructured, members map[string]string) release {
	r := release{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(), Generation: u.GetGeneration(), Propagation: "Unknown"}
	r.TopologyType, _, _ = unstructured.NestedString(u.Object, "spec", "topologyType")
	if r.TopologyType == "" {
		r.TopologyType = "cluster"
	}
	r.ObservedGeneration, _, _ = unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	for _, c := range listOf(u.Object, "status", "conditions") {
		switch c["type"] {
		case "Propagation":
			r.Propagation, _ = c["status"].(string)
			r.Reason, _ = c["reason"].(string)
			r.Message, _ = c["message"].(string)
		case "Healthy":
			r.Healthy, _ = c["status"].(string)
		}
	}
	reported := map[string]bool{}
	add := func(c cell) {
		c.Object = r.Name
		c.Member = c.Unit
		if r.TopologyType != "cluster" {
			c.Member = members[c.Unit+"."+r.TopologyType]
		}
		r.Units = append(r.Units, c)
		reported[c.Unit] = true
	}
	for _, m := range listOf(u.Object, "status", "topologies") {
		c := cell{Unit: nameOf(m), Status: "OK"}
		c.Revision, _ = m["revision"].(string)
		c.Generation, _ = m["generation"].(int64)
		c.Held, _ = m["held"].(bool)
		c.Message, _ = m["message"].(string)
		c.Health, _ = m["health"].(string)
		c.HealthMessage, _ = m["healthMessage"].(string)
		c.HealthyRevision, _ = m["healthyRevision"].(string)
		c.Behind, _ = m["behind"].(int64)
		if code, _ := m["status"].(string); code != "" {
			c.Status = code
		}
		add(c)
	}
	for _, m := range listOf(u.Object, "spec", "placement", "topologies") {
		if name := nameOf(m); !reported[name] {
			code, message := unreported(u, &r)
			add(cell{Unit: name, Status: code, Message: message})
		}
	}
	slices.SortStableFunc(r.Units, func(a, b cell) int { return strings.Compare(a.Unit, b.Unit) })
	return r
}

// unreported says why a unit that is named in the placement has no entry. The plane has one for every unit in which there
// is, or shall be, a copy: once it has seen the object, only the FederatedNamespace of the namespace keeps a unit out.
func unreported(u *unstructured.Unstructured, r *release) (code, message string) {
	switch {
	case r.ObservedGeneration < r.Generation || r.Reason == "OnHold":
		return "NotReported", "placed, and the plane has not reported on it yet"
	case u.GetDeletionTimestamp() != nil:
		return "Gone", "the object is being deleted, and has no copy here any more"
	}
	return "NotPlaced", "named, and kept out by the namespace's FederatedNamespace"
}

// nameOf is an entry's name in the topology form's own word, or in the cluster form's where that stands verbatim.
func nameOf(entry map[string]any) string {
	for _, key := range []string{"name", "clusterName"} {
		if s, _ := entry[key].(string); s != "" {
			return s
		}
	}
	return ""
}

// listOf reads a list of objects.
func listOf(obj map[string]any, path ...string) []map[string]any {
	value, _, _ := unstructured.NestedFieldNoCopy(obj, path...)
	entries, _ := value.([]any)
	var out []map[string]any
	for _, e := range entries {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}
