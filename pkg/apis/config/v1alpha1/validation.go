package v1alpha1

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	logsapi "k8s.io/component-base/logs/api/v1"

	"github.com/cellfed/cellfed/pkg/features"
)

// clusterTopology is the topology type that needs no configuration: members
// themselves. It cannot be configured either.
const clusterTopology = "cluster"

// leaderElectionJitter is how much longer than the retry period client-go may
// pause.
const leaderElectionJitter = 1.2

// Validate tells what is wrong with a configuration that has its defaults.
// known are the names of the components there are.
func Validate(c *CellFedConfiguration, known []string) field.ErrorList {
	var errs field.ErrorList
	if c.DataDir == "" {
		errs = append(errs, field.Required(field.NewPath("dataDir"), "say where the plane may keep its keys and its database, here or with --data-dir"))
	}
	if net.ParseIP(c.BindAddress) == nil {
		errs = append(errs, field.Invalid(field.NewPath("bindAddress"), c.BindAddress, "must be an IP address"))
	}
	errs = append(errs, validateTunnel(&c.Tunnel, field.NewPath("tunnel"))...)
	if p := *c.SecurePort; p < 0 || p > 65535 {
		errs = append(errs, field.Invalid(field.NewPath("securePort"), p, "must be between 0 and 65535"))
	}
	if c.Storage != "" && !strings.Contains(c.Storage, "://") {
		errs = append(errs, field.Invalid(field.NewPath("storage"), "(not shown: it may hold a password)", "must be a URL like sqlite:///var/lib/cellfed/state.db"))
	}
	errs = append(errs, validateKMS(c.Encryption.KMS, field.NewPath("encryption", "kms"))...)
	errs = append(errs, validateTopologyTypes(c.TopologyTypes, field.NewPath("topologyTypes"))...)
	errs = append(errs, validateComponents(c.Components, known, field.NewPath("components"))...)
	errs = append(errs, validateFeatureGates(c.FeatureGates, field.NewPath("featureGates"))...)
	errs = append(errs, atLeastOne(*c.Propagation.Concurrency, field.NewPath("propagation", "concurrency"))...)
	if m := c.Propagation.MemoryPerMember; m.Value() < 1<<20 || m.Value() > 1<<40 {
		errs = append(errs, field.Invalid(field.NewPath("propagation", "memoryPerMember"), m.String(), "must be between 1Mi and 1Ti"))
	}
	errs = append(errs, validateHealthCheck(&c.ClusterHealthCheck, field.NewPath("clusterHealthCheck"))...)
	errs = append(errs, validateElection(&c.LeaderElection, c.Storage, field.NewPath("leaderElection"))...)
	errs = append(errs, logsapi.Validate(&c.Logging, nil, field.NewPath("logging"))...)
	return errs
}

// maxKMSTimeout keeps a plugin that does not answer from holding a request until
// its client has gone.
const maxKMSTimeout = 30 * time.Second

func validateKMS(k *KMSConfiguration, path *field.Path) field.ErrorList {
	if k == nil {
		return nil
	}
	var errs field.ErrorList
	if k.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), "say what this service is called: everything it encrypts is marked with that"))
	} else {
		for _, msg := range validation.IsDNS1123Label(k.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), k.Name, msg))
		}
	}
	if u, err := url.Parse(k.Endpoint); k.Endpoint == "" {
		errs = append(errs, field.Required(path.Child("endpoint"), "say where the plugin's socket is, as in unix:///run/kms.sock"))
	} else if err != nil || u.Scheme != "unix" || u.Host != "" || len(u.Path) < 2 || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, field.Invalid(path.Child("endpoint"), k.Endpoint, "must be a socket with its absolute path, like unix:///run/kms.sock"))
	}
	if d := k.Timeout.Duration; d <= 0 || d > maxKMSTimeout {
		errs = append(errs, field.Invalid(path.Child("timeout"), d.String(), "must be more than nothing and at most "+maxKMSTimeout.String()))
	}
	return errs
}

func validateTopologyTypes(types []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, t := range types {
		at := path.Index(i)
		switch {
		case t == clusterTopology:
			errs = append(errs, field.Forbidden(at, `"cluster" stands for the members themselves and is always there`))
		case seen.Has(t):
			errs = append(errs, field.Duplicate(at, t))
		default:
			// The type is the last part of the names of units' clusters, which are
			// DNS labels joined by dots.
			for _, msg := range validation.IsDNS1123Label(t) {
				errs = append(errs, field.Invalid(at, t, msg))
			}
		}
		seen.Insert(t)
	}
	return errs
}

func validateComponents(components, known []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New(known...)
	for i, c := range components {
		if c == AllComponents || names.Has(strings.TrimPrefix(c, "-")) {
			continue
		}
		errs = append(errs, field.Invalid(path.Index(i), c,
			fmt.Sprintf("must be *, one of [%s], or one of these after a minus sign", strings.Join(sets.List(names), " "))))
	}
	return errs
}

func validateFeatureGates(gates map[string]bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := features.Names()
	for _, name := range sets.List(sets.KeySet(gates)) {
		if !slices.Contains(known, name) {
			errs = append(errs, field.NotSupported(path.Key(name), name, known))
		}
	}
	return errs
}

func validateHealthCheck(h *ClusterHealthCheckConfiguration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if h.Period.Duration <= 0 {
		errs = append(errs, field.Invalid(path.Child("period"), h.Period.Duration.String(), "must be more than nothing"))
	}
	if h.Timeout.Duration <= 0 {
		errs = append(errs, field.Invalid(path.Child("timeout"), h.Timeout.Duration.String(), "must be more than nothing"))
	}
	errs = append(errs, atLeastOne(*h.FailureThreshold, path.Child("failureThreshold"))...)
	errs = append(errs, atLeastOne(*h.SuccessThreshold, path.Child("successThreshold"))...)
	return errs
}

// validateElection keeps the times in the order that makes a leader end before its successor begins.
func validateElection(e *LeaderElectionConfiguration, storage string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if e.LeaderElect != nil && !*e.LeaderElect && !hasOneServer(storage) {
		errs = append(errs, field.Forbidden(path.Child("leaderElect"), "other servers may use this storage, and the controllers of two at once would undo each other's work"))
	}
	lease, renew, retry := e.LeaseDuration.Duration, e.RenewDeadline.Duration, e.RetryPeriod.Duration
	if lease < time.Second || lease%time.Second != 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDuration"), lease.String(), "must be whole seconds, and at least one"))
	}
	if renew >= lease {
		errs = append(errs, field.Invalid(path.Child("renewDeadline"), renew.String(), "must be less than leaseDuration"))
	}
	if retry <= 0 || renew <= time.Duration(leaderElectionJitter*float64(retry)) {
		errs = append(errs, field.Invalid(path.Child("retryPeriod"), retry.String(), "must be more than nothing, and 1.2 times of it less than renewDeadline"))
	}
	for _, msg := range validation.IsDNS1123Subdomain(e.ResourceName) {
		errs = append(errs, field.Invalid(path.Child("resourceName"), e.ResourceName, msg))
	}
	return errs
}

func atLeastOne(v int32, path *field.Path) field.ErrorList {
	if v < 1 {
		return field.ErrorList{field.Invalid(path, v, "must be at least 1")}
	}
	return nil
}

// hasOneServer tells whether a storage can be used by one process only: a SQLite file is locked by the first.
func hasOneServer(storage string) bool { return storage == "" || strings.HasPrefix(storage, "sqlite:") }

// Elects tells whether a server has to be elected before it runs controllers: wherever there can be several. A process
// that holds its SQLite file has nobody to wait for.
func (c *CellFedConfiguration) Elects() bool {
	if c.LeaderElection.LeaderElect != nil {
		return *c.LeaderElection.LeaderElect
	}
	return !hasOneServer(c.Storage)
}

// Gates are the feature gates of a valid configuration.
func (c *CellFedConfiguration) Gates() features.Gates {
	gates, _ := features.Gates{}.WithAll(c.FeatureGates) // Validate has told of unknown names
	return gates
}

// Enabled tells whether the component called name is on. A mention of its own
// wins over "*", and of several mentions the first.
func (c *CellFedConfiguration) Enabled(name string) bool {
	all := false
	for _, entry := range c.Components {
		switch entry {
		case name:
			return true
		case "-" + name:
			return false
		case AllComponents:
			all = true
		}
	}
	return all
}

func validateTunnel(t *TunnelConfiguration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Port != nil && (*t.Port < -1 || *t.Port > 65535) {
		errs = append(errs, field.Invalid(path.Child("port"), *t.Port, "must be between 0 and 65535, or -1 to serve no tunnels"))
	}
	if t.Address == "" {
		return errs
	}
	host, port, err := net.SplitHostPort(t.Address)
	if n, portErr := strconv.Atoi(port); err != nil || host == "" || portErr != nil || n < 1 || n > 65535 {
		errs = append(errs, field.Invalid(path.Child("address"), t.Address, "must be HOST:PORT"))
	}
	return errs
}
