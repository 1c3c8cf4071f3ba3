package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/test/harness"
)

// world is what all tests share.
var world struct {
	plane   *harness.Plane
	members *harness.MemberSet
	client  dynamic.Interface
	inside  map[string]dynamic.Interface
	bin     string
}

// The members. Tests that take one down use tower: the others are there for everybody.
const (
	east  = "east"
	west  = "west"
	tower = "tower"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := open(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "starting the world:", err)
		closeWorld()
		return 1
	}
	defer closeWorld()
	return m.Run()
}

func closeWorld() {
	if world.plane != nil {
		if err := world.plane.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "ending the plane:", err)
		}
	}
	if world.members != nil {
		if err := world.members.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "ending the members:", err)
		}
	}
}

func open(ctx context.Context) (err error) {
	bin, err := harness.Binary("cellfed")
	if err != nil {
		return err
	}
	world.bin = filepath.Dir(bin)
	started := make(chan error, 1)
	go func() {
		var err error
		world.members, err = harness.StartMembers(ctx, 3, harness.MembersNamed(east, west, tower), harness.MembersWithAudit())
		started <- err
	}()
	world.plane, err = harness.StartPlane(ctx, harness.PlaneOptions{Config: configuration})
	if memberErr := <-started; err == nil {
		err = memberErr
	}
	if err != nil {
		return err
	}
	config := world.plane.RestConfig()
	config.QPS = -1
	if world.client, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	world.inside = map[string]dynamic.Interface{}
	for _, m := range world.members.Members {
		if world.inside[m.Name], err = dynamic.NewForConfig(m.Config); err != nil {
			return err
		}
		if out, err := kubectl(ctx, "", "cellfed", "join", m.Name, "--member-kubeconfig", m.Kubeconfig); err != nil {
			return fmt.Errorf("joining %s: %w\n%s", m.Name, err, out)
		}
	}
	if out, err := kubectl(ctx, typeConfigs, "apply", "-f", "-"); err != nil {
		return fmt.Errorf("federating types: %w\n%s", err, out)
	}
	out, err := kubectl(ctx, "", "wait", "--for=condition=Served", "ftc", "--all", "-n", "kube-federation-system", "--timeout=60s")
	if err != nil {
		return fmt.Errorf("federating types: %w\n%s", err, out)
	}
	return nil
}

// configuration adds a second topology type by configuration alone, and looks after members more often than a plane
// in production would, for the tests' sake.
const configuration = `apiVersion: config.cellfed.io/v1alpha1
kind: CellFedConfiguration
topologyTypes: [cell, zone]
clusterHealthCheck: {period: 2s, timeout: 1s, failureThreshold: 3, successThreshold: 1}
`

const typeConfigs = `apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: configmaps, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {version: v1, kind: ConfigMap, pluralName: configmaps, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedConfigMap, pluralName: federatedconfigmaps, scope: Namespaced}
---
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: deployments.apps, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {group: apps, version: v1, kind: Deployment, pluralName: deployments, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedDeployment, pluralName: federateddeployments, scope: Namespaced}
`

// kubectl runs stock kubectl on the plane, with the plugin on its path.
func kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(world.bin, "tools", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+world.plane.Kubeconfig, "PATH="+world.bin+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
