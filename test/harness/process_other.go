//go:build unix && !linux

package harness

import (
	"os/exec"
	"syscall"
)

// dieWithMe keeps the terminal's signals away; there is no parent-death signal here.
func dieWithMe() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// startBound starts a process made with dieWithMe.
func startBound(cmd *exec.Cmd) error { return cmd.Start() }
