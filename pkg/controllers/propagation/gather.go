package propagation

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/topology"
)

// gathered is what was read about an object.
type gathered struct {
	input plan.Input
	// retryAfter is when the first failure may be repeated; 0 = none waits.
	retryAfter time.Duration
}

// gather reads all that a plan is made of. It decides nothing: what is missing or cannot be read is said as such.
func (k *carrier) gather(ctx context.Context, o *federated.Object) (gathered, error) {
	g := gathered{input: plan.Input{Object: o, Plane: k.plane, Target: k.targetKind(), TargetNamespaced: k.typ.Namespaced}}
	var err error
	if g.input.Units, err = k.candidates(ctx, o); err != nil {
		return gathered{}, err
	}
	if o.Deleting {
		if g.input.Written, err = k.hasRevisions(ctx, o); err != nil {
			return gathered{}, err
		}
	}
	now := k.opts.Now()
	for i := range g.input.Units {
		k.look(&g, &g.input.Units[i], o, now)
	}
	return g, nil
}

// candidates are the units that an object could be placed in.
func (k *carrier) candidates(ctx context.Context, o *federated.Object) ([]plan.Unit, error) {
	if o.TopologyType == topology.TypeCluster {
		return k.members(ctx, o)
	}
	return k.units(ctx, o)
}

// members are the units of topology "cluster": the physical members.
func (k *carrier) members(ctx context.Context, o *federated.Object) ([]plan.Unit, error) {
	list := &corev1beta1.KubeFedClusterList{}
	if err := k.opts.Client.List(ctx, list, client.InNamespace(wellknown.FederationNamespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing members: %w", err)
	}
	out := make([]plan.Unit, 0, len(list.Items))
	for i := range list.Items {
		m := &list.Items[i]
		u := plan.Unit{Name: m.Name, Member: m.Name, MemberNamespace: o.Namespace, Labels: m.Labels}
		if m.DeletionTimestamp != nil {
			u.Problem = &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("member %s is being removed", m.Name)}
		}
		out = append(out, u)
	}
	return sorted(out), nil
}

// units are the units of the object's topology type in its namespace.
func (k *carrier) units(ctx context.Context, o *federated.Object) ([]plan.Unit, error) {
	list := &topologyv1alpha1.UnitList{}
	if err := k.opts.Client.List(ctx, list, client.InNamespace(o.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing units of namespace %s: %w", o.Namespace, err)
	}
	var out []plan.Unit
	for i := range list.Items {
		unit := list.Items[i]
		if unit.Spec.TopologyType == "" {
			unit.Spec.TopologyType = "cell" // as the unit controller reads one that came past admission
		}
		if unit.Spec.MemberNamespace == "" {
			unit.Spec.MemberNamespace = unit.Namespace
		}
		if unit.Spec.TopologyType != o.TopologyType {
			continue
		}
		out = append(out, plan.Unit{
			Name:            topology.UnitClusterName(unit.Name, unit.Namespace, unit.Spec.TopologyType),
			Member:          unit.Spec.Cluster,
			MemberNamespace: unit.Spec.MemberNamespace,
			Labels:          unitLabels(&unit),
			Problem:         unitProblem(&unit),
		})
	}
	return sorted(out), nil
}

// sorted puts units in order of name: caches list in no order, and equal facts must make equal plans.
func sorted(units []plan.Unit) []plan.Unit {
	sort.Slice(units, func(i, j int) bool { return units[i].Name < units[j].Name })
	return units
}

// unitLabels are the labels that selectors see: those of the unit's KubeFedCluster.
func unitLabels(u *topologyv1alpha1.Unit) map[string]string {
	labels := make(map[string]string, len(u.Labels)+3)
	for key, value := range u.Labels {
		labels[key] = value
	}
	labels[wellknown.TopologyTypeLabel] = u.Spec.TopologyType
	labels[wellknown.TopologyNamespaceLabel] = u.Namespace
	labels[wellknown.TopologyUnitLabel] = u.Name
	return labels
}

func unitProblem(u *topologyv1alpha1.Unit) *plan.Why {
	if u.DeletionTimestamp != nil {
		return &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("unit %s is being deleted", u.Name)}
	}
	ready := meta.FindStatusCondition(u.Status.Conditions, topologyv1alpha1.UnitReady)
	switch {
	case ready == nil:
		return &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("unit %s has not been looked at yet", u.Name)}
	case ready.Status != "True":
		return &plan.Why{Code: plan.CodeUnitNotReady, Message: fmt.Sprintf("unit %s is not ready: %s: %s", u.Name, ready.Reason, ready.Message)}
	}
	return nil
}

// look adds what is known of a unit's member and of the copy there.
func (k *carrier) look(g *gathered, u *plan.Unit, o *federated.Object, now time.Time) {
	var watched *unstructured.Unstructured
	m, err := k.opts.Fleet.Member(u.Member)
	if err != nil {
		u.NotConnected = notConnected(u.Member, err)
	} else {
		view := m.View(k.typ.Target)
		namespace := u.MemberNamespace
		if !k.typ.Namespaced {
			namespace = ""
		}
		switch {
		case view.Err() != nil:
			u.Unreadable = unreadable(view.Err())
		case !view.Synced():
			u.Loading = true
		default:
			watched, _ = view.Get(namespace, o.Name)
		}
	}
	r := k.ledger.Recall(k.ledgerKey(objectKey{o.Namespace, o.Name}), u.Name, watched, now)
	u.InFlight, u.Observed, u.Probe, u.Failure = r.InFlight, r.Observed, r.Probe, r.Failure
	for _, t := range []time.Time{r.Until, r.Expires} {
		if d := t.Sub(now) + time.Millisecond; !t.IsZero() && (g.retryAfter == 0 || d < g.retryAfter) {
			g.retryAfter = d
		}
	}
}

func notConnected(name string, err error) *plan.Why {
	if errors.Is(err, member.ErrUnknown) {
		return &plan.Why{Code: plan.CodeClusterNotReady, Message: fmt.Sprintf("there is no member %s", name)}
	}
	return &plan.Why{Code: plan.CodeClusterNotReady, Message: err.Error()}
}

func unreadable(err error) *plan.Why {
	var lacks *member.LacksKindError
	if errors.As(err, &lacks) {
		return &plan.Why{Code: plan.CodeKindNotInMember, Message: err.Error()}
	}
	return &plan.Why{Code: plan.CodeCachedRetrievalFailed, Message: err.Error()}
}

// planeID is the UID of the plane's federation namespace: it is made once and nobody else has it.
func (c *Controller) planeID(ctx context.Context) (string, error) {
	ns := &corev1.Namespace{}
	if err := c.opts.Client.Get(ctx, client.ObjectKey{Name: wellknown.FederationNamespace}, ns); err != nil {
		return "", fmt.Errorf("reading the plane's id from namespace %s: %w", wellknown.FederationNamespace, err)
	}
	return string(ns.UID), nil
}
