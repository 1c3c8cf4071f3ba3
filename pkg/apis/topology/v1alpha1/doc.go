// Package v1alpha1 is the API group topology.cellfed.io: units, and the claims of units on namespaces of members.
//
// It must not hold logic; the laws of names are in pkg/topology. Units are objects of the tenants' namespaces, so that
// RBAC on a namespace says who may see and place on them; claims are cluster-scoped because they are about members,
// which no tenant owns alone.
//
// +kubebuilder:object:generate=true
// +groupName=topology.cellfed.io
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
)

var (
	// GroupVersion is topology.cellfed.io/v1alpha1.
	GroupVersion = schema.GroupVersion{Group: "topology.cellfed.io", Version: "v1alpha1"}

	schemeBuilder = &scheme.Builder{GroupVersion: GroupVersion}

	// AddToScheme adds the group's types to a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func init() {
	schemeBuilder.Register(&Unit{}, &UnitList{}, &MemberNamespaceClaim{}, &MemberNamespaceClaimList{},
		&Abandonment{}, &AbandonmentList{})
}
