package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Unbound makes a client that never waits for a limit of its own: a benchmark measures the other side.
func Unbound(config *rest.Config) (dynamic.Interface, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	return dynamic.NewForConfig(config)
}

// Kubectl runs the repository's kubectl, with the plugin on its path, on the plane or a member. It returns what it printed, which is
// also told with an error.
func Kubectl(ctx context.Context, kubeconfig, stdin string, args ...string) (string, error) {
	bin, err := Binary("cellfed")
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(bin)
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "tools", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+dir+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
	}
	return string(out), nil
}
