// Command gotest is `go test` in stages that says at the end, in one line, what all of them came to: it reads go test's
// JSON, prints one line per package and everything about what failed, and counts. A skipped test counts as a fault:
// a test that does not run proves nothing.
//
// gotest -stage NAME -sum FILE PACKAGE… -- FLAGS OF GO TEST adds a stage's figures to FILE; gotest -total FILE prints
// their sum.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/cellfed/cellfed/pkg/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var flags []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, flags = args[:i], args[i+1:]
	}
	fs := flag.NewFlagSet("gotest", flag.ContinueOnError)
	stage := fs.String("stage", "", "what this stage is called")
	sum := fs.String("sum", "", "the file that the stage's figures are added to")
	total := fs.String("total", "", "print the sum of the stages in this file")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *total != "" {
		return printTotal(*total)
	}
	if *stage == "" || fs.NArg() == 0 {
		return errors.New("usage: gotest -stage NAME -sum FILE PACKAGE… -- FLAGS OF GO TEST")
	}
	return runStage(ctx, *stage, *sum, fs.Args(), flags)
}

func runStage(ctx context.Context, stage, sumFile string, packages, flags []string) error {
	start := time.Now()
	line := progress.Start(os.Stdout, stage)
	line.Printf("== %s", stage)
	r := newReader(line)

	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"test", "-json"}, flags, packages)...)
	// Interrupting is asked for, not forced: tests have members running that they must end.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	if slices.Contains(flags, "-race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // the race detector is a C library
	}
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("stage %s: %w", stage, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("stage %s: %w", stage, err)
	}
	readErr := r.read(pipe)
	runErr := cmd.Wait()
	line.Stop()

	r.figures.Stage = stage
	r.figures.Seconds = time.Since(start).Seconds()
	fmt.Println(r.figures)
	if sumFile != "" {
		if err := r.figures.appendTo(sumFile); err != nil {
			return err
		}
	}
	switch {
	case readErr != nil:
		return fmt.Errorf("stage %s: reading go test's output: %w", stage, readErr)
	case runErr != nil:
		return fmt.Errorf("stage %s failed: %w", stage, runErr)
	case r.figures.Skipped > 0:
		return fmt.Errorf("stage %s: %d tests were skipped, and a test that does not run proves nothing", stage, r.figures.Skipped)
	case r.figures.Passed == 0:
		return fmt.Errorf("stage %s: not one test ran", stage)
	}
	return nil
}
