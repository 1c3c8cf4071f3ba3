//go:build unix && !linux

package playground

import "syscall"

// memberProcess keeps the terminal's Ctrl-C from members, whose end the supervisor orders. There is no
// parent-death signal here; members notice that their standard input closes, unless they are paused.
func memberProcess() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
