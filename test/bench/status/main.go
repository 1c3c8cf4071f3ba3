// Command status measures how soon, and with how many writes, federated objects tell what happens to their copies.
//
// A real plane has many federated objects of a custom kind in the units of two real members. Nobody in the members
// looks after the kind, so that all its news are the benchmark's: it writes status through the members' status
// subresource at a steady rate and takes the time from before each write until a watch on the plane shows it in
// remoteStatus. Three phases: news of objects at random; all news about one object; and silence, in which the plane
// must not write at all.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

func main() {
	klog.LogToStderr(false)
	b := &bench{}
	flag.IntVar(&b.objects, "objects", 5000, "federated objects")
	flag.IntVar(&b.rate, "rate", 50, "status events in a second")
	flag.DurationVar(&b.long, "long", time.Minute, "how long events go on")
	flag.DurationVar(&b.idle, "idle", 10*time.Second, "how long nothing happens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
