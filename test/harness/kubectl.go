package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	return kubectl(ctx, nil, kubeconfig, stdin, args)
}

// Kubectl is the same from where the member can be reached: behind its firewall, if it has one.
func (m *Member) Kubectl(ctx context.Context, kubeconfig, stdin string, args ...string) (string, error) {
	inside, err := m.Inside()
	if err != nil {
		return "", err
	}
	return kubectl(ctx, inside, kubeconfig, stdin, args)
}

func kubectl(ctx context.Context, inside []string, kubeconfig, stdin string, args []string) (string, error) {
	bin, err := Binary("cellfed")
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(bin)
	command := slices.Concat(inside, []string{filepath.Join(dir, "tools", "kubectl")}, args)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+dir+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
	}
	return string(out), nil
}
