package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const joinHelp = `Make a cluster a member of the plane.

In the member, join makes the namespace kube-federation-system, a service
account NAME-cellfed with a token, and a ClusterRoleBinding of it to a
ClusterRole. The role is cellfed-propagation unless --member-role names another
one. cellfed-propagation allows get, list, watch, create, update, patch and
delete on all resources of all API groups, Secrets included, and get on the
health, version and discovery URLs. It does not allow escalate, bind or
impersonate. A role of your own needs at least get, list, watch, create, update,
patch and delete on namespaces and on the kinds that you federate.

On the plane, join makes a Secret NAME-cellfed with the token and the
KubeFedCluster NAME, both in kube-federation-system, and waits until the plane
says that the member is ready.

With --tunnel, the plane does not reach the member: an agent in the member keeps
a tunnel open to the plane, and the plane reaches the member through it. Join
then also makes a token on the plane, which one agent can change for a
certificate of this member and no other. Without a kubeconfig of the member,
join prints all that the member needs, as YAML to be applied there; the agent
hands the service account's token over. --member-endpoint is then the member's
API server as seen from the agent.

Joining again brings everything to what it should be. Refused are a NAME that is
no DNS label, the plane as its own member, a member that is joined under another
name, and another cluster under a name that is taken.

Exit codes: 0 joined and ready, 1 tried and failed, 2 wrong usage.`

const joinExample = `  # The kubeconfig's current context is the member
  kubectl cellfed join hz-1 --member-kubeconfig hz-1.kubeconfig

  # A context of kubectl's own configuration, with labels that placement selects by
  kubectl cellfed join hz-1 --member-context hz-1-admin --label city=hangzhou --label tier=gold

  # With a role of your own
  kubectl cellfed join hz-1 --member-kubeconfig hz-1.kubeconfig --member-role bank-propagation

  # A member behind a firewall: what the member needs is printed, and applied there
  kubectl cellfed join hz-1 --tunnel > hz-1.yaml
  kubectl --context hz-1-admin apply -f hz-1.yaml

  # The same, applied at once, for somebody who can reach both
  kubectl cellfed join hz-1 --tunnel --member-context hz-1-admin

  # See what would be made, without asking anybody
  kubectl cellfed join hz-1 --member-kubeconfig hz-1.kubeconfig --dry-run=client -o yaml`

// joinOptions are join's flags, and what it talks to.
type joinOptions struct {
	name             string
	memberKubeconfig string
	memberContext    string
	memberRole       string
	endpoint         string
	labels           map[string]string
	dryRun           string
	output           string
	wait             time.Duration
	tunnel           tunnelOptions

	out, errOut, progress io.Writer

	access        *memberAccess
	plane, member *cluster
}

func newJoinCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &joinOptions{wait: 30 * time.Second, dryRun: "none", out: streams.Out, errOut: streams.ErrOut, progress: streams.Out}
	cmd := &cobra.Command{
		Use:     "join NAME (--member-kubeconfig FILE | --member-context CONTEXT | --tunnel)",
		Short:   "Make a cluster a member of the plane",
		Long:    joinHelp,
		Example: joinExample,
		Args:    exactlyOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			if o.output != "" {
				o.progress = streams.ErrOut
			}
			if err := o.validate(); err != nil {
				return err
			}
			var err error
			if o.reachesMember() {
				if o.access, err = loadMember(o.memberKubeconfig, o.memberContext); err != nil {
					return err
				}
			}
			if o.dryRun == "client" {
				return o.show()
			}
			if o.access != nil {
				if o.member, err = clientsFor(o.access.config); err != nil {
					return fmt.Errorf("connecting to the member: %w", err)
				}
			}
			if o.plane, err = planeClients(flags); err != nil {
				return err
			}
			if !o.tunnel.on {
				return o.run(cmd.Context())
			}
			if o.tunnel.plane, err = flags.ToRESTConfig(); err != nil {
				return fmt.Errorf("reading how to reach the plane: %w", err)
			}
			return o.runTunnel(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.memberKubeconfig, "member-kubeconfig", "", "Kubeconfig of the member, with rights to make the objects above")
	f.StringVar(&o.memberContext, "member-context", "", "Context of the member in that kubeconfig (default: its current one)")
	f.StringVar(&o.memberRole, "member-role", "", "An existing ClusterRole of the member to use instead of "+defaultRole)
	f.StringVar(&o.endpoint, "member-endpoint", "", "URL at which the plane reaches the member (default: the one in its kubeconfig)")
	f.StringToStringVar(&o.labels, "label", nil, "Label of the KubeFedCluster, KEY=VALUE; may be repeated")
	f.StringVar(&o.dryRun, "dry-run", o.dryRun, "none, or client: print what would be made and ask nobody")
	f.DurationVar(&o.wait, "wait", o.wait, "How long to wait for the member's token, and then for Ready=True; 0 = do not wait for Ready")
	o.tunnel.addFlags(f)
	addOutputFlag(cmd, &o.output, outputJSON, outputYAML)
	return cmd
}

// reachesMember tells whether join was told how to speak to the member itself.
func (o *joinOptions) reachesMember() bool { return o.memberKubeconfig != "" || o.memberContext != "" }

func (o *joinOptions) validate() error {
	if faults := validation.IsDNS1123Label(o.name); len(faults) > 0 {
		return usagef("a member's name is a DNS label, and %q is none: %s", o.name, strings.Join(faults, "; "))
	}
	if !o.reachesMember() && !o.tunnel.on {
		return usagef("where is the member? Give --member-kubeconfig, or --member-context for one in kubectl's own configuration; " +
			"--tunnel is for one that cannot be reached")
	}
	if err := o.validateTunnel(); err != nil {
		return err
	}
	if o.dryRun != "none" && o.dryRun != "client" {
		return usagef("--dry-run=%s: want none or client", o.dryRun)
	}
	if o.wait < 0 {
		return usagef("--wait=%s is less than nothing", o.wait)
	}
	for k, v := range o.labels {
		faults := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...)
		if len(faults) > 0 {
			return usagef("--label %s=%s: %s", k, v, strings.Join(faults, "; "))
		}
		if strings.HasPrefix(k, "topology.cellfed.io/") {
			return usagef("--label %s: these labels are the plane's, and stand on units only", k)
		}
	}
	return nil
}

// planeInput is what the member's kubeconfig and flags say for the plane.
func (o *joinOptions) planeInput() (planeInput, error) {
	if o.tunnel.on {
		return o.tunnelInput(), nil
	}
	in := planeInput{member: o.name, endpoint: o.endpoint, labels: o.labels, proxyURL: o.access.cluster.ProxyURL}
	if in.endpoint == "" {
		url, _, err := rest.DefaultServerUrlFor(o.access.config)
		if err != nil {
			return in, fmt.Errorf("reading the member's endpoint: %w", err)
		}
		in.endpoint = strings.TrimSuffix(url.String(), "/")
	}
	if !strings.HasPrefix(in.endpoint, "https://") {
		return in, fmt.Errorf("the member's endpoint %s is not https: a token would travel in the clear", in.endpoint)
	}
	if name := o.access.config.TLSClientConfig.ServerName; name != "" {
		return in, fmt.Errorf("the member's kubeconfig sets tls-server-name %s, which a KubeFedCluster cannot say: "+
			"give --member-endpoint and a kubeconfig with a name that is in the certificate", name)
	}
	in.caBundle = o.access.config.CAData
	return in, nil
}

// show prints what join would make.
func (o *joinOptions) show() error {
	in, err := o.planeInput()
	if err != nil {
		return err
	}
	inMember, err := memberArtefacts(o.name, "", o.memberRole)
	if err != nil {
		return err
	}
	onPlane, err := planeArtefacts(in)
	if err != nil {
		return err
	}
	if o.output == "" {
		for _, a := range inMember {
			fmt.Fprintf(o.out, "member: %s created (dry run)\n", a)
		}
		for _, a := range onPlane {
			fmt.Fprintf(o.out, "plane: %s created (dry run)\n", a)
		}
		return nil
	}
	if o.output == outputJSON {
		return printStructured(o.out, outputJSON, map[string]any{"member": objects(inMember), "plane": objects(onPlane)})
	}
	// Two documents' worth of YAML, each of which kubectl applies to its own cluster.
	for _, part := range []struct {
		title string
		items []artefact
	}{{"In the member", inMember}, {"On the plane; the token is what the member puts into its Secret", onPlane}} {
		fmt.Fprintf(o.out, "# %s\n", part.title)
		for _, a := range part.items {
			if err := printStructured(o.out, outputYAML, a.object.Object); err != nil {
				return err
			}
			fmt.Fprintln(o.out, "---")
		}
	}
	return nil
}

func objects(in []artefact) []map[string]any {
	var out []map[string]any
	for _, a := range in {
		out = append(out, a.object.Object)
	}
	return out
}

func (o *joinOptions) say(format string, args ...any) {
	fmt.Fprintf(o.progress, format+"\n", args...)
}

// run joins: everything that can be refused is refused before the first write.
func (o *joinOptions) run(ctx context.Context) error {
	in, err := o.planeInput()
	if err != nil {
		return err
	}
	if err := o.identify(ctx, &in); err != nil {
		return err
	}
	if err := o.checkRole(ctx); err != nil {
		return err
	}
	inMember, err := memberArtefacts(o.name, in.planeUID, o.memberRole)
	if err != nil {
		return err
	}
	if err := o.ensureAll(ctx, "member", o.member, inMember); err != nil {
		return err
	}
	if in.token, in.tokenCA, err = o.awaitToken(ctx); err != nil {
		return err
	}
	if o.access.config.Insecure && len(in.caBundle) == 0 {
		in.caBundle = in.tokenCA
		o.say("member: its kubeconfig does not verify the server; the plane will, with the authority that the token came with")
	}
	if err := o.withdrawLeave(ctx); err != nil { // of agents that the member had
		return err
	}
	onPlane, err := planeArtefacts(in)
	if err != nil {
		return err
	}
	if err := o.ensureAll(ctx, "plane", o.plane, onPlane); err != nil {
		return err
	}
	if err := o.awaitReady(ctx); err != nil {
		return err
	}
	if err := o.warnGivenUp(ctx); err != nil {
		return err
	}
	if o.output == "" {
		return nil
	}
	u, err := o.plane.dynamic.Resource(kubeFedClusters).Namespace(wellknown.FederationNamespace).Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading what was made: %w", err)
	}
	return printStructured(o.out, o.output, u.Object)
}

// identify finds out who the two clusters are and refuses what would federate one cluster twice.
func (o *joinOptions) identify(ctx context.Context, in *planeInput) error {
	var err error
	if in.planeUID, err = identity(ctx, o.plane); err != nil {
		return fmt.Errorf("asking the plane who it is: %w", err)
	}
	if o.member == nil {
		return nil // the plane will ask it
	}
	if in.memberUID, err = identity(ctx, o.member); err != nil {
		return fmt.Errorf("asking the member who it is: %w", err)
	}
	if in.planeUID == in.memberUID {
		return fmt.Errorf("the member %s is the plane itself: a plane is not a member of itself", in.endpoint)
	}
	known, err := list[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace)
	if err != nil {
		return asPlane(err)
	}
	for _, k := range known {
		uid := k.Annotations[wellknown.ClusterIDAnnotation]
		switch {
		case k.Name == o.name && uid != "" && uid != in.memberUID:
			return fmt.Errorf("the name %s is taken by another cluster (%s): unjoin that one first, or join under another name", k.Name, k.Spec.APIEndpoint)
		case k.Name != o.name && (uid == in.memberUID || uid == "" && !o.tunnel.on && k.Spec.APIEndpoint == in.endpoint):
			return fmt.Errorf("this cluster is a member already, as %s: one member has one name", k.Name)
		}
	}
	return nil
}

func (o *joinOptions) checkRole(ctx context.Context) error {
	if o.memberRole == "" {
		return nil
	}
	if _, err := o.member.dynamic.Resource(clusterRoles).Get(ctx, o.memberRole, metav1.GetOptions{}); err != nil {
		return fmt.Errorf("looking for the role that --member-role names: %w", err)
	}
	return nil
}

func (o *joinOptions) ensureAll(ctx context.Context, where string, c *cluster, artefacts []artefact) error {
	for _, a := range artefacts {
		result, err := o.ensureWhenFree(ctx, where, c, a)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		o.say("%s: %s %s", where, a, result)
	}
	return nil
}
