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
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type KubeFedCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec kubefedv1beta1.KubeFedClusterSpec `json:"spec"`
	// +optional
	Status kubefedv1beta1.KubeFedClusterStatus `json:"status,omitempty"`
}

// KubeFedClusterList is a list of KubeFedClusters.
//
// +kubebuilder:object:root=true
type KubeFedClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []KubeFedCluster `json:"items"`
}
