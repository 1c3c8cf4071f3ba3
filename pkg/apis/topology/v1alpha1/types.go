package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition types and reasons of a Unit.
const (
	// UnitReady is True while the unit may be written: its member is known, its member namespace is claimed for it and
	// its KubeFedCluster stands.
	UnitReady = "Ready"

	ReasonReady          = "Ready"
	ReasonUnknownMember  = "UnknownMember"
	ReasonClaimedByOther = "ClaimedByOther"
	ReasonNameTaken      = "NameTaken"
	ReasonInUse          = "InUse"
)

// Unit is one thing of a topology type other than cluster: it belongs to a plane namespace and lives on one member.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=units,singular=unit,shortName=cell;cells
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Type,type=string,JSONPath=`.spec.topologyType`
// +kubebuilder:printcolumn:name=Member,type=string,JSONPath=`.spec.cluster`
// +kubebuilder:printcolumn:name=Member-Namespace,type=string,JSONPath=`.spec.memberNamespace`
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`,priority=1
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Unit struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is immutable: a unit that moves is another unit.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a unit's spec is immutable: make another unit"
	Spec UnitSpec `json:"spec"`
	// +optional
	Status UnitStatus `json:"status,omitempty"`
}

// UnitSpec says where a unit lives.
type UnitSpec struct {
	// topologyType is the unit's type. Admission sets cell where it is absent.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	TopologyType string `json:"topologyType,omitempty"`
	// cluster names the physical KubeFedCluster that the unit lives on.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=189
	Cluster string `json:"cluster"`
	// memberNamespace is the namespace of the member in which the unit's objects live. Admission sets the plane
	// namespace's name where it is absent.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	MemberNamespace string `json:"memberNamespace,omitempty"`
}

// UnitStatus says how a unit is.
type UnitStatus struct {
	// observedGeneration is the generation that the conditions are about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// clusterName is the name of the unit's KubeFedCluster: <unit>.<namespace>.<topologyType>.
	// +optional
	ClusterName string `json:"clusterName,omitempty"`
	// conditions tell whether the unit may be written.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// UnitList is a list of units.
//
// +kubebuilder:object:root=true
type UnitList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Unit `json:"items"`
}

// MemberNamespaceClaim says which unit a namespace of a member belongs to. Its name is made from both
// (topology.ClaimName), so two replicas cannot both say yes: the second create fails.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=membernamespaceclaims,singular=membernamespaceclaim,scope=Cluster
// +kubebuilder:printcolumn:name=Member,type=string,JSONPath=`.spec.cluster`
// +kubebuilder:printcolumn:name=Member-Namespace,type=string,JSONPath=`.spec.memberNamespace`
// +kubebuilder:printcolumn:name=Unit-Namespace,type=string,JSONPath=`.spec.unit.namespace`
// +kubebuilder:printcolumn:name=Unit,type=string,JSONPath=`.spec.unit.name`
type MemberNamespaceClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is immutable: a claim is released by deleting it.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a claim is immutable: it is released by deleting it"
	Spec MemberNamespaceClaimSpec `json:"spec"`
}

// MemberNamespaceClaimSpec is what is claimed, and for whom.
type MemberNamespaceClaimSpec struct {
	// cluster names the physical KubeFedCluster.
	Cluster string `json:"cluster"`
	// memberNamespace is the member's namespace that is claimed.
	MemberNamespace string `json:"memberNamespace"`
	// unit is the claimant.
	Unit UnitReference `json:"unit"`
}

// UnitReference names a unit and the life it means: a unit of the same name with another UID is another unit.
type UnitReference struct {
	Namespace    string `json:"namespace"`
	Name         string `json:"name"`
	TopologyType string `json:"topologyType"`
	UID          string `json:"uid"`
}

// MemberNamespaceClaimList is a list of claims.
//
// +kubebuilder:object:root=true
type MemberNamespaceClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MemberNamespaceClaim `json:"items"`
}
