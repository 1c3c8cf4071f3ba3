package memberserver

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	managerapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	manageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// enabledControllers is what the member's kube-controller-manager runs: all that is on by default but what serves
// real machines, disks and clouds, which a member does not have, and what signs certificates for them.
const enabledControllers = "*," +
	"-node-lifecycle-controller,-taint-eviction-controller,-device-taint-eviction-controller," +
	"-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,-service-lb-controller,-ttl-controller," +
	"-persistentvolume-binder-controller,-persistentvolume-attach-detach-controller,-persistentvolume-expander-controller," +
	"-persistentvolumeclaim-protection-controller,-persistentvolume-protection-controller," +
	"-volumeattributesclass-protection-controller,-ephemeral-volume-controller,-resourceclaim-controller," +
	"-certificatesigningrequest-signing-controller,-certificatesigningrequest-approving-controller," +
	"-certificatesigningrequest-cleaner-controller,-podcertificaterequest-cleaner-controller," +
	"-kube-apiserver-serving-clustertrustbundle-publisher-controller,-legacy-serviceaccount-token-cleaner-controller"

// runControllerManager runs kube-controller-manager until ctx ends.
func runControllerManager(ctx context.Context, kubeconfig string, keys pki) error {
	opts, err := manageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("making options of kube-controller-manager: %w", err)
	}
	all, off, aliases := managerapp.KnownControllers(), managerapp.ControllersDisabledByDefault(), managerapp.ControllerAliases()
	sets := opts.Flags(all, off, aliases)
	opts.ParsedFlags = &sets
	err = parse("kube-controller-manager", &sets,
		"--kubeconfig="+kubeconfig,
		"--controllers="+enabledControllers,
		"--service-account-private-key-file="+keys.accountKey(),
		"--root-ca-file="+keys.caCert(),
		// One process per member: there is nobody to elect.
		"--leader-elect=false",
		"--secure-port=0",
		// The member's own controllers share a core with others; a limit of 20 writes a second on top would
		// only measure that limit.
		"--kube-api-qps=300", "--kube-api-burst=600",
	)
	if err != nil {
		return err
	}
	if err := opts.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("setting features of kube-controller-manager: %w", err)
	}
	config, err := opts.Config(ctx, all, off, aliases)
	if err != nil {
		return fmt.Errorf("configuring kube-controller-manager: %w", err)
	}
	if err := managerapp.Run(ctx, config.Complete()); err != nil && ctx.Err() == nil {
		return fmt.Errorf("running kube-controller-manager: %w", err)
	}
	return nil
}

// runScheduler runs kube-scheduler until ctx ends.
func runScheduler(ctx context.Context, kubeconfig string) error {
	opts := scheduleroptions.NewOptions()
	err := parse("kube-scheduler", opts.Flags,
		"--kubeconfig="+kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=300", "--kube-api-burst=600",
	)
	if err != nil {
		return err
	}
	if err := opts.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("setting features of kube-scheduler: %w", err)
	}
	config, scheduler, err := schedulerapp.Setup(ctx, opts)
	if err != nil {
		return fmt.Errorf("configuring kube-scheduler: %w", err)
	}
	// Without leader election Run returns an error also at a regular end.
	if err := schedulerapp.Run(ctx, config, scheduler); err != nil && ctx.Err() == nil {
		return fmt.Errorf("running kube-scheduler: %w", err)
	}
	return nil
}

// parse reads a component's command line into its flag sets.
func parse(component string, sets *cliflag.NamedFlagSets, args ...string) error {
	flags := pflag.NewFlagSet(component, pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("reading flags of %s: %w", component, err)
	}
	return nil
}
