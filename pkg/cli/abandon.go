package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/topology"
)

const abandonHelp = `Give up a member, or a unit in it, that will not come back.

Nothing waits for it from then on: federated objects that are being deleted end
without it, and units on it can be deleted. Nothing is written there either, and
objects that stay placed there keep their record and say Abandoned.

The act is recorded as an Abandonment and can be undone. Nothing in the member
is deleted, then or later: when it comes back, what is left there is listed by
--list, for somebody to look at.

A member that is ready is refused without --force. Under a member's name there
may once have been another cluster, in which copies are recorded: --cluster-id
gives that one up, and leaves the cluster that has the name now alone.

Exit codes: 0 done, 1 tried and failed, 2 wrong usage.`

const abandonExample = `  # A member that burnt down
  kubectl cellfed abandon hz-1 --reason "flooded on 3 May"

  # One unit, where it was before it was made anew elsewhere
  kubectl cellfed abandon hz-1 --unit rz00a -n acme-prod

  # What was given up, and what was found since
  kubectl cellfed abandon --list

  # It is back, and shall be a member as before
  kubectl cellfed abandon hz-1 --undo`

var abandonments = topologyv1alpha1.GroupVersion.WithResource("abandonments")

// abandonOptions are abandon's flags, and what it talks to.
type abandonOptions struct {
	member          string
	unit, namespace string
	topologyType    string
	memberNamespace string
	clusterID       string
	reason          string
	output          string
	undo, list      bool
	force, yes      bool
	wait            time.Duration

	in    io.Reader
	out   io.Writer
	plane *cluster
}

func newAbandonCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &abandonOptions{topologyType: "cell", wait: 30 * time.Second, output: outputTable, in: streams.In, out: streams.Out}
	cmd := &cobra.Command{
		Use:     "abandon MEMBER [--unit NAME] | --list",
		Short:   "Give up a member or a unit that will not come back",
		Long:    abandonHelp,
		Example: abandonExample,
		Args:    func(_ *cobra.Command, args []string) error { return o.parse(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.namespace, _, err = flags.ToRawKubeConfigLoader().Namespace(); err != nil {
				return fmt.Errorf("reading how to reach the plane: %w", err)
			}
			if o.plane, err = planeClients(flags); err != nil {
				return err
			}
			switch {
			case o.list:
				return o.show(cmd.Context())
			case o.undo:
				return o.takeBack(cmd.Context())
			}
			return o.run(cmd.Context())
		},
	}
	addOutputFlag(cmd, &o.output, outputTable, outputJSON, outputYAML)
	f := cmd.Flags()
	f.StringVar(&o.unit, "unit", "", "Give up this unit of the namespace only")
	f.StringVar(&o.topologyType, "topology-type", o.topologyType, "Topology type of the unit")
	f.StringVar(&o.memberNamespace, "member-namespace", "", "Give up this namespace of the member only: where the unit was before it got another one there")
	f.StringVar(&o.clusterID, "cluster-id", "", "Give up the cluster of this identity (default: the one that has the member's name now)")
	f.StringVar(&o.reason, "reason", "", "Why, for those who ask later")
	f.BoolVar(&o.undo, "undo", false, "Take it back: the place is used again if it is there")
	f.BoolVar(&o.list, "list", false, "List what was given up, and what is left there where it came back")
	f.BoolVar(&o.force, "force", false, "Give up a place that is ready, too")
	f.BoolVarP(&o.yes, "yes", "y", false, "Do not ask")
	f.DurationVar(&o.wait, "wait", o.wait, "How long to wait for deletions to end; 0 = do not wait")
	return cmd
}

func (o *abandonOptions) parse(args []string) error {
	switch {
	case o.list && len(args) == 0:
		return nil
	case o.list:
		return usagef("--list names no member, and got %s", strings.Join(args, " "))
	case len(args) != 1:
		return usagef("which member is given up? Got %d arguments", len(args))
	}
	o.member = args[0]
	if faults := validation.IsDNS1123Subdomain(o.member); len(faults) > 0 {
		return usagef("%q is no member's name: %s", o.member, strings.Join(faults, "; "))
	}
	if o.memberNamespace != "" && o.unit == "" {
		return usagef("--member-namespace narrows --unit, which is not given")
	}
	if o.unit != "" {
		if faults := topology.ValidateUnitName(o.unit); len(faults) > 0 {
			return usagef("--unit=%s: %s", o.unit, strings.Join(faults, "; "))
		}
	}
	return nil
}

func (o *abandonOptions) say(format string, args ...any) { fmt.Fprintf(o.out, format+"\n", args...) }

// unitName is the unit's full name; "" = all of the member.
func (o *abandonOptions) unitName() string {
	if o.unit == "" {
		return ""
	}
	return topology.UnitClusterName(o.unit, o.namespace, o.topologyType)
}

// what names the place for people.
func (o *abandonOptions) what() string {
	place := "member " + o.member
	if o.unit != "" {
		place = fmt.Sprintf("unit %s of namespace %s in member %s", o.unit, o.namespace, o.member)
	}
	if o.memberNamespace != "" {
		place += " (its namespace " + o.memberNamespace + ")"
	}
	return place
}

// run gives the place up: it says what that means, asks, records it, and waits for what it lets end.
func (o *abandonOptions) run(ctx context.Context) error {
	kfc, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.member)
	if err != nil {
		return err
	}
	known := ""
	if kfc != nil {
		known = kfc.Annotations[wellknown.ClusterIDAnnotation]
	}
	former := o.clusterID != "" && o.clusterID != known
	if o.clusterID == "" {
		o.clusterID = known
	}
	copies, err := o.copies(ctx)
	if err != nil {
		return err
	}
	if kfc == nil && copies.objects == 0 && len(copies.others) == 0 && !o.force {
		return fmt.Errorf("there is no member %s, and no copy is recorded there: nothing to give up (--force records it all the same)", o.member)
	}
	if !former && !o.force {
		if err := o.refuseReady(ctx, kfc, copies); err != nil {
			return err
		}
	}
	o.explain(kfc, former, copies)
	if !o.yes {
		if err := o.confirm(); err != nil {
			return err
		}
	}
	if err := o.record(ctx); err != nil {
		return err
	}
	return o.await(ctx)
}

// refuseReady refuses to give up what works.
func (o *abandonOptions) refuseReady(ctx context.Context, kfc *corev1beta1.KubeFedCluster, copies copies) error {
	if kfc == nil {
		return nil
	}
	if ready, _ := readiness(kfc); !ready {
		return nil
	}
	if o.unit != "" {
		u, err := get[topologyv1alpha1.Unit](ctx, o.plane, units, o.namespace, o.unit)
		if err != nil {
			return err
		}
		if u == nil || u.Spec.Cluster != o.member || o.memberNamespace != "" && u.Spec.MemberNamespace != o.memberNamespace {
			return nil // it is not there any more
		}
	}
	hint := ""
	for id, n := range copies.others {
		hint = fmt.Sprintf(". %d federated objects may have copies in a former cluster of this name: --cluster-id=%s gives that one up", n, id)
	}
	return fmt.Errorf("member %s is ready: delete what is placed there, or place it elsewhere; --force gives up %s all the same%s", o.member, o.what(), hint)
}

func (o *abandonOptions) explain(kfc *corev1beta1.KubeFedCluster, former bool, copies copies) {
	state := "which is not registered"
	if kfc != nil {
		_, state = readiness(kfc)
	}
	if former {
		state = "the former cluster of this name"
	}
	if o.clusterID != "" {
		state += ", cluster " + o.clusterID
	}
	o.say("To give up %s (%s) means:", o.what(), state)
	o.say("  - %d federated objects may have copies there, in %d units. Nothing is written there any more.", copies.objects, len(copies.units))
	o.say("  - %d of them are being deleted, and end without it. Others end without it when they are deleted.", copies.deleting)
	o.say("  - Nothing is deleted there. If it comes back, 'kubectl cellfed abandon --list' tells what is left.")
}

// confirm asks as kubectl does. What is not an answer is a no.
func (o *abandonOptions) confirm() error {
	fmt.Fprint(o.out, "Do you want to continue? (y/N): ")
	line, err := bufio.NewReader(o.in).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(o.out)
		return fmt.Errorf("nothing was done: nobody said yes (--yes says it beforehand)")
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return fmt.Errorf("nothing was done")
	}
	return nil
}

// abandonment is the record.
func (o *abandonOptions) abandonment() *topologyv1alpha1.Abandonment {
	a := &topologyv1alpha1.Abandonment{Spec: topologyv1alpha1.AbandonmentSpec{
		Cluster: o.member, ClusterID: o.clusterID, Unit: o.unitName(), MemberNamespace: o.memberNamespace, Reason: o.reason,
	}}
	a.Name = abandonmentName(a.Spec)
	return a
}

// record makes the Abandonment. Its name follows from what is given up, so that doing it twice is doing it once.
func (o *abandonOptions) record(ctx context.Context) error {
	a := o.abandonment()
	u, err := untyped(a, topologyv1alpha1.GroupVersion.WithKind("Abandonment"))
	if err != nil {
		return err
	}
	_, err = o.plane.dynamic.Resource(abandonments).Create(ctx, u, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		o.say("%s was given up before", artefactName(abandonments, a.Name))
	case err != nil:
		return fmt.Errorf("recording that %s is given up: %w", o.what(), asPlane(err))
	default:
		o.say("%s created", artefactName(abandonments, a.Name))
	}
	return nil
}

// await waits until no object that is being deleted waits for the place any longer.
func (o *abandonOptions) await(ctx context.Context) error {
	if o.wait == 0 {
		return nil
	}
	start, last := time.Now(), -1
	// Looking is not for nothing: all objects are read. The plane has better to do now.
	const period = 5 * pollPeriod
	err := wait.PollUntilContextTimeout(ctx, min(period, max(o.wait/4, pollPeriod)), o.wait, false, func(ctx context.Context) (bool, error) {
		left, err := o.copies(ctx)
		if err != nil {
			return false, err
		}
		if left.deleting > 0 && left.deleting != last {
			o.say("%d objects that are being deleted still wait for it", left.deleting)
		}
		last = left.deleting
		return left.deleting == 0, nil
	})
	if timedOut(ctx, err) {
		return fmt.Errorf("%s is given up, and %d objects that are being deleted still waited for it after %s: is the plane running?", o.what(), last, o.wait)
	}
	if err != nil {
		return fmt.Errorf("waiting for deletions: %w", err)
	}
	o.say("%s is given up; no deletion waits for it (%s)", o.what(), time.Since(start).Round(time.Millisecond))
	return nil
}

// takeBack deletes the records that give the place up.
func (o *abandonOptions) takeBack(ctx context.Context) error {
	all, err := list[topologyv1alpha1.Abandonment](ctx, o.plane, abandonments, "")
	if err != nil {
		return asPlane(err)
	}
	n := 0
	for _, a := range all {
		if a.Spec.Cluster != o.member || a.Spec.Unit != o.unitName() || o.clusterID != "" && a.Spec.ClusterID != o.clusterID ||
			o.memberNamespace != "" && a.Spec.MemberNamespace != o.memberNamespace {
			continue
		}
		err := o.plane.dynamic.Resource(abandonments).Delete(ctx, a.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting %s: %w", artefactName(abandonments, a.Name), err)
		}
		o.say("%s deleted", artefactName(abandonments, a.Name))
		n++
	}
	if n == 0 {
		return fmt.Errorf("%s was not given up", o.what())
	}
	o.say("%s is used again where it is a member. What was forgotten meanwhile is not taken up again, unless objects are placed there", o.what())
	return nil
}
