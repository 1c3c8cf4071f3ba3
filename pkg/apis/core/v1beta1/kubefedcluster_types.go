package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"
)

// Keys of the secret that KubeFedCluster.spec.secretRef names. Exactly one way of proving who the plane is must be
// there: a token, a client certificate with its key, or a kubeconfig.
const (
	// SecretTokenKey holds a bearer token, as in KubeFed.
	SecretTokenKey = "token"
	// SecretClientCertificateKey and SecretClientKeyKey hold a PEM client certificate and its key (the names of a
	// kubernetes.io/tls secret).
	SecretClientCertificateKey = "tls.crt"
	SecretClientKeyKey         = "tls.key"
	// SecretKubeconfigKey holds a whole kubeconfig; its current context says everything but the endpoint, which
	// spec.apiEndpoint overrides when it is set.
	SecretKubeconfigKey = "kubeconfig"
)

// KubeFedCluster is a member as the plane addresses it: a physical one in kube-federation-system, or the alias that
// the unit controller keeps for a unit in cellfed-units.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=kubefedclusters,singular=kubefedcluster,shortName=kfc
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name=Version,type=string,JSONPath=`.status.kubernetesVersion`
// +kubebuilder:printcolumn:name=Endpoint,type=string,JSONPath=`.spec.apiEndpoint`,priority=1
// +kubebuilder:printcolumn:name=Agents,type=integer,JSONPath=`.status.tunnel.agents`,priority=1
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type KubeFedCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec KubeFedClusterSpec `json:"spec"`
	// +optional
	Status KubeFedClusterStatus `json:"status,omitempty"`
}

// KubeFedClusterSpec is KubeFed's, and who may use the member.
type KubeFedClusterSpec struct {
	kubefedv1beta1.KubeFedClusterSpec `json:",inline"`

	// grants say which tenants may place units on the member, and in which of its namespaces. Without any, a member that
	// has tenancy labels is its own tenant's, and one without is everybody's. System namespaces are never granted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	Grants []TenantGrant `json:"grants,omitempty"`

	// tunnel says that the member is reached through the tunnels that its agents hold open, and not directly:
	// apiEndpoint is then the address as seen from the member. It excludes proxyURL.
	// +optional
	Tunnel *ClusterTunnel `json:"tunnel,omitempty"`
}

// ClusterTunnel is whose tunnels lead to a member.
type ClusterTunnel struct {
	// enrolment names the generation of agents that is admitted: it stands in their certificates. Another enrolment, or
	// none, cuts off all agents of the former one. kubectl cellfed join --tunnel sets it, and kubectl cellfed revoke
	// takes it away.
	// +optional
	// +kubebuilder:validation:Pattern=`^[a-z0-9]{8,40}$`
	Enrolment string `json:"enrolment,omitempty"`
}

// KubeFedClusterStatus is KubeFed's, and what is known of the member's tunnels.
type KubeFedClusterStatus struct {
	kubefedv1beta1.KubeFedClusterStatus `json:",inline"`

	// tunnel is about the tunnels to the member, when spec.tunnel is set.
	// +optional
	Tunnel *ClusterTunnelStatus `json:"tunnel,omitempty"`
}

// ClusterTunnelStatus is what the server whose controllers are active sees of a member's tunnels.
type ClusterTunnelStatus struct {
	// agents is how many agents of the member are connected.
	Agents int32 `json:"agents"`
	// certificateExpirationTime is when the first of the certificates of the connected agents ends.
	// +optional
	CertificateExpirationTime *metav1.Time `json:"certificateExpirationTime,omitempty"`
}

// TenantGrant lets one tenant place units in some namespaces of a member.
type TenantGrant struct {
	// tenant is the tenant's name: the value of the label tenancy.cellfed.io/tenant. Empty means those without one.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Tenant string `json:"tenant,omitempty"`
	// workspace narrows the grant to one of the tenant's workspaces. Absent means all of them.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Workspace *string `json:"workspace,omitempty"`
	// memberNamespaces are the namespaces of the member that are granted; * stands for any characters.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	MemberNamespaces []string `json:"memberNamespaces"`
}

// KubeFedClusterList is a list of KubeFedClusters.
//
// +kubebuilder:object:root=true
type KubeFedClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []KubeFedCluster `json:"items"`
}
