package membership

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
)

// Tunnels is what a process knows of the tunnels that members' agents hold open to it.
type Tunnels interface {
	// Agents is how many agents of a member are connected, and when the first of their certificates ends.
	Agents(member string) (connected int, certificateEnds time.Time)
	// Subscribe has changed called with the name of a member whose agents have come, gone or changed, until ctx ends.
	// It must not call from within Agents.
	Subscribe(ctx context.Context, changed func(member string))
}

// tunnelOf is the status of a member's tunnels; nil for a member that is reached otherwise.
func (c *Controller) tunnelOf(cluster *corev1beta1.KubeFedCluster) *corev1beta1.ClusterTunnelStatus {
	if cluster.Spec.Tunnel == nil {
		return nil
	}
	status := &corev1beta1.ClusterTunnelStatus{}
	if tunnels := c.opts.Load().Tunnels; tunnels != nil {
		agents, ends := tunnels.Agents(cluster.Name)
		status.Agents = int32(agents)
		if !ends.IsZero() {
			status.CertificateExpirationTime = &metav1.Time{Time: ends.Truncate(time.Second)} // as the API server keeps it
		}
	}
	return status
}

// tunnelChanged has a member asked and its status written at once: an agent that has come is the member's return.
func (c *Controller) tunnelChanged(name string) {
	c.suspect(name)
	c.mu.Lock()
	watched := c.seen[name]
	c.mu.Unlock()
	if watched {
		c.tell(name)
	}
}
