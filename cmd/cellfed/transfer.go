package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/pkg/progress"
	"github.com/cellfed/cellfed/pkg/storage/transfer"
)

// ends are the databases that a command is about. A data directory stands for
// the SQLite database in it.
type ends struct{ from, to, dataDir string }

func (e *ends) addFrom(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.from, "from", "", "database to read, as server's --storage says it; the plane on it may go on serving")
}

func (e *ends) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.to, "to", "", "empty database to write, as server's --storage says it")
}

func (e *ends) addDataDir(cmd *cobra.Command, insteadOf string) {
	cmd.Flags().StringVar(&e.dataDir, "data-dir", "", "instead of "+insteadOf+": data directory of a plane, for the SQLite database in it")
}

// fill puts the data directory's database in the one place that is empty.
func (e *ends) fill(from, to bool) error {
	var missing []*string
	if from && e.from == "" {
		missing = append(missing, &e.from)
	}
	if to && e.to == "" {
		missing = append(missing, &e.to)
	}
	switch {
	case e.dataDir == "" && len(missing) == 0:
		return nil
	case e.dataDir == "" || len(missing) != 1:
		return errors.New("say each database once: with --from and --to, or one of them with --data-dir")
	}
	dir, err := filepath.Abs(e.dataDir)
	if err != nil {
		return fmt.Errorf("finding data directory %s: %w", e.dataDir, err)
	}
	if missing[0] == &e.to {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making data directory: %w", err)
		}
	}
	*missing[0] = "sqlite://" + host.DatabaseIn(dir)
	return nil
}

func newBackupCommand() *cobra.Command {
	var e ends
	var out string
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Write all that a plane stores to a file",
		Long: `Write all that a plane stores to a file, as it is at one moment. The plane may go on serving.

Secrets stay encrypted as they are stored: keep the plane's keys (the folder pki of its
data directory) as safe as the backup, and not beside it. Without them its secrets
cannot be read.`,
		Example: "  cellfed storage backup --data-dir /var/lib/cellfed --out plane.backup\n" +
			"  cellfed storage backup --from 'mysql://cellfed@db:3306/cellfed?password-file=/etc/cellfed/password' --out plane.backup",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.fill(true, false); err != nil {
				return err
			}
			line := progress.Start(os.Stderr, "opening")
			s, err := transfer.Backup(cmd.Context(), e.from, out, line)
			line.Stop()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d objects of revision %d, %s, %s. Keep the plane's keys too, in another place.\n",
				out, s.Objects, s.Source, size(s.Bytes), s.Took.Round(10*time.Millisecond))
			return err
		},
	}
	e.addFrom(cmd)
	e.addDataDir(cmd, "--from")
	cmd.Flags().StringVar(&out, "out", "", "file to write; one that is there already is left alone")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func newRestoreCommand() *cobra.Command {
	var e ends
	var in string
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Write a backup into an empty database",
		Long: `Write a backup into an empty database, and compare each object with the backup.

A database that holds something is refused. If the restore does not end well no plane
starts on the database; to restore into it again clears it first.`,
		Example: "  cellfed storage restore --in plane.backup --data-dir /var/lib/cellfed",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.fill(false, true); err != nil {
				return err
			}
			line := progress.Start(os.Stderr, "reading the backup")
			s, err := transfer.Restore(cmd.Context(), in, e.to, line)
			line.Stop()
			return tellWritten(cmd, s, err)
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "backup to read")
	_ = cmd.MarkFlagRequired("in")
	e.addTo(cmd)
	e.addDataDir(cmd, "--to")
	return cmd
}

func newCopyCommand() *cobra.Command {
	var e ends
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Copy all that a plane stores into another, empty database",
		Long: `Copy all that a plane stores into another, empty database, and compare each object.

The plane on the source may go on serving, but what it writes after the copy has begun
is not copied: to move a plane, stop it first. The copy goes through a file without a
name in TMPDIR.`,
		Example: "  cellfed storage copy --data-dir /var/lib/cellfed --to mysql://cellfed@db:3306/cellfed",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.fill(true, true); err != nil {
				return err
			}
			line := progress.Start(os.Stderr, "opening")
			s, err := transfer.Copy(cmd.Context(), e.from, e.to, line)
			line.Stop()
			return tellWritten(cmd, s, err)
		},
	}
	e.addFrom(cmd)
	e.addTo(cmd)
	e.addDataDir(cmd, "--from or --to")
	return cmd
}

func tellWritten(cmd *cobra.Command, s transfer.Summary, err error) error {
	if err != nil {
		return err
	}
	expired := ""
	if s.Expired > 0 {
		expired = fmt.Sprintf(" (%d have expired meanwhile)", s.Expired)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d objects of revision %d written and compared%s, %s. The database is at revision %d.\n",
		s.Objects, s.Source, expired, s.Took.Round(10*time.Millisecond), s.Revision)
	return err
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
