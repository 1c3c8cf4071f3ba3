package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cellfed/cellfed/test/harness"
)

// TestThePlaneTakesTheSamplesAsTheyAre applies what users copy from, in the order of the files' names, to a plane of its
// own: the samples' members are nowhere, and the objects wait for them.
func TestThePlaneTakesTheSamplesAsTheyAre(t *testing.T) {
	plane := harness.RunPlane(t, harness.PlaneOptions{})
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(world.bin, "tools", "kubectl"), append([]string{"--kubeconfig", plane.Kubeconfig}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	samples, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "*.yaml"))
	if err != nil || len(samples) < 5 {
		t.Fatalf("samples: %v, %v", samples, err)
	}
	slices.Sort(samples)
	for _, sample := range samples {
		if strings.HasPrefix(filepath.Base(sample), "4") {
			run("wait", "--for=condition=Served", "ftc", "--all", "-n", "kube-federation-system", "--timeout=30s")
			run("wait", "--for=condition=Ready", "units", "--all", "-n", "acme-prod", "--timeout=30s")
		}
		run("apply", "-f", sample)
	}
	if both := run("diff", "-f", filepath.Join("..", "..", "config", "samples", "40-federateddeployment-v2beta1.yaml")); both != "" {
		t.Errorf("the two forms' samples are not one object:\n%s", both)
	}
}
