// Command demo walks through the life of an application in cells, on a real plane and three real members, one of which
// can only dial out, and checks each step against what it should show. It tells everything with the commands that a user would type.
//
// On a terminal it stays up at the end until Ctrl-C; otherwise it ends by itself, with 0 only if every step was right.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
)

func main() {
	klog.LogToStderr(false)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, newScreen(os.Stdout, os.Stdin))
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s *screen) (err error) {
	st := &stage{screen: s}
	defer func() {
		s.progress("taking everything down", func() error { err = errors.Join(err, st.close()); return nil })
	}()
	if err := st.open(ctx); err != nil {
		return unlessInterrupted(ctx, err)
	}
	if err := play(ctx, st); err != nil {
		return unlessInterrupted(ctx, err)
	}
	if !s.interactive {
		return nil
	}
	s.say("Everything is still up. In another terminal:")
	s.plain("  export KUBECONFIG=%s", st.plane.Kubeconfig)
	for _, m := range st.members.Members {
		if m.Firewall != "" {
			s.plain("  cellfed-playground exec --dir=%s %s -- kubectl --kubeconfig=%s get pods -A", st.members.Dir, m.Name, m.Kubeconfig)
			continue
		}
		s.plain("  export KUBECONFIG=%s   # member %s", m.Kubeconfig, m.Name)
	}
	s.plain("\nCtrl-C takes it down.")
	<-ctx.Done()
	return nil
}

// unlessInterrupted leaves out how a step failed because of Ctrl-C: it ended as somebody wanted.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}
