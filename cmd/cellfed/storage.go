package main

import "github.com/spf13/cobra"

// newStorageCommand groups what an operator does to what a plane stores.
func newStorageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Look after what a plane stores",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBackupCommand(), newRestoreCommand(), newCopyCommand(), newReencryptCommand(), newRotateKeyCommand())
	return cmd
}
