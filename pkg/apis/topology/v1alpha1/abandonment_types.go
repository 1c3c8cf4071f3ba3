package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Conditions of an Abandonment.
const (
	// AbandonmentLeftovers is True when the place came back and what the plane once made is still there, False when it
	// came back and nothing is, and Unknown while it has not been heard of again.
	AbandonmentLeftovers = "Leftovers"
)

// Abandonment is the record that a member, or a unit, was given up for good. As long as it stands, nothing is written
// there, and federated objects that may have a copy there are deleted, or leave it, without waiting for it. If the place
// comes back, what was left there is reported in status, and never deleted. Deleting the record ends all that.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=abandonments,singular=abandonment,scope=Cluster
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Member,type=string,JSONPath=`.spec.cluster`
// +kubebuilder:printcolumn:name=Unit,type=string,JSONPath=`.spec.unit`
// +kubebuilder:printcolumn:name=Leftovers,type=integer,JSONPath=`.status.leftoverCount`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.spec.reason`,priority=1
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Abandonment struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is immutable: what was given up was given up.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an abandonment is immutable: delete it, and make another"
	Spec AbandonmentSpec `json:"spec"`
	// +optional
	Status AbandonmentStatus `json:"status,omitempty"`
}

// AbandonmentSpec says what is given up.
type AbandonmentSpec struct {
	// cluster is the member's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Cluster string `json:"cluster"`
	// clusterID is the identity of the cluster that had the name: another cluster under the same name is not given up.
	// Absent means whichever cluster has the name.
	// +optional
	ClusterID string `json:"clusterID,omitempty"`
	// unit is the full name of the one unit that is given up, <unit>.<namespace>.<topologyType>. Absent means all of the
	// member.
	// +optional
	Unit string `json:"unit,omitempty"`
	// memberNamespace is the namespace of the member in which the unit was: for a unit that was made anew in another
	// namespace of the same member. Absent means all of the member's.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	MemberNamespace string `json:"memberNamespace,omitempty"`
	// reason is told to whoever asks why.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}

// AbandonmentStatus says what was found when the place came back.
type AbandonmentStatus struct {
	// leftovers are objects of the plane that were found in the member and that no federated object keeps: the first 100.
	// +optional
	// +listType=atomic
	Leftovers []Leftover `json:"leftovers,omitempty"`
	// leftoverCount is how many there are.
	// +optional
	LeftoverCount int64 `json:"leftoverCount,omitempty"`
	// conditions tell whether the place was heard of again.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Leftover is an object in a member that carries the plane's marks and that no federated object keeps.
type Leftover struct {
	// type is the name of the FederatedTypeConfig of its kind.
	Type string `json:"type"`
	// namespace in the member.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// name in the member.
	Name string `json:"name"`
	// unit is the full name of the unit that it was made for.
	// +optional
	Unit string `json:"unit,omitempty"`
}

// AbandonmentList is a list of abandonments.
//
// +kubebuilder:object:root=true
type AbandonmentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Abandonment `json:"items"`
}
