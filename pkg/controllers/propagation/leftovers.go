package propagation

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/member"
)

const (
	// mostLeftovers bounds how many leftovers of a member are remembered while they are looked for.
	mostLeftovers = 10000
	// leftoverPage is how many objects of a member are listed at once, mostPages how often: a member that lies has no end.
	leftoverPage, mostPages = 500, 4000
	// uidIndex finds federated objects by their UID.
	uidIndex = "uid"
)

func byUID(obj any) ([]string, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return []string{string(u.GetUID())}, nil
	}
	return nil, nil
}

// Leftovers are the objects in a member that carry this plane's marks and that no federated object keeps, by their UID
// there, and whether everything could be looked at. They are what is seen at one moment: a copy that is just being
// removed may be among them.
//
// It looks into the views that are open anyway; listed asks the member itself, type by type and page by page, also for
// kinds that nobody has a view of.
func (c *Controller) Leftovers(ctx context.Context, name string, listed bool) (map[types.UID]topologyv1alpha1.Leftover, bool, error) {
	m, err := c.opts.Fleet.Member(name)
	if err != nil {
		return nil, false, err
	}
	found := map[types.UID]topologyv1alpha1.Leftover{}
	complete := true
	for _, k := range c.carriers() {
		if !k.informer.HasSynced() {
			complete = false
			continue
		}
		look := func(o metav1.Object) bool {
			if l, left := k.leftover(name, o); left {
				found[o.GetUID()] = l
			}
			return len(found) < mostLeftovers
		}
		var all bool
		if listed {
			if all, err = k.eachListed(ctx, m, look); err != nil {
				return nil, false, err
			}
		} else {
			all = k.eachViewed(m, look)
		}
		complete = complete && all
	}
	return found, complete, nil
}

// leftover judges one object of a member.
func (k *carrier) leftover(name string, o metav1.Object) (topologyv1alpha1.Leftover, bool) {
	owner, marked := federated.ReadOwner(o.GetAnnotations()[wellknown.OwnerAnnotation])
	if !marked || owner.Plane != k.plane || o.GetDeletionTimestamp() != nil || k.keeps(name, owner, o.GetNamespace()) {
		return topologyv1alpha1.Leftover{}, false
	}
	return topologyv1alpha1.Leftover{Type: k.typ.Name, Namespace: o.GetNamespace(), Name: o.GetName(), Unit: owner.Unit}, true
}

// keeps tells whether the federated object that a mark names is there and has that copy in its inventory.
func (k *carrier) keeps(name string, owner federated.Owner, namespace string) bool {
	objects, err := k.informer.GetIndexer().ByIndex(uidIndex, owner.UID)
	if err != nil || len(objects) == 0 {
		return err != nil
	}
	u, ok := objects[0].(*unstructured.Unstructured)
	if !ok {
		return true
	}
	newest, err := k.load(objectKey{u.GetNamespace(), u.GetName()})
	if err != nil || newest == nil || string(newest.GetUID()) != owner.UID {
		return err != nil
	}
	e, there := federated.UnitOf(newest, owner.Unit)
	return there && e.Inventory && (e.Cluster == "" || e.Cluster == name) &&
		(!k.typ.Namespaced || e.MemberNamespace == "" || e.MemberNamespace == namespace)
}

// eachViewed shows what the type's open view holds, and tells whether that is all there is.
func (k *carrier) eachViewed(m *member.Member, look func(metav1.Object) bool) bool {
	view, open := m.Opened(k.typ.Target)
	if !open {
		return true // nobody has business there that would leave anything
	}
	var lacks *member.LacksKindError
	if errors.As(view.Err(), &lacks) {
		return true
	}
	if !view.Synced() {
		return false
	}
	for _, u := range view.List() {
		if !look(u) {
			break
		}
	}
	return true
}

// eachListed asks the member for all that carries the plane's label.
func (k *carrier) eachListed(ctx context.Context, m *member.Member, look func(metav1.Object) bool) (bool, error) {
	client, err := m.Metadata()
	if err != nil {
		return false, err
	}
	if _, err := m.Kind(ctx, k.typ.Target); err != nil {
		var lacks *member.LacksKindError
		return errors.As(err, &lacks), nil //nolint:nilerr // what cannot be read is said to be incomplete
	}
	options := metav1.ListOptions{LabelSelector: wellknown.ManagedLabel + "=" + wellknown.ManagedTrue, Limit: leftoverPage}
	for range mostPages {
		page, err := client.Resource(k.typ.Target).List(ctx, options)
		if err != nil {
			return false, fmt.Errorf("listing %s of member %s: %w", k.typ.Target.Resource, m.Name(), err)
		}
		for i := range page.Items {
			if !look(&page.Items[i]) {
				return true, nil
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return true, nil
		}
	}
	return false, nil
}
