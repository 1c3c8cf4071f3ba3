package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/placement"
	"github.com/cellfed/cellfed/pkg/topology"
)

// oneObject is how a command line names one federated object.
type oneObject struct {
	kind, name string // kind "" = the one kind that has an object of this name
	namespace  string
}

func (o *oneObject) parse(args []string) error {
	switch {
	case len(args) == 0 || len(args) > 2 || len(args) == 2 && strings.Contains(args[0]+args[1], "/"):
		return usagef("want NAME, KIND NAME or KIND/NAME, and got %q", strings.Join(args, " "))
	case len(args) == 2:
		o.kind, o.name = args[0], args[1]
	default:
		kind, name, slash := strings.Cut(args[0], "/")
		if !slash {
			kind, name = "", args[0]
		}
		if slash && kind == "" || name == "" || strings.Contains(name, "/") {
			return usagef("want NAME, KIND NAME or KIND/NAME, and got %q", args[0])
		}
		o.kind, o.name = kind, name
	}
	return nil
}

// target is one federated object as it was read.
type target struct {
	// resource serves the topology form.
	resource schema.GroupVersionResource
	// stored is in topology form, as the plane gave it.
	stored *unstructured.Unstructured
	// object is the same, read in the cluster form, in which revisions are made.
	object *federated.Object
}

// read finds the object on the plane.
func (o *oneObject) read(ctx context.Context, plane *cluster) (*target, error) {
	mapping, err := o.mapping(ctx, plane)
	if err != nil {
		return nil, err
	}
	namespace := o.namespace
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		namespace = ""
	}
	u, err := plane.dynamic.Resource(mapping.Resource).Namespace(namespace).Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return nil, asObject(err, mapping, namespace, o.name)
	}
	return &target{resource: mapping.Resource, stored: u, object: readTopologyForm(u)}, nil
}

// asObject is an error of reading one federated object. That there is none is told with the namespace, which is often the
// one that was not given.
func asObject(err error, mapping *meta.RESTMapping, namespace, name string) error {
	switch {
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("reading %s: %w", artefactName(mapping.Resource, name), err)
	case namespace == "":
		return fmt.Errorf("there is no %s %s", mapping.GroupVersionKind.Kind, name)
	}
	return fmt.Errorf("there is no %s %s in namespace %s", mapping.GroupVersionKind.Kind, name, namespace)
}

// readTopologyForm reads an object of the topology form as the plane does, which keeps the cluster form.
func readTopologyForm(u *unstructured.Unstructured) *federated.Object {
	return federated.Read(&unstructured.Unstructured{Object: topology.ToClusterForm(u.Object)})
}

// mapping is that of the kind that was said; without one, of the only kind that has an object of the name.
func (o *oneObject) mapping(ctx context.Context, plane *cluster) (*meta.RESTMapping, error) {
	if o.kind != "" {
		return plane.federatedType(o.kind)
	}
	kinds, err := plane.federatedKinds()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, kind := range kinds {
		_, err := plane.dynamic.Resource(kind).Namespace(o.namespace).Get(ctx, o.name, metav1.GetOptions{})
		switch {
		case err == nil:
			found = append(found, kind.GroupResource().String())
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
			return nil, fmt.Errorf("reading %s: %w", artefactName(kind, o.name), err)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no federated object %s in namespace %s", o.name, o.namespace)
	case 1:
		return plane.federatedType(found[0])
	}
	return nil, fmt.Errorf("several federated objects are called %s: say which one, %s/%s", o.name, strings.Join(found, "/"+o.name+" or "), o.name)
}

// federatedKinds are the namespaced kinds of the plane that are served in the topology form.
func (c *cluster) federatedKinds() ([]schema.GroupVersionResource, error) {
	lists, err := c.namespacedKinds()
	if len(lists) == 0 && err != nil {
		return nil, fmt.Errorf("asking the plane for its types: %w", err)
	}
	var out []schema.GroupVersionResource
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil || gv.Version != wellknown.TopologyForm {
			continue
		}
		for _, r := range list.APIResources {
			if slices.Contains(r.Verbs, "get") && !strings.Contains(r.Name, "/") {
				out = append(out, gv.WithResource(r.Name))
			}
		}
	}
	return out, nil
}

// short is a unit's name as the topology form says it.
func (t *target) short(full string) string {
	if t.object.TopologyType == topology.TypeCluster {
		return full
	}
	if name, ok := topology.ShortName(full, t.object.Namespace, t.object.TopologyType); ok {
		return name
	}
	return full
}

// full is the full name of a unit that is called by either name.
func (t *target) full(name string) string {
	if t.object.TopologyType == topology.TypeCluster || strings.HasSuffix(name, topology.Suffix(t.object.Namespace, t.object.TopologyType)) {
		return name
	}
	return topology.UnitClusterName(name, t.object.Namespace, t.object.TopologyType)
}

func (t *target) String() string {
	return t.object.Kind + " " + qualified(t.object.Namespace, t.object.Name)
}

// candidates are the units, or members, that a selector of the object selects among.
func (t *target) candidates(ctx context.Context, plane *cluster) ([]placement.Unit, error) {
	var out []placement.Unit
	if t.object.TopologyType == topology.TypeCluster {
		all, err := list[corev1beta1.KubeFedCluster](ctx, plane, kubeFedClusters, wellknown.FederationNamespace)
		if err != nil {
			return nil, err
		}
		for i := range all {
			out = append(out, placement.Unit{Name: all[i].Name, Labels: all[i].Labels})
		}
		return out, nil
	}
	all, err := list[topologyv1alpha1.Unit](ctx, plane, units, t.object.Namespace)
	if err != nil {
		return nil, err
	}
	for _, u := range all {
		if u.Spec.TopologyType != t.object.TopologyType {
			continue
		}
		// As the plane labels the unit's KubeFedCluster, which selectors are about.
		labels := map[string]string{}
		for k, v := range u.Labels {
			labels[k] = v
		}
		labels[wellknown.TopologyTypeLabel], labels[wellknown.TopologyNamespaceLabel], labels[wellknown.TopologyUnitLabel] = u.Spec.TopologyType, u.Namespace, u.Name
		out = append(out, placement.Unit{Name: t.full(u.Name), Labels: labels})
	}
	return out, nil
}
