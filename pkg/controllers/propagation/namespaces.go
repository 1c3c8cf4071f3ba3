package propagation

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// Namespaces are the one type whose federated object lives in a namespace while its copies do not: the FederatedNamespace
// <ns>/<ns> places namespace <ns> itself. In a unit its copy is the unit's member namespace, whatever that is called.
// It does two more things: it narrows where the objects of its namespace may be placed, and it goes last.

var namespacesResource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// namespacesConfig is the name of the FederatedTypeConfig of namespaces.
const namespacesConfig = "namespaces"

// ofNamespaces tells whether the type is that of namespaces.
func (t Type) ofNamespaces() bool { return t.Target == namespacesResource && t.FederatedNamespaced }

// neverPropagated tells whether a namespace is one that every cluster has of its own, or the plane's.
func neverPropagated(namespace string) bool {
	return namespace == "default" || tenancy.IsSystem(namespace)
}

// asNamespace makes of a FederatedNamespace's candidates what they are for it: the copy in each goes by the name that the
// unit's namespace has there, and system namespaces are no place for one.
func asNamespace(units []plan.Unit) {
	for i := range units {
		u := &units[i]
		u.CopyName = u.MemberNamespace
		if neverPropagated(u.CopyName) {
			u.Problem = &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("namespace %s of a member is its own: it is never propagated", u.CopyName)}
		}
	}
}

// namespaceHold says why a FederatedNamespace is not propagated at all; nil = it is.
func namespaceHold(o *federated.Object) *plan.Why {
	switch {
	case o.Name != o.Namespace:
		return &plan.Why{Code: plan.CodeInvalidName, Message: fmt.Sprintf("a FederatedNamespace is named like its namespace: make %s/%s instead of %s/%s",
			o.Namespace, o.Namespace, o.Namespace, o.Name)}
	case neverPropagated(o.Namespace):
		return &plan.Why{Code: plan.CodeOnHold, Message: fmt.Sprintf("namespace %s is never propagated: every cluster has its own", o.Namespace)}
	}
	return nil
}

// gatherNamespace adds what an object's namespace has to say about it.
func (k *carrier) gatherNamespace(ctx context.Context, in *plan.Input) error {
	o := in.Object
	switch {
	case o.Namespace == "":
		return nil
	case k.typ.ofNamespaces():
		asNamespace(in.Units)
		if in.Hold == nil {
			in.Hold = namespaceHold(o)
		}
		return nil
	case o.Deleting:
		return nil // placed nowhere
	}
	ns, err := k.namespaceObject(ctx, o.Namespace)
	if err != nil {
		return fmt.Errorf("finding out whether namespace %s has a FederatedNamespace: %w", o.Namespace, err)
	}
	in.NamespaceObject = ns
	in.StrictNamespaces = k.opts.StrictNamespaces != nil && k.opts.StrictNamespaces()
	return nil
}

// namespaceObject is the FederatedNamespace of a namespace; nil = there surely is none. Where no watch can tell, the plane
// is asked: taking one that is not known yet for one that is not there would place objects where it does not admit them.
func (c *Controller) namespaceObject(ctx context.Context, namespace string) (*federated.Object, error) {
	for _, k := range c.carriers() {
		if !k.typ.ofNamespaces() || !k.informer.HasSynced() {
			continue
		}
		u, err := k.load(objectKey{namespace, namespace})
		if err != nil || u == nil {
			return nil, err
		}
		return federated.Read(u), nil
	}
	return c.liveNamespaceObject(ctx, namespace)
}

// liveNamespaceObject is the FederatedNamespace of a namespace as the plane has it; nil = there is none.
func (c *Controller) liveNamespaceObject(ctx context.Context, namespace string) (*federated.Object, error) {
	ftc := &corev1beta1.FederatedTypeConfig{}
	err := c.opts.Client.Get(ctx, client.ObjectKey{Namespace: wellknown.FederationNamespace, Name: namespacesConfig}, ftc)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := typeschema.WithDefaults(ftc).Spec.FederatedType
	u, err := c.opts.Dynamic.Resource(schema.GroupVersionResource{Group: t.Group, Version: wellknown.ClusterForm, Resource: t.PluralName}).
		Namespace(namespace).Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil // nor is there one while the type is not served
	}
	if err != nil {
		return nil, err
	}
	return federated.Read(u), nil
}

// withLiveNamespace computes once more, before an object is placed somewhere for the first time, with the FederatedNamespace
// as the plane has it. Whoever applies both at once has made the FederatedNamespace first, but its watch is not the
// object's: what it does not show yet must not be placed everywhere for a moment.
func (k *carrier) withLiveNamespace(ctx context.Context, in *plan.Input, p plan.Plan) (plan.Plan, error) {
	if len(p.Intent) == 0 || in.Object.Namespace == "" || k.typ.ofNamespaces() {
		return p, nil
	}
	ns, err := k.liveNamespaceObject(ctx, in.Object.Namespace)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("finding out whether namespace %s has a FederatedNamespace: %w", in.Object.Namespace, err)
	}
	if ns == nil && in.NamespaceObject == nil {
		return p, nil
	}
	in.NamespaceObject = ns
	return plan.Compute(*in), nil
}

// namespaceEvents look again at the objects of a namespace when what its FederatedNamespace asks for changes.
func (k *carrier) namespaceEvents() toolscache.ResourceEventHandler {
	tell := func(obj any) {
		if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if u, ok := obj.(*unstructured.Unstructured); ok && u.GetName() == u.GetNamespace() {
			k.UnitChanged(u.GetNamespace())
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: tell, DeleteFunc: tell,
		UpdateFunc: func(before, after any) {
			b, _ := before.(*unstructured.Unstructured)
			a, _ := after.(*unstructured.Unstructured)
			if a == nil || b == nil || a.GetGeneration() != b.GetGeneration() || (a.GetDeletionTimestamp() == nil) != (b.GetDeletionTimestamp() == nil) {
				tell(after)
			}
		},
	}
}

// namespaceCopyEvent enqueues the FederatedNamespaces whose copy may be a member namespace that changed.
func (k *carrier) namespaceCopyEvent(memberName, copyName string, observed *unstructured.Unstructured) {
	consider := func(namespace, unit, topologyType string) {
		key := objectKey{namespace, namespace}
		obj, there, err := k.informer.GetStore().GetByKey(key.String())
		if err != nil || !there || topologyOf(obj) != topologyType {
			return
		}
		if k.ledger.Watched(k.ledgerKey(key), unit, observed) {
			k.queue.Add(key)
		}
	}
	consider(copyName, memberName, topology.TypeCluster)
	for _, u := range k.unitsAt(memberName, copyName) {
		consider(u.Namespace, topology.UnitClusterName(u.Name, u.Namespace, u.Spec.TopologyType), u.Spec.TopologyType)
	}
}

// unitsAt are the units that live in a namespace of a member. They are the cache's own: read only.
func (c *Controller) unitsAt(memberName, namespace string) []topologyv1alpha1.Unit {
	units := &topologyv1alpha1.UnitList{}
	//nolint:forbidigo // The cache answers from memory, at once; a watch's handler has no context to give it.
	if err := c.opts.Client.List(context.Background(), units, client.UnsafeDisableDeepCopy,
		client.MatchingFields{MemberNamespaceIndex: memberNamespaceKey(memberName, namespace)}); err != nil {
		utilruntime.HandleError(fmt.Errorf("finding the unit of namespace %s in member %s: %w", namespace, memberName, err))
		return nil
	}
	return units.Items
}

// occupiedPause is how often a namespace that waits for what lives in it is looked at; that something left it is an event
// that comes sooner.
const occupiedPause = 10 * time.Second

// withOccupants computes once more where a plan would delete namespaces in which other copies of the plane live: those
// have to go first, by their own objects' will. The watches are asked first, and before anything is deleted the plane
// itself, for all federated types that are served, carried or not.
func (k *carrier) withOccupants(ctx context.Context, in *plan.Input, p plan.Plan) (plan.Plan, error) {
	var doomed []*plan.Step
	for i := range p.Steps {
		if p.Steps[i].Action == plan.Delete {
			doomed = append(doomed, &p.Steps[i])
		}
	}
	if !k.typ.ofNamespaces() || len(doomed) == 0 {
		return p, nil
	}
	in.Units = slices.Clone(in.Units)
	for _, look := range []func(context.Context, string) ([]*federated.Object, error){k.watchedObjects, k.liveObjects} {
		found, err := k.occupants(ctx, in.Object.Namespace, doomed, look)
		if err != nil {
			return plan.Plan{}, fmt.Errorf("finding out what lives in the namespaces that %s is about to delete: %w", in.Object.Name, err)
		}
		rest := doomed[:0:0]
		for _, step := range doomed {
			names := found[step.Unit]
			if len(names) == 0 {
				rest = append(rest, step)
				continue
			}
			for i := range in.Units {
				if in.Units[i].Name == step.Unit {
					in.Units[i].Occupied = occupiedBy(step, names)
				}
			}
		}
		doomed = rest
	}
	return plan.Compute(*in), nil
}

func occupiedBy(step *plan.Step, names []string) *plan.Why {
	const told = 3
	sort.Strings(names)
	some, more := names, ""
	if len(names) > told {
		some, more = names[:told], fmt.Sprintf(" and %d more", len(names)-told)
	}
	return &plan.Why{Code: plan.CodeOccupied, Message: fmt.Sprintf("namespace %s of member %s is removed when the plane's copies in it are gone: of %s%s",
		step.Name, step.Member, strings.Join(some, ", "), more)}
}

// occupants are the objects that may hold copies in the namespaces that steps are about to delete, by unit.
func (k *carrier) occupants(ctx context.Context, namespace string, doomed []*plan.Step,
	look func(context.Context, string) ([]*federated.Object, error),
) (map[string][]string, error) {
	// Whose objects can be there: this namespace's, those of units that live there, and those that topology "cluster" puts
	// into the namespace of that name.
	spaces := map[string]bool{namespace: true}
	for _, step := range doomed {
		spaces[step.Name] = true
		for _, u := range k.unitsAt(step.Member, step.Name) {
			spaces[u.Namespace] = true
		}
	}
	found := map[string][]string{}
	for space := range spaces {
		objects, err := look(ctx, space)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			for _, step := range doomed {
				if livesIn(o, step) {
					name := o.Kind + " " + o.Namespace + "/" + o.Name
					if o.Namespace != namespace { // it may be another tenant's
						name = "another namespace"
					}
					if !slices.Contains(found[step.Unit], name) {
						found[step.Unit] = append(found[step.Unit], name)
					}
				}
			}
		}
	}
	return found, nil
}

func livesIn(o *federated.Object, step *plan.Step) bool {
	for _, e := range o.Status.Units {
		if !e.Inventory {
			continue
		}
		if e.Cluster == step.Member && e.MemberNamespace == step.Name || e.Cluster == "" && e.Name == step.Unit {
			return true
		}
	}
	return false
}

// watchedObjects are the objects of a namespace as the watches show them, but for FederatedNamespaces.
func (c *Controller) watchedObjects(_ context.Context, namespace string) ([]*federated.Object, error) {
	var out []*federated.Object
	for _, k := range c.carriers() {
		if k.typ.ofNamespaces() {
			continue
		}
		objects, err := k.informer.GetIndexer().ByIndex(toolscache.NamespaceIndex, namespace)
		if err != nil {
			return nil, err
		}
		for _, obj := range objects {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				out = append(out, federated.Read(u))
			}
		}
	}
	return out, nil
}

// liveObjects are the objects of a namespace as the plane has them, of all federated types that are served, but for
// FederatedNamespaces.
func (c *Controller) liveObjects(ctx context.Context, namespace string) ([]*federated.Object, error) {
	types, err := c.served(ctx, apiextensionsv1.NamespaceScoped)
	if err != nil {
		return nil, err
	}
	var out []*federated.Object
	for _, t := range types {
		if t.config == namespacesConfig {
			continue
		}
		err := c.each(ctx, t.resource, namespace, func(u *unstructured.Unstructured) bool {
			out = append(out, federated.Read(u))
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("listing objects of %s: %w", t.resource.GroupResource(), err)
		}
	}
	return out, nil
}

// leavePause gathers the departures of many objects into one look at the namespace that waits for them.
const leavePause = 300 * time.Millisecond

// left tells FederatedNamespaces that wait for objects that one of a namespace has left some place.
func (c *Controller) left() {
	for _, k := range c.carriers() {
		if !k.typ.ofNamespaces() {
			continue
		}
		k.mu.Lock()
		for key := range k.waiting {
			k.queue.AddAfter(key, leavePause)
		}
		k.mu.Unlock()
	}
}

// noteWaiting remembers which FederatedNamespaces wait for objects that live in their copies.
func (k *carrier) noteWaiting(key objectKey, p *plan.Plan) bool {
	if !k.typ.ofNamespaces() {
		return false
	}
	waits := slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Why.Code == plan.CodeOccupied })
	k.mu.Lock()
	defer k.mu.Unlock()
	if waits {
		k.waiting[key] = true
	} else {
		delete(k.waiting, key)
	}
	return waits
}

// namespacesMade lets objects be written at once whose namespace was made just now: while it was being deleted they failed,
// and pause.
func (k *carrier) namespacesMade(key objectKey, p *plan.Plan, results map[string]plan.Result) {
	if !k.typ.ofNamespaces() {
		return
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Action != plan.Create || results[s.Unit].Outcome != plan.Done {
			continue
		}
		for _, other := range k.carriers() {
			if other.typ.ofNamespaces() {
				continue
			}
			keys, err := other.informer.GetIndexer().IndexKeys(toolscache.NamespaceIndex, key.Namespace)
			if err != nil {
				utilruntime.HandleError(fmt.Errorf("finding the objects of namespace %s: %w", key.Namespace, err))
				continue
			}
			for _, name := range keys {
				_, name, _ = strings.Cut(name, "/")
				object := objectKey{key.Namespace, name}
				k.ledger.ForgetFailures(other.ledgerKey(object), s.Member)
				other.queue.Add(object)
			}
		}
	}
}
