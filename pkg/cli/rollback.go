package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
)

const rollbackHelp = `Make a federated object ask for a revision again, byte for byte.

The template becomes that of the revision. What else changes depends on the mask:

With --mask or --mask-selector, spec.placementMask becomes that, and the units
in it get the revision exactly: their overrides become the revision's. Units
outside the mask keep their overrides and what they run.

Without, spec.placementMask stays as it is. Units that run the revision now have
its overrides afterwards; all others keep theirs, and get the template as soon
as the mask admits them: at once, where there is no mask.

What comes of it is told unit by unit; --dry-run tells it and writes nothing.
Nothing is written if somebody changed the spec in the meantime. The command
changes the object only: a manifest elsewhere still asks for what it asked for.

Exit codes: 0 done, 1 tried and failed, 2 wrong usage.`

const rollbackExample = `  # What would come of it
  kubectl cellfed rollback fdeploy/web -n acme-prod --to 7f3c9a1b2c3d4e5f --mask rz00a --dry-run=server

  # One cell back to an old revision; all others stay as they are
  kubectl cellfed rollback fdeploy/web -n acme-prod --to 7f3c9a1b2c3d4e5f --mask rz00a

  # All cells of a city
  kubectl cellfed rollback fdeploy/web -n acme-prod --to 7f3c9a1b2c3d4e5f --mask-selector city=hangzhou

  # The template of an old revision, wherever the mask admits it, each cell with its own overrides
  kubectl cellfed rollback fdeploy/web -n acme-prod --to 7f3c9a1b2c3d4e5f`

// Values of --dry-run.
const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

// fieldManager is whom the API server takes for the owner of what rollback writes.
const fieldManager = "kubectl-cellfed"

type rollbackOptions struct {
	oneObject
	to           string
	mask         []string
	maskSelector string
	// masked and selected tell that the flags were given, even if empty.
	masked, selected bool
	dryRun           string
	output           string

	out   io.Writer
	plane *cluster
}

func newRollbackCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &rollbackOptions{dryRun: dryRunNone, output: outputTable, out: streams.Out}
	cmd := &cobra.Command{
		Use:     "rollback [KIND] NAME | KIND/NAME --to REVISION",
		Short:   "Make a federated object ask for an old revision again",
		Long:    rollbackHelp,
		Example: rollbackExample,
		Args:    func(_ *cobra.Command, args []string) error { return o.parse(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.masked, o.selected = cmd.Flags().Changed("mask"), cmd.Flags().Changed("mask-selector")
			if err := o.validate(); err != nil {
				return err
			}
			var err error
			if o.namespace, _, err = flags.ToRawKubeConfigLoader().Namespace(); err != nil {
				return fmt.Errorf("reading how to reach the plane: %w", err)
			}
			if o.plane, err = planeClients(flags); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "The revision, by its name or the beginning of it; 'kubectl cellfed history' lists them")
	f.StringSliceVar(&o.mask, "mask", nil, "Units to roll back, by their short or full names; written as spec.placementMask")
	f.StringVar(&o.maskSelector, "mask-selector", "", "Units to roll back, by their labels; written as spec.placementMask")
	f.StringVar(&o.dryRun, "dry-run", o.dryRun, "none, server: let the plane judge it and write nothing, or client: only tell")
	addOutputFlag(cmd, &o.output, outputTable, outputWide, outputJSON, outputYAML)
	return cmd
}

func (o *rollbackOptions) validate() error {
	switch {
	case o.to == "":
		return usagef("--to needs a revision: 'kubectl cellfed history' lists them")
	case o.masked && o.selected:
		return usagef("--mask and --mask-selector exclude each other")
	case o.masked && strings.Join(o.mask, "") == "":
		return usagef("--mask names no unit: nothing could change anywhere")
	case o.selected && strings.TrimSpace(o.maskSelector) == "":
		return usagef("--mask-selector is empty: leave it out if every unit may change, after removing spec.placementMask")
	case o.dryRun != dryRunNone && o.dryRun != dryRunClient && o.dryRun != dryRunServer:
		return usagef("--dry-run=%s: want none, client or server", o.dryRun)
	}
	return nil
}

// attempts is how often the object is read again because only its status changed while it was being written.
const attempts = 10

func (o *rollbackOptions) run(ctx context.Context) error {
	t, err := o.read(ctx, o.plane)
	if err != nil {
		return err
	}
	made, err := o.plan(ctx, t)
	for i := 0; err == nil && made.Changed && o.dryRun != dryRunClient; i++ {
		if err = o.write(ctx, t, made); err == nil || !apierrors.IsConflict(err) || i == attempts {
			break
		}
		// The plane writes status all the time. Somebody's edit is another thing: it makes another generation, and what
		// was planned was not planned for that.
		was := t.object
		if t, err = o.read(ctx, o.plane); err != nil {
			break
		}
		if t.object.UID != was.UID || t.object.Generation != was.Generation {
			return fmt.Errorf("somebody changed %s in the meantime (generation %d became %d), so nothing was written: look at it again and repeat",
				t, was.Generation, t.object.Generation)
		}
		made, err = o.plan(ctx, t)
	}
	if err != nil {
		return err
	}
	if o.output == outputJSON || o.output == outputYAML {
		return printStructured(o.out, o.output, made)
	}
	return printRollback(o.out, t, made, o.output == outputWide)
}

// plan makes the new spec, and writes nothing.
func (o *rollbackOptions) plan(ctx context.Context, t *target) (*rollback, error) {
	all, err := t.revisions(ctx, o.plane)
	if err != nil {
		return nil, err
	}
	revision, err := t.find(ctx, o.plane, all, o.to)
	if err != nil {
		return nil, err
	}
	r := rollbackTo{target: t, revision: revision.Revision}
	if r.content, err = revision.content(); err != nil {
		return nil, err
	}
	switch {
	case o.masked:
		r.mask, err = t.maskOf(o.mask)
	case o.selected:
		r.mask, err = maskBy(o.maskSelector)
	}
	if err != nil {
		return nil, err
	}
	if needsCandidates(t.object, r.mask) {
		if r.candidates, err = t.candidates(ctx, o.plane); err != nil {
			return nil, err
		}
	}
	made, err := r.plan()
	if err != nil {
		return nil, err
	}
	if o.dryRun != dryRunNone {
		made.DryRun = o.dryRun
	}
	return made, nil
}

// write replaces the object that was read, and no other: what somebody wrote since is not lost.
func (o *rollbackOptions) write(ctx context.Context, t *target, made *rollback) error {
	options := metav1.UpdateOptions{FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict}
	if o.dryRun == dryRunServer {
		options.DryRun = []string{metav1.DryRunAll}
	}
	resource := t.resource.GroupResource().WithVersion(versionOf(t.object))
	_, err := o.plane.dynamic.Resource(resource).Namespace(t.object.Namespace).Update(ctx, made.object, options)
	if err != nil {
		return fmt.Errorf("writing %s: %w", t, err)
	}
	return nil
}

func printRollback(out io.Writer, t *target, made *rollback, wide bool) error {
	what := "asks for"
	switch {
	case !made.Changed:
		what = "asks already for"
	case made.DryRun != "":
		what = "would ask for"
	}
	fmt.Fprintf(out, "%s %s %s", t, what, made.Revision)
	switch made.DryRun {
	case dryRunClient:
		fmt.Fprint(out, " (dry run: nothing was written)")
	case dryRunServer:
		fmt.Fprint(out, " (dry run: the plane takes it, and nothing was written)")
	}
	fmt.Fprintf(out, ".\nThe mask: %s.\n", made.Mask)
	if len(made.Units) == 0 {
		_, err := fmt.Fprintln(out, "It is in no unit.")
		return err
	}
	w := printers.GetNewTabWriter(out)
	fmt.Fprintln(w, "UNIT\tNOW\tTHEN\tWHY")
	for _, u := range made.Units {
		now, then := u.Now, u.Then
		if !wide {
			now, then = shorten(now, shortRevision, ""), shorten(then, shortRevision, "")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Name, orNone(now), orNone(then), u.Why)
	}
	return w.Flush()
}
