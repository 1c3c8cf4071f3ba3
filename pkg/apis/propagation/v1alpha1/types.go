package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Labels of a Revision, by which the metadata alone says whose it is.
const (
	// RevisionOwnerLabel is the UID of the federated object.
	RevisionOwnerLabel = "propagation.cellfed.io/owner-uid"
	// RevisionHashLabel is the hash that names the content.
	RevisionHashLabel = "propagation.cellfed.io/revision"
	// RevisionTemplateLabel is the hash of the template alone: revisions that differ only in a unit's overrides share it.
	RevisionTemplateLabel = "propagation.cellfed.io/template"
	// RevisionLastGenerationAnnotation is the newest generation of the federated object that meant this content for a
	// unit. It orders revisions by when they were last asked for, so that going back to an old one makes it the newest.
	RevisionLastGenerationAnnotation = "propagation.cellfed.io/last-generation"
)

// Revision is content that a federated object meant for units: template and a unit's overrides, named by their hash.
// It is owned by the federated object. Revisions of cluster-scoped federated objects live in kube-federation-system.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=revisions,singular=revision
// +kubebuilder:printcolumn:name=Of,type=string,JSONPath=`.spec.of.name`
// +kubebuilder:printcolumn:name=Kind,type=string,JSONPath=`.spec.of.kind`
// +kubebuilder:printcolumn:name=Generation,type=integer,JSONPath=`.spec.generation`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Revision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is immutable: other content is another revision.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a revision is immutable: other content is another revision"
	Spec RevisionSpec `json:"spec"`
}

// RevisionSpec is the content and where it came from.
type RevisionSpec struct {
	// of is the federated object.
	Of RevisionOf `json:"of"`
	// generation of the federated object at which this content was first meant for a unit.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// template is the federated object's template.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Type=object
	Template runtime.RawExtension `json:"template"`
	// overrides is the list of the unit's overrides, as the federated object held it; absent = none.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Overrides *runtime.RawExtension `json:"overrides,omitempty"`
}

// RevisionOf names a federated object.
type RevisionOf struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// RevisionList is a list of revisions.
//
// +kubebuilder:object:root=true
type RevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Revision `json:"items"`
}
