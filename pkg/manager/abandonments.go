package manager

import (
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/controllers/abandonment"
	"github.com/cellfed/cellfed/pkg/controllers/membership"
)

// addAbandonments looks for what is left in members. Whether something is a leftover is known where the types are
// carried.
func (a *assembly) addAbandonments(members *membership.Controller) error {
	return abandonment.New(a.GetClient(), a.fleet, a.GetEventRecorder("cellfed-abandonment"), a.propagation.Leftovers, members.TellLeftovers,
		abandonment.Options{}).SetupWithManager(a)
}

// onlyFound tells an abandonment of which only what was found has changed: that is no news for federated objects.
func onlyFound(before, now any) bool {
	b, was := before.(*topologyv1alpha1.Abandonment)
	n, is := now.(*topologyv1alpha1.Abandonment)
	return was && is && b.Generation == n.Generation && b.DeletionTimestamp.IsZero() == n.DeletionTimestamp.IsZero()
}
