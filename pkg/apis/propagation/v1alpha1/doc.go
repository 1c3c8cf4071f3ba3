// Package v1alpha1 is the API group propagation.cellfed.io: revisions of federated objects.
//
// It must not hold logic; what a revision's name is made of is in pkg/federated. Revisions are a kind of our own
// because the plane has no apps/v1, hence no ControllerRevision, and because a held unit is repaired towards the
// content that it runs, which the federated object no longer holds.
//
// +kubebuilder:object:generate=true
// +groupName=propagation.cellfed.io
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
)

var (
	// GroupVersion is propagation.cellfed.io/v1alpha1.
	GroupVersion = schema.GroupVersion{Group: "propagation.cellfed.io", Version: "v1alpha1"}

	schemeBuilder = &scheme.Builder{GroupVersion: GroupVersion}

	// AddToScheme adds the group's types to a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func init() {
	schemeBuilder.Register(&Revision{}, &RevisionList{})
}
