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
	out, err := m.Kubectl(ctx, p.Kubeconfig, "", append([]string{"cellfed", "join", m.Name, "--tunnel",
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

// Run runs one of the repository's binaries where the member can be reached: behind its firewall, if it has one. What it
// writes is added to the file log.
func (m *Member) Run(name, log string, args ...string) (*process.Process, error) {
	binary, err := Binary(name)
	if err != nil {
		return nil, err
	}
	command, err := m.Inside(append([]string{binary}, args...)...)
	if err != nil {
		return nil, err
	}
	return process.Start(name, log, exec.Command(command[0], command[1:]...))
}
