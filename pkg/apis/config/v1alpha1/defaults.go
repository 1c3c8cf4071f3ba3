package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/utils/ptr"
)

// What is assumed when nothing is said.
const (
	DefaultBindAddress = "127.0.0.1"
	DefaultSecurePort  = 6443
	// DefaultTunnelPort is konnectivity's.
	DefaultTunnelPort       = 8132
	DefaultTopologyType     = "cell"
	AllComponents           = "*"
	DefaultConcurrency      = 16
	DefaultMemoryPerMember  = "32Mi"
	DefaultHealthPeriod     = 10 * time.Second
	DefaultHealthTimeout    = 3 * time.Second
	DefaultFailureThreshold = 3
	DefaultSuccessThreshold = 1
	DefaultKMSTimeout       = 3 * time.Second
	DefaultLeaseDuration    = 12 * time.Second
	DefaultRenewDeadline    = 8 * time.Second
	DefaultRetryPeriod      = 1 * time.Second
	DefaultLeaseName        = "cellfed"
)

// SetDefaults fills in what c does not say. Storage stays empty: its default
// hangs on the data directory, and only the machine can make that path absolute.
func SetDefaults(c *CellFedConfiguration) {
	if c.BindAddress == "" {
		c.BindAddress = DefaultBindAddress
	}
	if c.SecurePort == nil {
		c.SecurePort = ptr.To[int32](DefaultSecurePort)
	}
	if c.TopologyTypes == nil {
		c.TopologyTypes = []string{DefaultTopologyType}
	}
	if c.Components == nil {
		c.Components = []string{AllComponents}
	}
	if c.Propagation.Concurrency == nil {
		c.Propagation.Concurrency = ptr.To[int32](DefaultConcurrency)
	}
	if c.Propagation.MemoryPerMember == nil {
		c.Propagation.MemoryPerMember = ptr.To(resource.MustParse(DefaultMemoryPerMember))
	}
	if k := c.Encryption.KMS; k != nil && k.Timeout == nil {
		k.Timeout = &metav1.Duration{Duration: DefaultKMSTimeout}
	}
	setHealthDefaults(&c.ClusterHealthCheck)
	setElectionDefaults(&c.LeaderElection)
	logsapi.SetRecommendedLoggingConfiguration(&c.Logging)
}

func setHealthDefaults(h *ClusterHealthCheckConfiguration) {
	if h.Period == nil {
		h.Period = &metav1.Duration{Duration: DefaultHealthPeriod}
	}
	if h.Timeout == nil {
		h.Timeout = &metav1.Duration{Duration: DefaultHealthTimeout}
	}
	if h.FailureThreshold == nil {
		h.FailureThreshold = ptr.To[int32](DefaultFailureThreshold)
	}
	if h.SuccessThreshold == nil {
		h.SuccessThreshold = ptr.To[int32](DefaultSuccessThreshold)
	}
}

// setElectionDefaults leaves LeaderElect alone: its default hangs on the storage, which a flag may still say.
func setElectionDefaults(e *LeaderElectionConfiguration) {
	if e.LeaseDuration == nil {
		e.LeaseDuration = &metav1.Duration{Duration: DefaultLeaseDuration}
	}
	if e.RenewDeadline == nil {
		e.RenewDeadline = &metav1.Duration{Duration: DefaultRenewDeadline}
	}
	if e.RetryPeriod == nil {
		e.RetryPeriod = &metav1.Duration{Duration: DefaultRetryPeriod}
	}
	if e.ResourceName == "" {
		e.ResourceName = DefaultLeaseName
	}
}
