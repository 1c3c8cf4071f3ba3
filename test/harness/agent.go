package harness

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/cellfed/cellfed/test/harness/process"
)

// JoinTunnelled joins a member to a plane through a tunnel, and returns the command line of an agent that has its files in
// dir. Flags of join may be added.
func (p *Plane) JoinTunnelled(ctx context.Context, m *Member, dir string, flags ...string) ([]string, error) {
	out, err := Kubectl(ctx, p.Kubeconfig, "", append([]string{"cellfed", "join", m.Name, "--tunnel",
		"--member-kubeconfig=" + m.Kubeconfig, "--member-endpoint=" + m.Config.Host, "--agent-dir=" + dir}, flags...)...)
	if err != nil {
		return nil, err
	}
	_, line, found := strings.Cut(out, "\ncellfed-agent ")
	if !found {
		return nil, fmt.Errorf("joining %s printed no command of an agent:\n%s", m.Name, out)
	}
	return append(strings.Fields(line), "--metrics-address="), nil
}

// StartAgent runs our agent. What it writes is added to the file log.
func StartAgent(command []string, log string) (*process.Process, error) {
	binary, err := Binary("cellfed-agent")
	if err != nil {
		return nil, err
	}
	return process.Start("the agent", log, exec.Command(binary, command...))
}
