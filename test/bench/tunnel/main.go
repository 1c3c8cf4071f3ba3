// Command tunnel measures requests through a tunnel (the hub, the server and the agent, over mutual TLS on loopback) against
// the same requests over TCP. What a tunnel costs a whole plane is measured by test/bench with -tunnel.
//
// In each round the same server is asked by each way in turn, directly and in both lanes, and the way that begins is
// another each time. Ratios are of times to the direct ones of the same round, so that 1 is as good as no tunnel, and
// medians over the rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

const usage = `Measure what a tunnel costs: requests through the hub and an agent, against the same requests over TCP.

Everything runs in this process, on loopback. In each round a server is asked directly, through the control lane and
through the bulk lane: small answers one at a time on a connection that is kept (over HTTP/2 and TLS, as an API server is
asked, and over plain HTTP/1.1), connections that are opened and closed, and one long body.

Usage:
  go run ./test/bench/tunnel [flags]

Flags:
`

func main() {
	b := &bench{}
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.IntVar(&b.rounds, "rounds", 5, "`rounds`, each with one run of every way")
	flag.IntVar(&b.load.requests, "requests", 2000, "small `requests` in a run, over TLS and as many in the clear")
	flag.IntVar(&b.load.dials, "dials", 300, "`connections` that are opened and closed in a run")
	flag.IntVar(&b.load.body, "body", 100, "`MiB` of the long body")
	flag.StringVar(&b.only, "only", "", "measure this `way` alone (direct, control, bulk), for a profile of it")
	profile := flag.String("cpuprofile", "", "write a CPU profile of all rounds to this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := profiled(*profile, func() error { return b.run(ctx) }); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// profiled runs with a CPU profile, when there is a file for it.
func profiled(file string, run func() error) (err error) {
	if file == "" {
		return run()
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("making the profile: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	defer pprof.StopCPUProfile()
	return run()
}
