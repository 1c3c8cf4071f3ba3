// Command cellfed-playground runs real Kubernetes members on one machine, for demo, tests and benchmarks.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// The command that exec runs takes the place of this process, and with it of the thread that entered a member's network. It
// has to be the first thread: only that one is killed by the kernel when its parent dies.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cellfed-playground: "+err.Error())
		os.Exit(1)
	}
}
