package playground

import "syscall"

// memberProcess keeps the terminal's Ctrl-C from members, whose end the supervisor orders, and has the kernel
// kill them when the supervisor dies without a word: a paused member could not notice by itself.
func memberProcess() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
