package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const revokeHelp = `Cut off the agents of a member that is reached through a tunnel.

From now on the certificates that the member's agents have are worthless: their
tunnels end at once, they are admitted no more and get no new certificates, and
tokens of the member that were not used yet are deleted. The member stays, and
is not reachable until it is joined anew with kubectl cellfed join --tunnel.

Exit codes: 0 revoked, 1 tried and failed, 2 wrong usage.`

const revokeExample = `  # A key of the member's agent may be in wrong hands
  kubectl cellfed revoke hz-1

  # And then give it new agents
  kubectl cellfed join hz-1 --tunnel > hz-1.yaml`

// revokeOptions are revoke's arguments, and what it talks to.
type revokeOptions struct {
	name  string
	out   io.Writer
	plane *cluster
}

func newRevokeCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &revokeOptions{out: streams.Out}
	return &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Cut off the agents of a member behind a tunnel",
		Long:    revokeHelp,
		Example: revokeExample,
		Args:    exactlyOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			var err error
			if o.plane, err = planeClients(flags); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
}

func (o *revokeOptions) run(ctx context.Context) error {
	kfc, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name)
	if err != nil {
		return asPlane(err)
	}
	switch {
	case kfc == nil:
		return fmt.Errorf("there is no member %s", o.name)
	case kfc.Spec.Tunnel == nil:
		return fmt.Errorf("member %s is not reached through a tunnel: it has no agents to cut off", o.name)
	}
	// The member's agents first: what is left undone after that lets nobody in.
	_, err = o.plane.dynamic.Resource(kubeFedClusters).Namespace(wellknown.FederationNamespace).
		Patch(ctx, o.name, types.MergePatchType, []byte(`{"spec":{"tunnel":{"enrolment":null}}}`), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("taking the enrolment from KubeFedCluster %s: %w", o.name, err)
	}
	if kfc.Spec.Tunnel.Enrolment == "" {
		fmt.Fprintf(o.out, "plane: member %s admits no agents already\n", o.name)
	} else {
		fmt.Fprintf(o.out, "plane: the agents of member %s are cut off\n", o.name)
	}
	return deleteEnrolment(ctx, o.plane, o.name, func(what string) { fmt.Fprintf(o.out, "plane: %s deleted\n", what) })
}

// deleteEnrolment deletes what join made on the plane for a member's agents: unused tokens, and leave to hand over
// credentials.
func deleteEnrolment(ctx context.Context, plane *cluster, member string, told func(what string)) error {
	if err := deleteLeave(ctx, plane, member, told); err != nil {
		return err
	}
	return deleteMarkedAll(ctx, plane, member, secrets, metav1.NamespaceSystem, told)
}

// deleteLeave deletes the leave that join gave to a member's agents to write the member's credentials.
func deleteLeave(ctx context.Context, plane *cluster, member string, told func(what string)) error {
	if err := deleteMarkedAll(ctx, plane, member, roleBindings, wellknown.FederationNamespace, told); err != nil {
		return err
	}
	return deleteMarkedAll(ctx, plane, member, roles, wellknown.FederationNamespace, told)
}

// deleteMarkedAll deletes all objects of a kind that carry the marks of a member's join.
func deleteMarkedAll(ctx context.Context, plane *cluster, member string, gvr schema.GroupVersionResource, namespace string, told func(what string)) error {
	marked := metav1.ListOptions{LabelSelector: joinedAsLabel + "=" + member + "," + madeByLabel + "=" + madeByJoin}
	c := plane.dynamic.Resource(gvr).Namespace(namespace)
	found, err := c.List(ctx, marked)
	if err != nil {
		return fmt.Errorf("listing %s of member %s: %w", gvr.Resource, member, err)
	}
	for _, u := range found.Items {
		if err := c.Delete(ctx, u.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting %s: %w", artefactName(gvr, u.GetName()), err)
		}
		told(artefactName(gvr, u.GetName()))
	}
	return nil
}
