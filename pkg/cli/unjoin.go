package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const unjoinHelp = `Take a member out of the plane.

Unjoin refuses while anything of the plane may be left on the member, and lists
it: units, and federated objects of topology "cluster" that have a copy there.
Then it deletes the KubeFedCluster and the Secret that join made on the plane.

With --member-kubeconfig or --member-context it also deletes in the member what
join made and marked there: the service account, its token, its binding, the
role when nothing else is bound to it, and the namespace when join made it and
nothing is left in it. Nothing else in the member is touched.

With --force a member that is gone for good is taken out whatever may be left on
it: it is given up first (see 'kubectl cellfed abandon'), so that deletions do not
wait for it, and then taken out. Units on it stay until they are deleted. A member
that is ready is refused.

Unjoin may be repeated, also after it was interrupted.

Exit codes: 0 taken out, 1 tried and failed, 2 wrong usage.`

const unjoinExample = `  # Take the member out, and clean up in it
  kubectl cellfed unjoin hz-1 --member-kubeconfig hz-1.kubeconfig

  # The plane's side only
  kubectl cellfed unjoin hz-1

  # A member that will not come back
  kubectl cellfed unjoin hz-1 --force --reason "flooded on 3 May"`

// maxListed is how many names a refusal lists.
const maxListed = 10

type unjoinOptions struct {
	name             string
	memberKubeconfig string
	memberContext    string
	patience         time.Duration
	force, yes       bool
	reason           string

	in            io.Reader
	out           io.Writer
	plane, member *cluster // member is nil when only the plane's side is wanted
}

func newUnjoinCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &unjoinOptions{patience: 30 * time.Second, in: streams.In, out: streams.Out}
	cmd := &cobra.Command{
		Use:     "unjoin NAME",
		Short:   "Take a member out of the plane",
		Long:    unjoinHelp,
		Example: unjoinExample,
		Args:    exactlyOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			if faults := validation.IsDNS1123Subdomain(o.name); len(faults) > 0 {
				return usagef("%q is no member's name: %s", o.name, strings.Join(faults, "; "))
			}
			if o.memberKubeconfig != "" || o.memberContext != "" {
				access, err := loadMember(o.memberKubeconfig, o.memberContext)
				if err != nil {
					return err
				}
				if o.member, err = clientsFor(access.config); err != nil {
					return fmt.Errorf("connecting to the member: %w", err)
				}
			}
			var err error
			if o.plane, err = planeClients(flags); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.memberKubeconfig, "member-kubeconfig", "", "Kubeconfig of the member, to clean up in it")
	f.StringVar(&o.memberContext, "member-context", "", "Context of the member in that kubeconfig (default: its current one)")
	f.BoolVar(&o.force, "force", false, "Give up a member that is gone for good, and take it out")
	f.StringVar(&o.reason, "reason", "", "With --force: why, for those who ask later")
	f.BoolVarP(&o.yes, "yes", "y", false, "With --force: do not ask")
	f.DurationVar(&o.patience, "timeout", o.patience, "How long to wait for the KubeFedCluster to go")
	return cmd
}

func (o *unjoinOptions) say(format string, args ...any) { fmt.Fprintf(o.out, format+"\n", args...) }

// run takes the member out: the plane's side first, so that the plane stops writing before it loses the right to.
func (o *unjoinOptions) run(ctx context.Context) error {
	kfc, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name)
	if err != nil {
		return err
	}
	given, err := givenUp(ctx, o.plane, o.name, kfc)
	switch {
	case err != nil:
	case o.force && given == nil:
		err = o.giveUp(ctx, kfc)
	case given == nil:
		err = o.refuseWhileInUse(ctx)
	}
	if err != nil {
		return err
	}
	planeUID, err := identity(ctx, o.plane)
	if err != nil {
		return fmt.Errorf("asking the plane who it is: %w", err)
	}
	if o.member != nil {
		if err := o.refuseOtherMember(ctx, kfc); err != nil {
			return err
		}
	}
	deleted, err := o.cleanPlane(ctx, kfc)
	if err != nil {
		return fmt.Errorf("plane: %w", err)
	}
	if o.member == nil {
		o.say("member: nothing was touched; what join made there is %s in namespace %s, and its ClusterRoleBinding",
			accountName(o.name), wellknown.FederationNamespace)
	} else {
		n, err := o.cleanMember(ctx, planeUID)
		if err != nil {
			return fmt.Errorf("member: %w", err)
		}
		deleted += n
	}
	if deleted == 0 {
		return fmt.Errorf("there is no member %s, and nothing is left of one", o.name)
	}
	o.say("%s is no member any more", o.name)
	return nil
}

// giveUp records that nobody waits for the member any longer.
func (o *unjoinOptions) giveUp(ctx context.Context, kfc *corev1beta1.KubeFedCluster) error {
	if kfc == nil {
		return nil // it was given up before, or is none
	}
	if ready, _ := readiness(kfc); ready {
		return fmt.Errorf("member %s is ready: unjoin it without --force, which lists what is placed there; "+
			"'kubectl cellfed abandon %s --force' gives up one that is ready", o.name, o.name)
	}
	given := &abandonOptions{member: o.name, reason: o.reason, yes: o.yes, wait: o.patience, in: o.in, out: o.out, plane: o.plane}
	return given.run(ctx)
}

// refuseWhileInUse lists what of the plane may still be on the member. Deleting the KubeFedCluster would leave it there
// for good, with nobody knowing.
func (o *unjoinOptions) refuseWhileInUse(ctx context.Context) error {
	var users []string
	all, err := list[topologyv1alpha1.Unit](ctx, o.plane, units, "")
	if err != nil {
		return asPlane(err)
	}
	for _, u := range all {
		if u.Spec.Cluster == o.name {
			users = append(users, fmt.Sprintf("unit %s in namespace %s", u.Name, u.Namespace))
		}
	}
	types, err := list[corev1beta1.FederatedTypeConfig](ctx, o.plane, federatedTypeConfigs, wellknown.FederationNamespace)
	if err != nil {
		return asPlane(err)
	}
	for _, t := range types {
		copies, err := o.copiesOf(ctx, t)
		if err != nil {
			return err
		}
		users = append(users, copies...)
	}
	if len(users) == 0 {
		return nil
	}
	more := ""
	if len(users) > maxListed {
		more = fmt.Sprintf("\n  and %d more", len(users)-maxListed)
		users = users[:maxListed]
	}
	return fmt.Errorf("member %s is in use; delete these first, or place them elsewhere (--force gives up a member that is gone for good):\n  %s%s", o.name, strings.Join(users, "\n  "), more)
}

// copiesOf lists the federated objects of a type that name the member itself and may have a copy there. Those in
// units need no look: their units are listed.
func (o *unjoinOptions) copiesOf(ctx context.Context, t corev1beta1.FederatedTypeConfig) ([]string, error) {
	federated := t.Spec.FederatedType
	gvr := schema.GroupVersionResource{Group: federated.Group, Version: wellknown.ClusterForm, Resource: federated.PluralName}
	var out []string
	err := eachOf(ctx, o.plane, gvr, "", func(u *unstructured.Unstructured) error {
		entries, _, _ := unstructured.NestedSlice(u.Object, "status", "clusters")
		for _, e := range entries {
			if m, ok := e.(map[string]any); ok && m["name"] == o.name {
				out = append(out, strings.TrimSuffix(fmt.Sprintf("%s %s in namespace %s", u.GetKind(), u.GetName(), u.GetNamespace()), " in namespace "))
				break
			}
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		// The type is configured and not served: nothing of it can have been propagated from here.
		return nil, nil
	}
	return out, err
}

// refuseOtherMember makes sure that the kubeconfig is of the cluster that goes by the name.
func (o *unjoinOptions) refuseOtherMember(ctx context.Context, kfc *corev1beta1.KubeFedCluster) error {
	uid, err := identity(ctx, o.member)
	if err != nil {
		return fmt.Errorf("asking the member who it is: %w", err)
	}
	if kfc == nil {
		return nil // the marks in the member say whether anything there is ours
	}
	if known := kfc.Annotations[wellknown.ClusterIDAnnotation]; known != "" && known != uid {
		return fmt.Errorf("the kubeconfig is of another cluster than member %s (%s): nothing was touched", o.name, kfc.Spec.APIEndpoint)
	}
	return nil
}

func (o *unjoinOptions) cleanPlane(ctx context.Context, kfc *corev1beta1.KubeFedCluster) (int, error) {
	deleted := 0
	if kfc != nil {
		if err := o.delete(ctx, "plane", o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name, string(kfc.UID)); err != nil {
			return deleted, err
		}
		deleted++
		err := wait.PollUntilContextTimeout(ctx, pollPeriod, o.patience, true, func(ctx context.Context) (bool, error) {
			left, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name)
			return left == nil || left.UID != kfc.UID, err
		})
		if timedOut(ctx, err) {
			return deleted, fmt.Errorf("KubeFedCluster %s is being deleted, and was still there after %s: run unjoin again when it is gone", o.name, o.patience)
		}
		if err != nil {
			return deleted, fmt.Errorf("waiting for KubeFedCluster %s to go: %w", o.name, err)
		}
	}
	err := deleteEnrolment(ctx, o.plane, o.name, func(what string) {
		deleted++
		o.say("plane: %s deleted", what)
	})
	if err != nil {
		return deleted, err
	}
	n, err := o.deleteMarked(ctx, "plane", o.plane, secrets, accountName(o.name), "", true)
	if err == nil && kfc != nil && n == 0 && kfc.Spec.SecretRef.Name != "" {
		o.say("plane: %s left alone: join did not make it", artefactName(secrets, kfc.Spec.SecretRef.Name))
	}
	return deleted + n, err
}

// deleteMarked deletes an object of the join's name when it carries the join's marks, and tells whether it did.
func (o *unjoinOptions) deleteMarked(ctx context.Context, where string, c *cluster, gvr schema.GroupVersionResource, name, planeUID string, namespaced bool) (int, error) {
	namespace := ""
	if namespaced {
		namespace = wellknown.FederationNamespace
	}
	u, err := c.dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", artefactName(gvr, name), err)
	}
	of := u.GetLabels()[planeLabel]
	if u.GetLabels()[joinedAsLabel] != o.name || planeUID != "" && of != "" && of != planeUID {
		o.say("%s: %s left alone: joining %s to this plane did not make it", where, artefactName(gvr, name), o.name)
		return 0, nil
	}
	return 1, o.delete(ctx, where, c, gvr, namespace, name, string(u.GetUID()))
}

// delete deletes one object, and no other one of the same name.
func (o *unjoinOptions) delete(ctx context.Context, where string, c *cluster, gvr schema.GroupVersionResource, namespace, name, uid string) error {
	options := metav1.DeleteOptions{}
	if uid != "" {
		options.Preconditions = metav1.NewUIDPreconditions(uid)
	}
	err := c.dynamic.Resource(gvr).Namespace(namespace).Delete(ctx, name, options)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s: %w", artefactName(gvr, name), err)
	}
	o.say("%s: %s deleted", where, artefactName(gvr, name))
	return nil
}
