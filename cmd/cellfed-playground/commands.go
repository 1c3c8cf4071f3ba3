package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellfed/cellfed/pkg/playground"
)

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "cellfed-playground",
		Short: "Runs real Kubernetes members on one machine, for demo, tests and benchmarks",
		// Errors are told once, in main; a wrong member name is no reason to print a page of usage.
		SilenceUsage:  true,
		SilenceErrors: true,
		// They would spread over several lines.
		DisableSuggestions: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(upCommand(), downCommand(), statusCommand(), execCommand(), memberCommand())
	for action, text := range map[playground.Action]string{
		playground.ActionStart:  "Starts a stopped member: same data, same port; returns when it is ready",
		playground.ActionStop:   "Stops a member as if its machine was gone; its data stays",
		playground.ActionPause:  "Freezes a member: it accepts connections and answers nothing",
		playground.ActionResume: "Lets a paused member go on",
	} {
		root.AddCommand(actionCommand(action, text))
	}
	return root
}

func dirFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("dir", ".playground", "the playground's directory")
}

func outputFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "table", "how to print the status: table or json")
}

func upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Runs members in the foreground until Ctrl-C or down",
		Long: `Runs members in the foreground until Ctrl-C or down. A directory that was used before is used again: its
members come back with their data and ports, also after a crash. Remove the directory to start afresh.`,
		Args: cobra.NoArgs,
	}
	dir, output := dirFlag(cmd), outputFlag(cmd)
	cfg := playground.Config{Progress: os.Stderr}
	count := cmd.Flags().Int("members", 1, "how many members to run, named member-1, member-2, ...")
	cmd.Flags().StringSliceVar(&cfg.Names, "names", nil, "the members' names; their number decides unless --members is given too")
	cmd.Flags().IntVar(&cfg.Nodes, "nodes", 0, "simulated nodes per member; 0 also means no scheduler: pods are created and stay pending")
	cmd.Flags().BoolVar(&cfg.Audit, "audit", false, "log every request that reaches a member in DIR/<name>/audit.log")
	cmd.Flags().StringSliceVar(&cfg.Firewalled, "firewalled", nil, "members that nobody outside can connect to; run what belongs inside by exec")
	cmd.Flags().StringVar((*string)(&cfg.Firewall), "firewall", string(playground.BestFirewall), "what they stand behind: namespace (a network of their own, needs root), doorkeeper (who looks which process comes), or auto")
	cmd.Flags().StringSliceVar(&cfg.WaysOut, "way-out", nil, "an address on loopback that firewalled members can connect to, host:port")
	cmd.Flags().DurationVar(&cfg.StartTimeout, "start-timeout", 3*time.Minute, "how long a member may take to become ready")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		switch {
		case len(cfg.Names) == 0 && *count < 1:
			return fmt.Errorf("--members=%d: at least one is needed", *count)
		case len(cfg.Names) == 0:
			cfg.Names = playground.MemberNames(*count)
		case cmd.Flags().Changed("members") && *count != len(cfg.Names):
			return fmt.Errorf("--members=%d, but --names has %d", *count, len(cfg.Names))
		}
		executable, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding my own binary: %w", err)
		}
		cfg.Dir, cfg.Executable = *dir, executable
		cfg.OnReady = func(status *playground.Status) error {
			return printStatus(cmd.OutOrStdout(), status, *output)
		}
		return playground.Up(cmd.Context(), cfg)
	}
	return cmd
}

func downCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Ends a running playground and returns when it is gone; data stays",
		Args:  cobra.NoArgs,
	}
	dir := dirFlag(cmd)
	timeout := cmd.Flags().Duration("timeout", time.Minute, "how long to wait for the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := playground.NewClient(*dir)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *timeout)
		defer cancel()
		return client.Down(ctx)
	}
	return cmd
}

func actionCommand(action playground.Action, text string) *cobra.Command {
	cmd := &cobra.Command{Use: string(action) + " NAME", Short: text, Args: cobra.ExactArgs(1)}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := playground.NewClient(*dir)
		if err != nil {
			return err
		}
		return client.Do(cmd.Context(), action, args[0])
	}
	return cmd
}

func execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NAME -- COMMAND [ARGUMENT...]",
		Short: "Runs a command behind a member's firewall, where its API server can be reached",
		Args:  cobra.MinimumNArgs(2),
	}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := exec.LookPath(args[1])
		if err != nil {
			return fmt.Errorf("finding the command: %w", err)
		}
		client, err := playground.NewClient(*dir)
		if err != nil {
			return err
		}
		if err := client.Enter(cmd.Context(), args[0]); err != nil {
			return err
		}
		if err := syscall.Exec(path, args[1:], os.Environ()); err != nil {
			return fmt.Errorf("running %s: %w", path, err)
		}
		return nil
	}
	return cmd
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tells how the members are",
		Args:  cobra.NoArgs,
	}
	dir, output := dirFlag(cmd), outputFlag(cmd)
	wait := cmd.Flags().Duration("wait", 0, "wait this long for a playground whose members are all ready")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		deadline := time.Now().Add(*wait)
		for {
			status, err := askStatus(cmd.Context(), *dir)
			ready := err == nil && status.AllReady()
			switch {
			case err == nil && (ready || *wait == 0):
				return printStatus(cmd.OutOrStdout(), status, *output)
			case err != nil && (*wait == 0 || !errors.Is(err, playground.ErrNotRunning)):
				return err
			case time.Now().After(deadline) && err != nil:
				return fmt.Errorf("after %s: %w", *wait, err)
			case time.Now().After(deadline):
				return fmt.Errorf("after %s not all members are ready", *wait)
			}
			select {
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return cmd
}

func askStatus(ctx context.Context, dir string) (*playground.Status, error) {
	client, err := playground.NewClient(dir)
	if err != nil {
		return nil, err
	}
	return client.Status(ctx)
}

func checkOutput(output string) error {
	if output != "table" && output != "json" {
		return fmt.Errorf("--output=%s: table or json", output)
	}
	return nil
}

func printStatus(w io.Writer, status *playground.Status, output string) error {
	if output == "table" {
		return status.Print(w)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(status); err != nil {
		return fmt.Errorf("writing status: %w", err)
	}
	return nil
}
