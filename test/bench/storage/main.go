// Command storage measures planes on each of the databases: SQLite, MariaDB and, as the floor, etcd, each real and durable
// (synchronous=FULL, InnoDB flushing at commit, etcd with fsync).
//
// Runs alternate: a run is a fresh namespace with ConfigMaps of 1 KiB that many clients create, on each plane in turn. The
// ratio is of a round's creates per second to etcd's in the same round, median over the rounds. Then objects are added until
// there are enough for the lists, which read all of them from the database (resourceVersion unset is served from the watch
// cache, so they page with a limit, which is not), and a second plane on the same MariaDB watches what the first writes.
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
	flag.IntVar(&b.objects, "objects", 2000, "ConfigMaps in a run")
	flag.IntVar(&b.clients, "clients", 32, "clients that create at the same time")
	flag.IntVar(&b.rounds, "rounds", 5, "runs on each database")
	flag.IntVar(&b.listed, "listed", 10_000, "objects that are listed")
	flag.IntVar(&b.lists, "lists", 30, "lists on each database")
	flag.IntVar(&b.events, "events", 300, "events that are timed, on the server that wrote and on another one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
