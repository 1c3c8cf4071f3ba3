package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Exit codes of the command.
const (
	ExitOK    = 0
	ExitError = 1 // it was tried and did not work
	ExitUsage = 2 // the command line says nothing that could be tried
)

const rootHelp = `CellFed's commands for kubectl.

kubectl's own global flags (--kubeconfig, --context, --server, --as, …) address
the plane; they stand after "cellfed", as in kubectl cellfed status --as alice.
Member clusters have flags of their own.

Exit codes: 0 done, 1 tried and failed, 2 wrong usage.`

const rootExample = `  # Make a cluster a member of the plane
  kubectl cellfed join hz-1 --member-kubeconfig hz-1.kubeconfig

  # Which cell holds which revision of an application
  kubectl cellfed status federateddeployment/web -n acme-prod

  # Which revisions there were, and back to one of them in one cell
  kubectl cellfed history federateddeployment/web -n acme-prod
  kubectl cellfed rollback federateddeployment/web -n acme-prod --to 7f3c9a1b2c3d4e5f --mask rz00a

  # Give up a member that will not come back
  kubectl cellfed abandon hz-1 --reason "flooded"

  # kubectl in a member behind a firewall
  kubectl cellfed tunnel hz-1 -- kubectl get nodes

  # Take the member out again
  kubectl cellfed unjoin hz-1 --member-kubeconfig hz-1.kubeconfig`

// usageError is a fault of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError is the exit code of a command that was run and has said itself what is wrong.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Run runs the command, tells an error once, and returns the exit code.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	cmd := NewCommand(streams)
	cmd.SetArgs(args)
	ran, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	// Admission and decoding errors of several lines stay readable; a prefix stands once.
	fmt.Fprintln(streams.ErrOut, "error:", err)
	var usage usageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		fmt.Fprintf(streams.ErrOut, "See '%s --help'.\n", ran.CommandPath())
		return ExitUsage
	}
	return ExitError
}

// NewCommand is the whole command tree.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	plane := genericclioptions.NewConfigFlags(true)
	root := &cobra.Command{
		Use:           "kubectl-cellfed",
		Short:         "Joins members to a CellFed plane and shows how releases stand",
		Long:          rootHelp,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl cellfed"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	plane.AddFlags(root.PersistentFlags())
	root.AddCommand(newJoinCommand(plane, streams), newUnjoinCommand(plane, streams), newRevokeCommand(plane, streams), newThroughCommand(plane, streams), newStatusCommand(plane, streams),
		newHistoryCommand(plane, streams), newRollbackCommand(plane, streams), newAbandonCommand(plane, streams), newVersionCommand(streams))
	return root
}

// exactlyOneName is the argument check of commands about one member.
func exactlyOneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s needs the name of one member, and got %d arguments", cmd.CommandPath(), len(args))
	}
	return nil
}
