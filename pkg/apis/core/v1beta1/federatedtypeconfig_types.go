package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"
)

// Propagator names the one that carries the objects of a type to the members.
type Propagator string

const (
	// PropagatorCellFed is the plane's own propagation.
	PropagatorCellFed Propagator = "CellFed"
	// PropagatorKubeFed is a KubeFed controller beside the plane: CellFed makes the type and does not touch members.
	PropagatorKubeFed Propagator = "KubeFed"
)

// Condition types of a FederatedTypeConfig.
const (
	// TypeServed is True while the federated CRD is made, established and of our making.
	TypeServed = "Served"
	// TypeInMembers is True while every reachable member serves the target type; its message names those that don't.
	TypeInMembers = "InMembers"
	// TypeEnded is False while the FederatedTypeConfig is being deleted and objects of its type may have copies in members.
	TypeEnded = "Ended"
)

// FederatedTypeConfig federates one kind: creating it is all it takes.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=federatedtypeconfigs,singular=federatedtypeconfig,shortName=ftc
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Federated,type=string,JSONPath=`.spec.federatedType.kind`
// +kubebuilder:printcolumn:name=Propagation,type=string,JSONPath=`.spec.propagation`
// +kubebuilder:printcolumn:name=Controller,type=string,JSONPath=`.status.propagationController`
// +kubebuilder:printcolumn:name=Served,type=string,JSONPath=`.status.conditions[?(@.type=='Served')].status`
// +kubebuilder:printcolumn:name=InMembers,type=string,JSONPath=`.status.conditions[?(@.type=='InMembers')].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type FederatedTypeConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec FederatedTypeConfigSpec `json:"spec"`
	// +optional
	Status FederatedTypeConfigStatus `json:"status,omitempty"`
}

// FederatedTypeConfigSpec is KubeFed's, who propagates, and what belongs to the members.
type FederatedTypeConfigSpec struct {
	kubefedv1beta1.FederatedTypeConfigSpec `json:",inline"`

	// propagator says who carries objects of this type to the members: CellFed (the default) or KubeFed. There is
	// never more than one.
	// +optional
	// +kubebuilder:validation:Enum=CellFed;KubeFed
	Propagator Propagator `json:"propagator,omitempty"`

	// propagatingAnnotations says which annotations of the template are spec: patterns of keys, in which * stands for any
	// characters and a leading ! takes keys out again. Keys that match are written to the members, kept as the template
	// says, and removed there when they are gone from the template. All other keys are the member's own. Empty: all are.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=317
	PropagatingAnnotations []string `json:"propagatingAnnotations,omitempty"`

	// retainedFields are fields that the members' own controllers set: JSON pointers, in which * stands for every entry of
	// a list or map. What a member holds there is kept, and its changing is no drift. Fields that Kubernetes itself owns
	// (a Service's cluster IP, a Job's selector, a webhook's CA bundle and so on) are retained without being listed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:Pattern=`^(/[^/]+)+$`
	RetainedFields []string `json:"retainedFields,omitempty"`
}

// FederatedTypeConfigStatus is KubeFed's, with conditions.
type FederatedTypeConfigStatus struct {
	// +optional
	kubefedv1beta1.FederatedTypeConfigStatus `json:",inline"`

	// conditions tell whether the type is served and whether the members have its target.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// FederatedTypeConfigList is a list of FederatedTypeConfigs.
//
// +kubebuilder:object:root=true
type FederatedTypeConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FederatedTypeConfig `json:"items"`
}
