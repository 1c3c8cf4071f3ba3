package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cellfed/cellfed/pkg/host"
)

func newKeysCommand() *cobra.Command {
	keys := &cobra.Command{
		Use:   "keys",
		Short: "Hand the keys of a plane to its other servers",
		Long: `Hand the keys of a plane to its other servers.

All servers of one plane, that is, on one database, share its certificate
authorities, the key that signs service account tokens and the encryption of
secrets. Each makes certificates of its own for its own addresses.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	keys.AddCommand(newKeysExportCommand(), newKeysImportCommand())
	return keys
}

func newKeysExportCommand() *cobra.Command {
	var dataDir, out string
	cmd := &cobra.Command{
		Use:     "export",
		Short:   "Write the keys that all servers share into one file",
		Example: "  cellfed keys export --data-dir /var/lib/cellfed --out plane.keys",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir == "" || out == "" {
				return errors.New("--data-dir and --out are needed")
			}
			if err := host.ExportKeys(dataDir, out); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "The keys are in %s. Whoever has that file is the plane: keep it in a vault, and nowhere else.\n", out)
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data directory of a server that has run; it may be running")
	cmd.Flags().StringVar(&out, "out", "", "file to write, with mode 0600; it must not be there")
	return cmd
}

func newKeysImportCommand() *cobra.Command {
	var dataDir, in string
	cmd := &cobra.Command{
		Use:     "import",
		Short:   "Bring the keys of another server into a data directory",
		Example: "  cellfed keys import --data-dir /var/lib/cellfed --in plane.keys",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if dataDir == "" || in == "" {
				return errors.New("--data-dir and --in are needed")
			}
			// Before the data directory is made: a mistyped name shall leave nothing behind.
			keys, err := host.ReadSharedKeys(in)
			if err != nil {
				return err
			}
			dir, err := host.OpenDir(dataDir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, dir.Close()) }()
			if err := dir.Import(keys); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has the plane's keys. Start the server with the plane's --storage.\n", dir.Path())
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data directory of a server that does not run; made when missing")
	cmd.Flags().StringVar(&in, "in", "", "file that cellfed keys export wrote")
	return cmd
}
