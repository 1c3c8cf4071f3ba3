package propagation

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// owner is whose an object is: its namespace's owner, whatever its own labels say. An object without a namespace is
// nobody's. unknown says why that cannot be told; then nothing is selected, looked at or finished.
func (k *carrier) owner(ctx context.Context, o *federated.Object) (who tenancy.Tenant, unknown *plan.Why, err error) {
	if o.Namespace == "" {
		return tenancy.Tenant{}, nil, nil
	}
	ns := &corev1.Namespace{}
	key := client.ObjectKey{Name: o.Namespace}
	err = k.opts.Client.Get(ctx, key, ns)
	if apierrors.IsNotFound(err) { // the cache may be behind
		err = k.opts.Live.Get(ctx, key, ns)
	}
	if apierrors.IsNotFound(err) {
		return tenancy.Tenant{}, &plan.Why{Code: plan.CodeOnHold, Message: fmt.Sprintf(
			"there is no namespace %s that would say whose the object is: nothing is done on doubt", o.Namespace)}, nil
	}
	if err != nil {
		return tenancy.Tenant{}, nil, fmt.Errorf("reading who owns namespace %s: %w", o.Namespace, err)
	}
	return tenancy.Of(ns.Labels), nil, nil
}

// systemNamespace holds what would be placed in a system namespace of members: topology type cluster takes the
// namespace's own name there.
func systemNamespace(o *federated.Object) *plan.Why {
	if o.TopologyType != topology.TypeCluster || !tenancy.IsSystem(o.Namespace) {
		return nil
	}
	return &plan.Why{Code: plan.CodeOnHold, Message: fmt.Sprintf(
		"%s is a system namespace, in which nothing is propagated: make the object in another namespace", o.Namespace)}
}

// access is what a member says of who may use it.
func (c *Controller) access(m *corev1beta1.KubeFedCluster) tenancy.Access {
	return tenancy.Access{Owner: tenancy.Of(m.Labels), Grants: m.Spec.Grants, Required: c.requiresGrants()}
}

func (c *Controller) requiresGrants() bool {
	return c.opts.RequireGrants != nil && c.opts.RequireGrants()
}

// requirementChanged ends the watches in members that say nothing of tenants, if it is other than before whether that
// closes them to tenants: those that are still needed begin anew.
func (c *Controller) requirementChanged() {
	required := c.requiresGrants()
	var open []string
	c.mu.Lock()
	if c.required != required {
		for name, a := range c.accesses {
			if a.Owner.None() && len(a.Grants) == 0 {
				open = append(open, name)
			}
		}
	}
	c.required = required
	c.mu.Unlock()
	c.turns.Add(1)
	for _, name := range open {
		c.opts.Fleet.StopViewsIn(name)
	}
}

// notYours says why a namespace of a member may not be used; nil = it may. It tells of nobody else.
func (c *Controller) notYours(who tenancy.Tenant, m *corev1beta1.KubeFedCluster, namespace string) *plan.Why {
	if c.access(m).Granted(who, namespace) {
		return nil
	}
	return &plan.Why{Code: plan.CodeNotYours, Message: fmt.Sprintf(
		"namespace %s of member %s is not granted to %s: nothing is asked or written there until spec.grants of KubeFedCluster %s lists it",
		namespace, m.Name, who, m.Name)}
}

// MemberChanged enqueues the objects that a change of a member concerns: those of topology "cluster", for its labels and
// its removal; all, if it says something else than before of who may use it. Then its watches end too: those that are
// still needed begin anew, and no other asks the member for anything any more.
func (c *Controller) MemberChanged(m *corev1beta1.KubeFedCluster) {
	if !c.accessChanged(m) {
		for _, k := range c.carriers() {
			k.enqueueWhere(func(u *unstructured.Unstructured) bool { return topologyOf(u) == topology.TypeCluster }, nil)
		}
		return
	}
	c.turns.Add(1)
	c.closeWatches(m.Name)
}

// closeWatches ends what is watched in a member, and has everybody who still may begin it anew.
func (c *Controller) closeWatches(name string) {
	c.opts.Fleet.StopViewsIn(name)
	for _, k := range c.carriers() {
		k.enqueueWhere(func(*unstructured.Unstructured) bool { return true }, nil)
	}
}

// turned takes a look back that began before access to members changed: it may have opened a watch after all were closed.
func (k *carrier) turned(ctx context.Context, o *federated.Object, looked []plan.Unit) error {
	now, _, err := k.candidates(ctx, o)
	if err != nil {
		return err
	}
	for i := range looked {
		u := &looked[i]
		if u.NotYours == nil && !slices.ContainsFunc(now, func(n plan.Unit) bool { return n.Name == u.Name && n.Member == u.Member && n.NotYours == nil }) {
			k.closeWatches(u.Member)
		}
	}
	return errAgain
}

// accessChanged remembers who may use a member, and tells whether that is other than it was.
func (c *Controller) accessChanged(m *corev1beta1.KubeFedCluster) bool {
	now := tenancy.Access{Owner: tenancy.Of(m.Labels), Grants: m.Spec.Grants}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.accesses[m.Name]
	c.accesses[m.Name] = now
	return known && !reflect.DeepEqual(before, now)
}
