package process

import (
	"os/exec"
	"runtime"
	"syscall"
)

// bound starts processes from one thread that never ends: the kernel sends the parent-death signal when the
// thread that forked ends, and Go ends threads when it likes.
var bound = func() chan func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
}()

// StartBound starts a command that the kernel kills when the test that started it dies, whichever way.
func StartBound(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	bound <- func() { done <- cmd.Start() }
	return <-done
}
