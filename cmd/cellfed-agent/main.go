// Command cellfed-agent runs in a member that the plane cannot reach: it dials out to the plane's proxy servers and holds
// tunnels open, through which the plane reaches the member's API server.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	// A second signal ends the process at once: stop restores the default.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cellfed-agent: "+strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}
