package harness

import (
	"os/exec"
	"runtime"
	"syscall"
)

// dieWithMe has the kernel kill a process when the test that started it dies, whichever way.
func dieWithMe() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

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

// startBound starts a process made with dieWithMe.
func startBound(cmd *exec.Cmd) error {
	done := make(chan error)
	bound <- func() { done <- cmd.Start() }
	return <-done
}
