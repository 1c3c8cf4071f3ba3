package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
)

const historyHelp = `Show the revisions of a federated object, newest first, and the units that
run each.

A revision is content that was meant for a unit: the template with that unit's
overrides. Revisions with the same TEMPLATE differ in overrides only.
GENERATION is the newest one of the object that asked for the revision. ASKED
marks what the object asks for now, whether or not the mask lets it be written.

KIND is what kubectl calls it: federateddeployment, fdeploy, … It may be left
out where only one federated object has the name.

The plane keeps what units run and the ten newest others.

Exit codes: 0 shown, 1 tried and failed, 2 wrong usage.`

const historyExample = `  # Which revisions there are, and where each of them runs
  kubectl cellfed history federateddeployment/web -n acme-prod

  # With the number of overrides, and all units
  kubectl cellfed history fdeploy web -n acme-prod -o wide

  # What a revision holds
  kubectl cellfed history fdeploy web -n acme-prod --revision 7f3c9a1b2c3d4e5f -o yaml`

type historyOptions struct {
	oneObject
	revision string
	output   string

	out   io.Writer
	now   func() time.Time
	plane *cluster
}

func newHistoryCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &historyOptions{output: outputTable, out: streams.Out, now: time.Now}
	cmd := &cobra.Command{
		Use:     "history [KIND] NAME | KIND/NAME",
		Short:   "Show the revisions of a federated object and who runs them",
		Long:    historyHelp,
		Example: historyExample,
		Args:    func(_ *cobra.Command, args []string) error { return o.parse(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
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
	cmd.Flags().StringVar(&o.revision, "revision", "", "Show what this revision holds, by its name or the beginning of it")
	addOutputFlag(cmd, &o.output, outputTable, outputWide, outputJSON, outputYAML)
	return cmd
}

func (o *historyOptions) run(ctx context.Context) error {
	t, err := o.read(ctx, o.plane)
	if err != nil {
		return err
	}
	if o.revision != "" {
		return o.show(ctx, t)
	}
	h, err := t.history(ctx, o.plane)
	if err != nil {
		return err
	}
	if o.output == outputJSON || o.output == outputYAML {
		return printStructured(o.out, o.output, h)
	}
	return printHistory(o.out, h, o.now(), o.output == outputWide)
}

// show writes the content of one revision.
func (o *historyOptions) show(ctx context.Context, t *target) error {
	all, err := t.revisions(ctx, o.plane)
	if err != nil {
		return err
	}
	r, err := t.find(ctx, o.plane, all, o.revision)
	if err != nil {
		return err
	}
	content, err := r.content()
	if err != nil {
		return err
	}
	format := outputYAML
	if o.output == outputJSON {
		format = outputJSON
	}
	shown := map[string]any{"revision": r.Revision, "template": content.Template}
	if len(content.Overrides) > 0 {
		shown["overrides"] = content.Overrides
	}
	return printStructured(o.out, format, shown)
}

// fewUnits is how many units a row names that is not wide.
const fewUnits = 5

func printHistory(out io.Writer, h *history, now time.Time, wide bool) error {
	fmt.Fprintf(out, "%s %s, generation %d\n", h.Kind, qualified(h.Namespace, h.Name), h.Generation)
	if len(h.Revisions) == 0 {
		fmt.Fprintln(out, "There is no revision: nothing of it was written yet.")
	} else if err := printRevisions(out, h, now, wide); err != nil {
		return err
	}
	for _, revision := range slices.Sorted(maps.Keys(h.Unkept)) {
		fmt.Fprintf(out, "Asked for now, and written nowhere yet: %s, for %s.\n", revision, some(h.Unkept[revision], wide))
	}
	return nil
}

func printRevisions(out io.Writer, h *history, now time.Time, wide bool) error {
	w := printers.GetNewTabWriter(out)
	fmt.Fprint(w, "REVISION\tASKED\tTEMPLATE\tGENERATION\tAGE\t")
	if wide {
		fmt.Fprint(w, "SINCE\tOVERRIDES\t")
	}
	fmt.Fprintln(w, "UNITS")
	for _, r := range h.Revisions {
		generation, since, age, overrides := "", "", "", ""
		if r.kept != nil {
			generation, since = strconv.FormatInt(r.Generation, 10), strconv.FormatInt(r.FirstGeneration, 10)
			age, overrides = duration.HumanDuration(now.Sub(r.Created.Time)), strconv.Itoa(r.Overrides)
		}
		template := r.Template
		if !wide {
			template = shorten(template, shortRevision, "")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t", r.Revision, yesNo(r.Asked), orNone(template), orNone(generation), orNone(age))
		if wide {
			fmt.Fprintf(w, "%s\t%s\t", orNone(since), orNone(overrides))
		}
		var units []string
		for _, u := range r.Units {
			if u.Held {
				u.Name += " (held)"
			}
			units = append(units, u.Name)
		}
		fmt.Fprintln(w, orNone(some(units, wide)))
	}
	return w.Flush()
}

// some names units, and counts those that a row has no room for.
func some(units []string, all bool) string {
	if all || len(units) <= fewUnits {
		return strings.Join(units, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(units[:fewUnits], ", "), len(units)-fewUnits)
}
