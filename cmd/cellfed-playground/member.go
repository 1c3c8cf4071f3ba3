package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/pkg/playground/memberserver"
)

// memberCommand is what the supervisor runs: one member in this process.
func memberCommand() *cobra.Command {
	cmd := &cobra.Command{Use: playground.MemberCommand, Hidden: true, Args: cobra.NoArgs}
	var cfg memberserver.Config
	cmd.Flags().StringVar(&cfg.Name, "name", "", "the member's name")
	cmd.Flags().StringVar(&cfg.Dir, "dir", "", "the member's directory")
	cmd.Flags().IntVar(&cfg.Port, "port", 0, "where it serves")
	cmd.Flags().IntVar(&cfg.Private, "private-port", 0, "where it serves when a doorkeeper stands at --port")
	cmd.Flags().IntVar(&cfg.Nodes, "nodes", 0, "how many nodes it has")
	cmd.Flags().BoolVar(&cfg.Audit, "audit", false, "whether it logs requests")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		go func() {
			// Standard input ends when the supervisor does; a member does not outlive it.
			_, _ = io.Copy(io.Discard, cmd.InOrStdin())
			cancel()
		}()
		notices := os.NewFile(playground.NoticeFD, "notices")
		cfg.OnReady = func() {
			// A supervisor that does not listen is dead, and the end is near anyway.
			_ = playground.Notify(notices, playground.Notice{Ready: true})
		}
		if err := memberserver.Run(ctx, cfg); err != nil {
			// Told to the supervisor here, and to the log by main.
			return errors.Join(err, playground.Notify(notices, playground.Notice{Failed: err.Error()}))
		}
		return nil
	}
	return cmd
}
