package v1alpha1

import (
	"strings"
	"testing"
	"time"

	"github.com/cellfed/cellfed/pkg/features"
)

const header = "apiVersion: config.cellfed.io/v1alpha1\nkind: CellFedConfiguration\n"

func TestAFileIsRefusedWithTheReasonWhen(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"a field is unknown":           {header + "dataDri: /x\n", `unknown field "dataDri"`},
		"a nested field is unknown":    {header + "propagation: {workers: 3}\n", `unknown field "propagation.workers"`},
		"a field is there twice":       {header + "dataDir: /x\ndataDir: /y\n", `"dataDir" already set`},
		"the kind is another":          {"apiVersion: config.cellfed.io/v1alpha1\nkind: Wrong\n", `no kind "Wrong"`},
		"the version is another":       {"apiVersion: config.cellfed.io/v9\nkind: CellFedConfiguration\n", `config.cellfed.io/v9`},
		"it says not what it is":       {"dataDir: /x\n", "Kind"},
		"a value is of the wrong type": {header + "securePort: many\n", "securePort"},
		"a duration has no unit":       {header + "clusterHealthCheck: {period: 10}\n", "clusterHealthCheck.period"},
		"it is no YAML":                {"{", "json parse error"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Decode([]byte(tc.file))
			if err == nil {
				t.Fatalf("accepted: %+v", c)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the message %q does not contain %q", err, tc.want)
			}
		})
	}
}

func TestAnEmptyFileGetsTheDefaults(t *testing.T) {
	c, err := Decode([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	SetDefaults(c)
	if c.BindAddress != "127.0.0.1" || *c.SecurePort != 6443 || c.Storage != "" ||
		len(c.TopologyTypes) != 1 || c.TopologyTypes[0] != "cell" || !c.Enabled("anything") ||
		*c.Propagation.Concurrency != 16 || c.ClusterHealthCheck.Period.Duration != 10*time.Second ||
		c.ClusterHealthCheck.Timeout.Duration != 3*time.Second || *c.ClusterHealthCheck.FailureThreshold != 3 ||
		*c.ClusterHealthCheck.SuccessThreshold != 1 || c.Logging.Format != "text" || c.Logging.Verbosity != 0 {
		t.Errorf("defaults are %+v", c)
	}
}

func TestWhatTheFileSaysIsKept(t *testing.T) {
	c, err := Decode([]byte(header + `
dataDir: /d
bindAddress: "::1"
securePort: 0
storage: sqlite:///d/x.db
topologyTypes: [cell, zone]
components: ["*", "-propagation"]
propagation: {concurrency: 2}
encryption: {kms: {name: vault, endpoint: "unix:///run/kms.sock"}}
clusterHealthCheck: {period: 1s, timeout: 500ms, failureThreshold: 2, successThreshold: 4}
logging: {verbosity: 3}
`))
	if err != nil {
		t.Fatal(err)
	}
	SetDefaults(c)
	if c.DataDir != "/d" || c.BindAddress != "::1" || *c.SecurePort != 0 || c.Storage != "sqlite:///d/x.db" ||
		len(c.TopologyTypes) != 2 || c.Enabled("propagation") || !c.Enabled("namespace") ||
		*c.Propagation.Concurrency != 2 || c.ClusterHealthCheck.Timeout.Duration != 500*time.Millisecond ||
		*c.ClusterHealthCheck.SuccessThreshold != 4 || c.Logging.Verbosity != 3 ||
		c.Encryption.KMS.Name != "vault" || c.Encryption.KMS.Timeout.Duration != 3*time.Second {
		t.Errorf("the file became %+v", c)
	}
	if errs := Validate(c, []string{"propagation", "namespace"}); len(errs) != 0 {
		t.Errorf("a good file was refused: %v", errs)
	}
}

func TestAValueIsRefusedAtItsPathWhen(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"there is no data directory":          {"dataDir: ''", "dataDir: Required value"},
		"the address is a name":               {"bindAddress: localhost", "bindAddress: Invalid value"},
		"the port is too high":                {"securePort: 65536", "securePort: Invalid value"},
		"the port is negative":                {"securePort: -1", "securePort: Invalid value"},
		"the tunnels' port is too high":       {"tunnel: {port: 65536}", "tunnel.port: Invalid value"},
		"the tunnels' address has no port":    {"tunnel: {address: plane.example.org}", "tunnel.address: Invalid value"},
		"the storage is a bare path":          {"storage: /d/x.db", "storage: Invalid value"},
		"a topology type is cluster":          {"topologyTypes: [cell, cluster]", "topologyTypes[1]: Forbidden"},
		"a topology type is no DNS label":     {"topologyTypes: [Cell]", "topologyTypes[0]: Invalid value"},
		"a topology type has a dot":           {"topologyTypes: [a.b]", "topologyTypes[0]: Invalid value"},
		"a topology type is there twice":      {"topologyTypes: [cell, cell]", "topologyTypes[1]: Duplicate value"},
		"a component is unknown":              {"components: [propagatoin]", "components[0]: Invalid value"},
		"a component switched off is unknown": {"components: ['*', -gc]", "components[1]: Invalid value"},
		"there are no workers":                {"propagation: {concurrency: 0}", "propagation.concurrency: Invalid value"},
		"the period is nothing":               {"clusterHealthCheck: {period: 0s}", "clusterHealthCheck.period: Invalid value"},
		"the timeout is negative":             {"clusterHealthCheck: {timeout: -1s}", "clusterHealthCheck.timeout: Invalid value"},
		"the failure threshold is nothing":    {"clusterHealthCheck: {failureThreshold: 0}", "clusterHealthCheck.failureThreshold: Invalid value"},
		"the success threshold is nothing":    {"clusterHealthCheck: {successThreshold: 0}", "clusterHealthCheck.successThreshold: Invalid value"},
		"the KMS has no name":                 {"encryption: {kms: {endpoint: 'unix:///k'}}", "encryption.kms.name: Required value"},
		"the KMS has a name with a colon":     {"encryption: {kms: {name: 'a:b', endpoint: 'unix:///k'}}", "encryption.kms.name: Invalid value"},
		"the KMS is nowhere":                  {"encryption: {kms: {name: a}}", "encryption.kms.endpoint: Required value"},
		"the KMS is on the network":           {"encryption: {kms: {name: a, endpoint: 'tcp://k:1'}}", "encryption.kms.endpoint: Invalid value"},
		"the path of the KMS is relative":     {"encryption: {kms: {name: a, endpoint: 'unix://k/s'}}", "encryption.kms.endpoint: Invalid value"},
		"the KMS may take no time":            {"encryption: {kms: {name: a, endpoint: 'unix:///k', timeout: 0s}}", "encryption.kms.timeout: Invalid value"},
		"the KMS may take for ever":           {"encryption: {kms: {name: a, endpoint: 'unix:///k', timeout: 1h}}", "encryption.kms.timeout: Invalid value"},
		"a feature gate is unknown":           {"featureGates: {PlacementMaks: false}", "featureGates[PlacementMaks]: Unsupported value"},
		"two servers would lead":              {"storage: etcd://a:2379\nleaderElection: {leaderElect: false}", "leaderElection.leaderElect: Forbidden"},
		"a leader outlives its lease":         {"leaderElection: {leaseDuration: 8s}", "leaderElection.renewDeadline: Invalid value"},
		"a lease is in parts of seconds":      {"leaderElection: {leaseDuration: 15500ms}", "leaderElection.leaseDuration: Invalid value"},
		"a leader has one attempt only":       {"leaderElection: {retryPeriod: 9s}", "leaderElection.retryPeriod: Invalid value"},
		"a lease has no name of a Lease":      {"leaderElection: {resourceName: Cell_Fed}", "leaderElection.resourceName: Invalid value"},
		"the log format is unknown":           {"logging: {format: poem}", "logging.format: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			file := header + tc.file + "\n"
			if !strings.HasPrefix(tc.file, "dataDir") {
				file += "dataDir: /d\n"
			}
			c, err := Decode([]byte(file))
			if err != nil {
				t.Fatal(err)
			}
			SetDefaults(c)
			errs := Validate(c, []string{"propagation"})
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), tc.want) {
				t.Errorf("errors are %v, want just one with %q", errs, tc.want)
			}
		})
	}
}

func TestAnUnknownFeatureGateIsRefusedWithTheGatesThereAre(t *testing.T) {
	c := &CellFedConfiguration{DataDir: "/d", FeatureGates: map[string]bool{"Nonsense": true, "PlacementMask": false}}
	SetDefaults(c)
	errs := Validate(c, nil)
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), `"PlacementMask"`) || !strings.Contains(errs[0].Error(), `"Topologies"`) {
		t.Errorf("errors are %v", errs)
	}
	if c.Gates().Enabled(features.PlacementMask) || !c.Gates().Enabled(features.Topologies) {
		t.Errorf("gates are %q", c.Gates())
	}
}

func TestAComponentIs(t *testing.T) {
	for name, tc := range map[string]struct {
		list []string
		on   bool
	}{
		"on by the star":                        {[]string{"*"}, true},
		"on by its name":                        {[]string{"b"}, true},
		"off when only others are named":        {[]string{"a"}, false},
		"off by its minus, whatever comes next": {[]string{"-b", "*"}, false},
		"off by its minus after the star":       {[]string{"*", "-b"}, false},
		"off in an empty list":                  {[]string{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&CellFedConfiguration{Components: tc.list}).Enabled("b"); got != tc.on {
				t.Errorf("Enabled = %v, want %v", got, tc.on)
			}
		})
	}
}

func TestServersAreElectedWhereThereCanBeSeveral(t *testing.T) {
	for storage, want := range map[string]bool{
		"": false, "sqlite:///d/x.db": false, "etcd://a:2379": true, "mysql://a/b": true,
		"sqlite:///d/y.db\nleaderElection: {leaderElect: true}": true,
	} {
		c, err := Decode([]byte(header + "dataDir: /d\nstorage: " + storage + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		SetDefaults(c)
		if got := c.Elects(); got != want {
			t.Errorf("%q: %v", storage, got)
		}
		if errs := Validate(c, nil); len(errs) != 0 {
			t.Errorf("%q: %v", storage, errs)
		}
	}
}
