package apiserver

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apiserver/pkg/admission"
)

// keeperName is the name of the plugin that keeps the plane's own namespaces.
const keeperName = "PlaneNamespaces"

// keeper refuses to delete the plane's own namespaces, as the API server refuses it for kube-system. What they hold
// cannot be made again: members' credentials, and an identity that copies in members are marked with.
type keeper struct {
	*admission.Handler
	namespaces []string
}

var _ admission.ValidationInterface = keeper{}

func newKeeper(namespaces []string) admission.Interface {
	return keeper{admission.NewHandler(admission.Delete), namespaces}
}

// Validate implements admission.ValidationInterface.
func (k keeper) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if r := a.GetResource(); r.Group != "" || r.Resource != "namespaces" || a.GetSubresource() != "" || !slices.Contains(k.namespaces, a.GetName()) {
		return nil
	}
	return admission.NewForbidden(a, errors.New("this namespace is the plane's own and may not be deleted: delete the objects in it that should go"))
}
