// Package v1beta1 is the API group core.kubefed.io as the plane serves it: KubeFed's own types, extended by embedding.
//
// It must not hold logic, and must not rename or drop what KubeFed declares: manifests of its users apply unchanged.
// The types are declared anew around KubeFed's specs because a CRD has one schema, and ours says more.
//
// +kubebuilder:object:generate=true
// +groupName=core.kubefed.io
package v1beta1

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
)

var (
	// GroupVersion is core.kubefed.io/v1beta1.
	GroupVersion = schema.GroupVersion{Group: "core.kubefed.io", Version: "v1beta1"}

	schemeBuilder = &scheme.Builder{GroupVersion: GroupVersion}

	// AddToScheme adds the group's types to a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func init() {
	schemeBuilder.Register(&KubeFedCluster{}, &KubeFedClusterList{}, &FederatedTypeConfig{}, &FederatedTypeConfigList{},
		&KubeFedConfig{}, &KubeFedConfigList{})
}
