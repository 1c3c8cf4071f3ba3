package apiserver

import (
	"context"
	"net"
	"time"

	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/host"
)

// renewalInterval is how often a running plane looks at its certificates. They
// are renewed months before their end, so that one failure is no matter.
const renewalInterval = 12 * time.Hour

// renewer keeps the certificates of a plane that is never restarted from
// ending. The API server notices new files by itself.
type renewer struct {
	dir *host.Dir
	url string
	ips []net.IP
	// names are what clients call the plane besides its addresses.
	names []string
}

func (r *renewer) run(ctx context.Context) {
	tick := time.NewTicker(renewalInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := r.renew(now); err != nil {
				klog.FromContext(ctx).Error(err, "Could not look after the certificates; the next attempt follows", "interval", renewalInterval)
			}
		}
	}
}

func (r *renewer) renew(now time.Time) error {
	keys, err := r.dir.Keys(now, r.ips, r.names)
	if err != nil {
		return err
	}
	return r.dir.WriteKubeconfig(r.url, keys)
}
