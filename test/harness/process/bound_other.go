//go:build unix && !linux

package process

import (
	"os/exec"
	"syscall"
)

// StartBound starts a command and keeps the terminal's signals away from it; there is no parent-death signal here.
func StartBound(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}
