// Command bench measures propagation against its floor: plain client-go that makes the same writes by itself, on the
// same machine, in alternating runs. Figures are ratios first; absolute ones depend on the machine.
//
// Per object, CellFed writes on the plane: on creation the object (the client's), its revision, the record of units
// and the status; on update the object, its revision and the status; on deletion the deletion (the client's) and the
// finalizer. The floor makes as many writes of the same size there, and one per member, as CellFed does, and watches
// nothing.
//
// With -tunnel the floor is CellFed itself: the same plane reaches the same members directly and through the tunnels of
// their agents, in alternating runs. Between two runs the members' spec.tunnel is set or removed, and nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
)

func main() {
	klog.LogToStderr(false)
	b := &bench{}
	flag.IntVar(&b.objects, "objects", 500, "federated objects per run")
	flag.IntVar(&b.clients, "clients", 16, "clients that write at the same time")
	flag.IntVar(&b.runs, "runs", 5, "runs of each, alternating")
	flag.IntVar(&b.singles, "singles", 100, "single objects for p50 and p99")
	flag.StringVar(&b.write, "write", "", "write the figures as Markdown to this file")
	flag.BoolVar(&b.tunnel, "tunnel", false, "compare members behind tunnels with the same members reached directly, in place of the floor")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
