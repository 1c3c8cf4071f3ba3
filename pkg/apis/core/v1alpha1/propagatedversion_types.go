package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefedv1alpha1 "sigs.k8s.io/kubefed/pkg/apis/core/v1alpha1"
)

// PropagatedVersion tells which versions of a namespaced federated object's template and overrides were written, and what
// the members made of them. It is kept while the gate PropagatedVersions is on, for tools that know KubeFed; nothing in
// the plane reads it.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=propagatedversions,singular=propagatedversion
// +kubebuilder:subresource:status
type PropagatedVersion struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Status kubefedv1alpha1.PropagatedVersionStatus `json:"status,omitempty"`
}

// PropagatedVersionList is a list of PropagatedVersions.
//
// +kubebuilder:object:root=true
type PropagatedVersionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PropagatedVersion `json:"items"`
}

// ClusterPropagatedVersion is the PropagatedVersion of a cluster-scoped federated object.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=clusterpropagatedversions,singular=clusterpropagatedversion,scope=Cluster
// +kubebuilder:subresource:status
type ClusterPropagatedVersion struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Status kubefedv1alpha1.PropagatedVersionStatus `json:"status,omitempty"`
}

// ClusterPropagatedVersionList is a list of ClusterPropagatedVersions.
//
// +kubebuilder:object:root=true
type ClusterPropagatedVersionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterPropagatedVersion `json:"items"`
}
