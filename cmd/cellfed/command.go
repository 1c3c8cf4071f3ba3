package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newCommand is the cellfed command with all that stands below it.
func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "cellfed",
		Short: "CellFed, a federation control plane for applications that run in cells",
		// Errors are told once, in main, in one line.
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newServerCommand(), newKeysCommand(), newStorageCommand(), newVersionCommand())
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

// oneLine is an error as one line, whatever its parts brought with them.
func oneLine(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}
