package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"
)

// KubeFedConfigName is the name of the one KubeFedConfig that counts. It lies in kube-federation-system.
const KubeFedConfigName = "kubefed"

// NamespacePlacement says what a namespace without a FederatedNamespace means for the objects in it.
type NamespacePlacement string

const (
	// NamespacePlacementLenient restricts nothing.
	NamespacePlacementLenient NamespacePlacement = "Lenient"
	// NamespacePlacementStrict places nothing anew (KubeFed's rule, without its deletions).
	NamespacePlacementStrict NamespacePlacement = "Strict"
)

// ConfigAccepted is the condition of a KubeFedConfig that tells whether all of it could be read. Its message says which
// values could not, and which have no effect.
const ConfigAccepted = "Accepted"

// KubeFedConfig holds settings that are read while the plane runs. It need not exist.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=kubefedconfigs,singular=kubefedconfig
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=='Accepted')].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type KubeFedConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec KubeFedConfigSpec `json:"spec"`
	// +optional
	Status KubeFedConfigStatus `json:"status,omitempty"`
}

// KubeFedConfigSpec is KubeFed's, and the rule for namespaces.
type KubeFedConfigSpec struct {
	kubefedv1beta1.KubeFedConfigSpec `json:",inline"`

	// namespacePlacement says what a missing FederatedNamespace means for the objects of its namespace: Lenient (the
	// default) restricts nothing, Strict places nothing anew. Neither ever deletes.
	// +optional
	// +kubebuilder:validation:Enum=Lenient;Strict
	NamespacePlacement NamespacePlacement `json:"namespacePlacement,omitempty"`
}

// KubeFedConfigStatus tells what the plane made of the settings.
type KubeFedConfigStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// KubeFedConfigList is a list of KubeFedConfigs.
//
// +kubebuilder:object:root=true
type KubeFedConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []KubeFedConfig `json:"items"`
}
