// Command badmember measures what a bad member costs the others: alternating runs of releases to two good members, with
// and without a third unit on a member that is bad in one way. The third member is a real one behind a proxy that
// answers in its place.
//
// A release is a change of a federated object's template, and lasts until both good members show it. Without the bad
// member, the objects are placed in the good ones only, and the bad one is not registered. Ratios are of p99 in a pair
// of runs, median over the pairs. Requests and memory are of the run with the bad member: what reached it besides its
// health, and how much the plane's resident memory grew while the member was bad and nothing was released yet.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/member/membertest"
)

// kinds are the ways of being bad that are measured unless others are named. Dead is not a fault: nobody listens. Well is
// what a third member costs that is not bad at all, for comparison: it gets its share of each release.
var kinds = []string{well, dead, "no answer", "one byte a second", "429, come at once", "429, come tomorrow", "500", "the kind is lacking",
	"a page of HTML", "bytes without end", "pages without end", "a dense object", "an object of another kind", "a watch back in time",
	"changes without end", "new objects without end", "an event without end", "writes refused", "writes answered without end"}

func main() {
	klog.LogToStderr(false)
	b := &bench{}
	only := flag.String("kinds", "", "kinds of bad members, separated by semicolons; all when empty")
	flag.IntVar(&b.objects, "objects", 40, "objects in each run")
	flag.IntVar(&b.releases, "releases", 400, "releases in each run")
	flag.Float64Var(&b.rate, "rate", 10, "releases that begin in a second; 0 = as fast as the clients can")
	flag.IntVar(&b.clients, "clients", 2, "clients that release at the same time, where there is no rate")
	flag.BoolVar(&b.verbose, "v", false, "list the requests that a release costs")
	flag.DurationVar(&b.idle, "idle", 10*time.Second, "how long the plane's memory is watched while nothing is released")
	flag.IntVar(&b.pairs, "pairs", 3, "pairs of runs for each kind")
	flag.Parse()
	b.kinds = kinds
	if *only != "" {
		b.kinds = strings.Split(*only, ";")
	}
	for _, k := range b.kinds {
		if k != dead && k != well && membertest.FaultNamed(k) == nil {
			fmt.Fprintf(os.Stderr, "badmember: there is no kind %q\n", k)
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "badmember:", err)
		os.Exit(1)
	}
}
