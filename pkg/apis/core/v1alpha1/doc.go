// Package v1alpha1 is the older version of the API group core.kubefed.io as the plane serves it: the objects in which KubeFed
// notes what it wrote where.
//
// It must not hold logic, and must not rename or drop what KubeFed declares: tools read these objects. The plane itself
// never does: what it knows stands in the federated objects' status and in the members. KubeFed's FederatedServiceStatus
// is not served; status.clusters[].remoteStatus tells the same of every kind.
//
// +kubebuilder:object:generate=true
// +groupName=core.kubefed.io
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
)

var (
	// GroupVersion is core.kubefed.io/v1alpha1.
	GroupVersion = schema.GroupVersion{Group: "core.kubefed.io", Version: "v1alpha1"}

	schemeBuilder = &scheme.Builder{GroupVersion: GroupVersion}

	// AddToScheme adds the group's types to a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func init() {
	schemeBuilder.Register(&PropagatedVersion{}, &PropagatedVersionList{}, &ClusterPropagatedVersion{}, &ClusterPropagatedVersionList{})
}
