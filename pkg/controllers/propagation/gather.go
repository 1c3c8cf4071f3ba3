package propagation

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/plan"
)

// gathered is what was read about an object.
type gathered struct {
	input plan.Input
	// retryAfter is when the first failure may be repeated; 0 = none waits.
	retryAfter time.Duration
}

// gather reads all that a plan is made of. It decides nothing: what is missing or cannot be read is said as such.
func (k *carrier) gather(ctx context.Context, o *federated.Object) (gathered, error) {
	g := gathered{input: plan.Input{Object: o, Plane: k.plane, Target: k.targetKind(), TargetNamespaced: k.typ.Namespaced, Policy: k.policy}}
	turn := k.turns.Load()
	var err error
	if g.input.Units, g.input.Unowned, err = k.candidates(ctx, o); err != nil {
		return gathered{}, err
	}
	g.input.Hold = systemNamespace(o)
	if g.input.Abandonments, err = k.abandonments(ctx); err != nil {
		return gathered{}, err
	}
	if err = k.gatherNamespace(ctx, &g.input); err != nil {
		return gathered{}, err
	}
	if g.input.Hold == nil {
		g.input.Hold = k.hold(ctx, o)
	}
	if g.input.Hold == nil {
		g.input.Hold = k.illegible
	}
	g.input.AdoptByDefault = k.adoptsByDefault()
	if o.Deleting {
		if g.input.Written, err = k.hasRevisions(ctx, o); err != nil {
			return gathered{}, err
		}
	}
	now := k.opts.Now()
	for i := range g.input.Units {
		k.look(&g, &g.input.Units[i], o, now)
	}
	if k.turns.Load() != turn {
		return gathered{}, k.turned(ctx, o, g.input.Units)
	}
	return g, nil
}

// look adds what is known of a unit's member and of the copy there.
func (k *carrier) look(g *gathered, u *plan.Unit, o *federated.Object, now time.Time) {
	if u.NotYours != nil {
		return // not even a question reaches a member for somebody who has no business there
	}
	var watched *unstructured.Unstructured
	m, err := k.opts.Fleet.Member(u.Member)
	if err == nil {
		err = sameCluster(m, u.MemberID)
	}
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
			watched, _ = view.Get(namespace, copyName(u, o))
		}
	}
	r := k.ledger.Recall(k.ledgerKey(objectKey{o.Namespace, o.Name}), u.Name, watched, now)
	u.InFlight, u.Observed, u.Probe, u.Failure, u.Contest = r.InFlight, r.Observed, r.Probe, r.Failure, r.Contest
	u.Confirmed = r.Confirmed
	for _, t := range []time.Time{r.Until, r.Expires, r.Truce} {
		if d := t.Sub(now) + time.Millisecond; !t.IsZero() && (g.retryAfter == 0 || d < g.retryAfter) {
			g.retryAfter = d
		}
	}
}

// sameCluster refuses a connection to another cluster than the one that was meant: a member may have changed while its
// object was being thought about. What is not known on one side is no difference.
func sameCluster(m *member.Member, id string) error {
	if is := m.Identity(); is != "" && id != "" && is != id {
		return &member.NotConnectedError{Member: m.Name(), Reason: "Reconnecting", Message: "another cluster has just become this member"}
	}
	return nil
}

// copyName is the name of the object's copy in a unit.
func copyName(u *plan.Unit, o *federated.Object) string {
	if u.CopyName != "" {
		return u.CopyName
	}
	return o.Name
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
