package manager

import (
	"context"
	"fmt"

	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/pkg/controllers/membership"
	settingsroom "github.com/cellfed/cellfed/pkg/controllers/settings"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/metrics"
	"github.com/cellfed/cellfed/pkg/settings"
)

// loadSettings reads the settings, and returns who keeps them from then on.
func (a *assembly) loadSettings(ctx context.Context, onPlane dynamic.Interface) (*settingsroom.Watcher, error) {
	a.live = settingsroom.NewLive(a.opts.Settings)
	watcher, err := settingsroom.NewWatcher(a.live, onPlane, a.GetEventRecorder("cellfed-settings"))
	if err != nil {
		return nil, fmt.Errorf("adding the settings: %w", err)
	}
	if err := watcher.Load(ctx); err != nil {
		return nil, err
	}
	metrics.Gates(a.live.Gates())
	return watcher, nil
}

// membership is how members are watched over at first.
func (a *assembly) membership() membership.Options {
	o, h := a.opts.Membership, a.live.Current().Health
	o.Member.UserAgent, o.Member.Tunnel = a.opts.UserAgent, a.opts.tunnel()
	if a.opts.Tunnels != nil {
		o.Tunnels = a.opts.Tunnels
	}
	o.Period, o.Timeout, o.FailureThreshold, o.SuccessThreshold = h.Period, h.Timeout, h.FailureThreshold, h.SuccessThreshold
	return o
}

// followSettings tells the parts of changes that they do not ask for by themselves.
func (a *assembly) followSettings(members *membership.Controller) {
	a.live.Subscribe(func(before, now settings.Settings) {
		if before.Health != now.Health {
			members.SetHealth(membership.Health(now.Health))
		}
		metrics.Gates(now.Gates)
		if gate := features.RequireTenantGrants; a.units != nil && before.Gates.Enabled(gate) != now.Gates.Enabled(gate) {
			a.units.RequirementChanged()
		}
		before.Health = now.Health
		if before != now {
			a.propagation.SettingsChanged()
		}
	})
}

// requireGrants tells whether a member that says nothing of tenants is closed to all that have one.
func (a *assembly) requireGrants() bool { return a.live.Gates().Enabled(features.RequireTenantGrants) }
