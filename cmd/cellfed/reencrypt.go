package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/pkg/progress"
	"github.com/cellfed/cellfed/pkg/reencrypt"
)

// reencryptFlags say which plane, and what to do in the end.
type reencryptFlags struct {
	dataDir    string
	kubeconfig string
	prune      bool
	add        bool
}

func newReencryptCommand() *cobra.Command {
	f := &reencryptFlags{}
	cmd := &cobra.Command{
		Use:   "re-encrypt",
		Short: "Encrypt everything anew with the key that a running plane uses now",
		Long: `Encrypt everything anew with the key that a running plane uses now: after
rotate-key and a restart, after a change of encryption.kms and a restart, or
after the KMS has got a new key.

Every object is written back just as it is; the plane stores those anew that are
encrypted otherwise. It is done when a whole round over all objects found none.
It may be cut short and started again, and the plane serves all the time.

A data directory that an earlier version made encrypts less than a new one.
--add-resources has its plane encrypt, from its next start on, what a new one does
beside. What is in the database as plain text stays readable until --prune, which
comes after everything was encrypted. Where several servers share the database,
stop all of them before one is started with the new file of keys.`,
		Example: "  cellfed storage rotate-key --data-dir /var/lib/cellfed\n  systemctl restart cellfed\n  cellfed storage re-encrypt --data-dir /var/lib/cellfed --prune",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "data directory of the plane: says what is encrypted, and with what")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "administrator's kubeconfig (default: admin.kubeconfig in the data directory)")
	cmd.Flags().BoolVar(&f.add, "add-resources", false, "only prepare it: from the plane's next start on, encrypt all that a new plane encrypts")
	cmd.Flags().BoolVar(&f.prune, "prune", false, "in the end, take away the keys that nothing is encrypted with any more")
	cmd.MarkFlagsMutuallyExclusive("add-resources", "prune")
	cmd.MarkFlagsMutuallyExclusive("add-resources", "kubeconfig")
	return cmd
}

func (f *reencryptFlags) run(cmd *cobra.Command) error {
	if f.dataDir == "" && (f.kubeconfig == "" || f.prune || f.add) {
		return errors.New("say with --data-dir where the plane's keys are")
	}
	if f.add {
		return f.addResources(cmd)
	}
	options := reencrypt.Options{Resources: host.Encrypted()}
	with := "what the plane uses now"
	var keys *host.Encryption
	if f.dataDir != "" {
		var err error
		if keys, err = host.ReadEncryption(f.dataDir); err != nil {
			return err
		}
		options.Resources, options.Hash, with = keys.Resources(), keys.Hash(), keys.Writer()
		if f.kubeconfig == "" {
			f.kubeconfig = filepath.Join(f.dataDir, "admin.kubeconfig")
		}
	}
	var err error
	if options.Config, err = clientcmd.BuildConfigFromFlags("", f.kubeconfig); err != nil {
		return fmt.Errorf("reading kubeconfig: %w", err)
	}
	line := progress.Start(os.Stderr, "asking the plane")
	options.Progress = line
	verdict, err := reencrypt.Run(cmd.Context(), options)
	line.Stop()
	if err != nil {
		return fmt.Errorf("encrypting anew, after %d objects were written: %w", verdict.Written, err)
	}
	out := cmd.OutOrStdout()
	_, err = fmt.Fprintf(out, "%d objects written anew in %s\nverified: all %d objects are encrypted with %s\n", verdict.Written, line.Elapsed(), verdict.Objects, with)
	if err != nil || !f.prune {
		return err
	}
	removed, err := host.PruneEncryption(f.dataDir, keys)
	if err != nil {
		return err
	}
	if len(removed) == 0 {
		_, err = fmt.Fprintln(out, "nothing to take away")
		return err
	}
	_, err = fmt.Fprintf(out, "taken away: %s\nBackups from before today need them: keep the keys with the backups. The plane forgets them at its next start.\n", strings.Join(removed, ", "))
	if err != nil || len(keys.Joining()) == 0 || keys.Service() == "" {
		return err
	}
	_, err = fmt.Fprintf(out, "%s will be encrypted with KMS %s\nNext: restart the plane, then once more: cellfed storage re-encrypt --data-dir %s --prune\n",
		strings.Join(keys.Joining(), ", "), keys.Service(), f.dataDir)
	return err
}

// addResources changes what the plane encrypts from its next start on.
func (f *reencryptFlags) addResources(cmd *cobra.Command) error {
	var added []string
	err := host.ChangeEncryption(f.dataDir, func(keys *host.Encryption) (err error) {
		added, err = keys.AddResources()
		return err
	})
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if len(added) == 0 {
		_, err = fmt.Fprintln(out, "nothing to add: all that a new plane encrypts is encrypted")
		return err
	}
	_, err = fmt.Fprintf(out, "encrypted from the next start on: %s\nNext: back up the data directory's keys, restart the plane, then: cellfed storage re-encrypt --data-dir %s --prune\n",
		strings.Join(added, ", "), f.dataDir)
	return err
}

func newRotateKeyCommand() *cobra.Command {
	var dataDir, use string
	var prepare bool
	cmd := &cobra.Command{
		Use:   "rotate-key",
		Short: "Make a new local key that a plane encrypts with from its next start on",
		Long: `Make a new local key that a plane encrypts with from its next start on. The keys
that are there stay, for reading, until re-encrypt --prune takes them away.

Where several servers share a database, all of them must be able to read with
the new key before one of them writes with it: --prepare makes one for reading
only. Give all servers the new file of keys, stop, import and start them one by one, and do the
same once more after --use.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir == "" {
				return errors.New("say with --data-dir where the plane's keys are")
			}
			name, out := use, cmd.OutOrStdout()
			err := host.ChangeEncryption(dataDir, func(keys *host.Encryption) (err error) {
				if use != "" {
					return keys.UseKey(use)
				}
				name, err = keys.AddKey(prepare)
				return err
			})
			if err != nil {
				return err
			}
			if prepare {
				_, err = fmt.Fprintf(out, "new local key %s, for reading\nNext: give the keys to all servers, restart them, then: cellfed storage rotate-key --data-dir %s --use %s\n", name, dataDir, name)
				return err
			}
			_, err = fmt.Fprintf(out, "local key %s encrypts from the next start on\nNext: back up the data directory's keys, restart the plane, then: cellfed storage re-encrypt --data-dir %s --prune\n", name, dataDir)
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data directory of the plane")
	cmd.Flags().BoolVar(&prepare, "prepare", false, "make a key that is used for reading only, until --use")
	cmd.Flags().StringVar(&use, "use", "", "encrypt with this key, which is there already")
	cmd.MarkFlagsMutuallyExclusive("prepare", "use")
	return cmd
}
