package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// CellFedConfiguration configures one cellfed process. A flag of the same
// meaning wins over the file.
type CellFedConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// DataDir is where the plane keeps its keys, its database and
	// admin.kubeconfig. Required.
	DataDir string `json:"dataDir,omitempty"`

	// BindAddress is the IP address to serve on. Default: 127.0.0.1.
	BindAddress string `json:"bindAddress,omitempty"`

	// SecurePort is the port to serve on; 0 takes a free one, and
	// admin.kubeconfig tells which. Default: 6443.
	SecurePort *int32 `json:"securePort,omitempty"`

	// Storage is the database, as a URL. Default: SQLite in the data directory.
	Storage string `json:"storage,omitempty"`

	// Encryption says how secrets are encrypted in the database. Default: with a
	// local key in the data directory.
	Encryption EncryptionConfiguration `json:"encryption,omitempty"`

	// TopologyTypes are the kinds of units that objects can be placed by, besides
	// "cluster", which is always there. Default: [cell].
	TopologyTypes []string `json:"topologyTypes,omitempty"`

	// Components are the parts that run in this process: "*" stands for all of
	// them, "name" switches one on, "-name" switches one off. Default: ["*"].
	Components []string `json:"components,omitempty"`

	// FeatureGates switches features on and off by name. A gate that is not
	// mentioned is as its default says, and a KubeFedConfig may say otherwise
	// while the plane runs.
	FeatureGates map[string]bool `json:"featureGates,omitempty"`

	// Propagation tunes how federated objects are brought to members.
	Propagation PropagationConfiguration `json:"propagation,omitempty"`

	// ClusterHealthCheck tunes how members are watched over.
	ClusterHealthCheck ClusterHealthCheckConfiguration `json:"clusterHealthCheck,omitempty"`

	// Tunnel says where agents of members behind firewalls connect to.
	Tunnel TunnelConfiguration `json:"tunnel,omitempty"`

	// LeaderElection tunes which one of several servers runs the controllers.
	LeaderElection LeaderElectionConfiguration `json:"leaderElection,omitempty"`

	// Logging configures logs. At verbosity 0 only CellFed's own lines and the
	// warnings and errors of its libraries are written.
	Logging logsapi.LoggingConfiguration `json:"logging,omitempty"`
}

// PropagationConfiguration tunes how federated objects are brought to members.
type PropagationConfiguration struct {
	// Concurrency is how many federated objects of one type are worked on at the
	// same time. Default: 16.
	Concurrency *int32 `json:"concurrency,omitempty"`

	// MemoryPerMember is how much memory what one member shows may take beyond what
	// the plane's own objects there are expected to: copies that another plane, or
	// KubeFed, keeps in the member count, and so does a member that answers without
	// end. A kind that would take more is not read in that member. Default: 32Mi.
	MemoryPerMember *resource.Quantity `json:"memoryPerMember,omitempty"`
}

// ClusterHealthCheckConfiguration tunes how members are watched over. The words
// and defaults are those of KubeFed.
type ClusterHealthCheckConfiguration struct {
	// Period is how often a member is asked for its health. Default: 10s.
	Period *metav1.Duration `json:"period,omitempty"`
	// Timeout is how long one such question may take. Default: 3s.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// FailureThreshold is how many failures in a row make a member not ready.
	// Default: 3.
	FailureThreshold *int32 `json:"failureThreshold,omitempty"`
	// SuccessThreshold is how many successes in a row make it ready again.
	// Default: 1.
	SuccessThreshold *int32 `json:"successThreshold,omitempty"`
}

// EncryptionConfiguration says how secrets are encrypted in the database.
type EncryptionConfiguration struct {
	// KMS is a key management service that encrypts what is written from now on.
	// What the local key encrypted stays readable, and so does what this service
	// encrypted when it is taken away here again.
	KMS *KMSConfiguration `json:"kms,omitempty"`
}

// KMSConfiguration is a plugin that speaks the KMS v2 API of Kubernetes on a
// socket of this machine.
type KMSConfiguration struct {
	// Name stands before everything that this service encrypted: another name is
	// another service. Required; a DNS label.
	Name string `json:"name"`
	// Endpoint is the plugin's socket: unix:///run/kms.sock. Required.
	Endpoint string `json:"endpoint"`
	// Timeout is how long one call to the plugin may take. Default: 3s.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// TunnelConfiguration says where agents of members behind firewalls connect to. It
// is served on BindAddress, with the certificate of the API.
type TunnelConfiguration struct {
	// Port is the port to serve on; 0 takes a free one, and -1 serves no tunnels.
	// Default: 8132, or a free one where another process has it.
	Port *int32 `json:"port,omitempty"`
	// Address is where agents reach this server, as HOST:PORT; join tells it to
	// them. Default: the bind address, or this machine's name, and the port.
	Address string `json:"address,omitempty"`
}

// LeaderElectionConfiguration tunes which one of several servers on one database
// runs the controllers. The words are those of Kubernetes; the times are shorter,
// because a server that is waiting counts from when it has noticed the last sign
// of life, which is up to 2.2 retry periods late, and looks again as late.
type LeaderElectionConfiguration struct {
	// LeaderElect says whether a server has to be elected before it runs
	// controllers. Default: true, except with SQLite, which has one server only.
	LeaderElect *bool `json:"leaderElect,omitempty"`
	// LeaseDuration is how long others wait for a leader that is not heard of.
	// Default: 12s.
	LeaseDuration *metav1.Duration `json:"leaseDuration,omitempty"`
	// RenewDeadline is how long a leader that cannot renew its lease goes on; then
	// it writes nothing any more. Default: 8s.
	RenewDeadline *metav1.Duration `json:"renewDeadline,omitempty"`
	// RetryPeriod is the pause between two attempts to get or renew the lease.
	// Default: 1s.
	RetryPeriod *metav1.Duration `json:"retryPeriod,omitempty"`
	// ResourceName is the name of the Lease in kube-federation-system. Default:
	// cellfed.
	ResourceName string `json:"resourceName,omitempty"`
}
