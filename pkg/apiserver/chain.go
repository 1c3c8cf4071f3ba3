package apiserver

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	controlplane "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"

	"github.com/cellfed/cellfed/pkg/kms"
)

// connectionGrace is how long open connections may linger once everything in
// flight is answered.
const connectionGrace = time.Second

// configs are the three API servers that make up a plane, before they exist.
type configs struct {
	native     controlplane.CompletedConfig
	extensions apiextensionsapiserver.CompletedConfig
	aggregator aggregatorapiserver.CompletedConfig
}

func newConfigs(opts options.CompletedOptions, plugins *kms.Keeper, conversion ConversionHandler, loopback **rest.Config) (configs, error) {
	generic, informers, storageFactory, err := controlplane.BuildGenericConfig(
		opts,
		[]*runtime.Scheme{legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme},
		servedAPIs(),
		generatedopenapi.GetOpenAPIDefinitions,
	)
	if err != nil {
		return configs{}, fmt.Errorf("configuring the API server: %w", err)
	}
	generic.HealthzChecks, generic.ReadyzChecks = plugins.Checks(generic.HealthzChecks), plugins.Checks(generic.ReadyzChecks)
	generic.EffectiveVersion = versioned{generic.EffectiveVersion}
	*loopback = generic.LoopbackClientConfig
	generic.DisabledPostStartHooks.Insert(
		rbacrest.PostStartHookName,               // ensureRoles does it
		"start-legacy-token-tracking-controller", // a plane never had tokens of that kind
	)

	resolver := serviceResolver{}
	native, initializers, err := controlplane.CreateConfig(opts, generic, informers, storageFactory, resolver, nil)
	if err != nil {
		return configs{}, fmt.Errorf("configuring built-in resources: %w", err)
	}
	auth := inProcess(conversion, webhook.NewDefaultAuthenticationInfoResolverWrapper(
		native.ProxyTransport, generic.EgressSelector, generic.LoopbackClientConfig, generic.TracerProvider))
	// As if there were one: with more, a new CRD would be served only after seconds
	// in which all of them learn of it. They do so in milliseconds, by their watches.
	const servers = 1
	extensions, err := controlplane.CreateAPIExtensionsConfig(*generic, informers, initializers, opts, servers, resolver, auth)
	if err != nil {
		return configs{}, fmt.Errorf("configuring custom resources: %w", err)
	}
	aggregator, err := controlplane.CreateAggregatorConfig(*generic, opts, informers, resolver, native.ProxyTransport, nil, initializers)
	if err != nil {
		return configs{}, fmt.Errorf("configuring discovery: %w", err)
	}
	aggregator.ExtraConfig.DisableRemoteAvailableConditionController = true
	return configs{native.Complete(), extensions.Complete(), aggregator.Complete()}, nil
}

// newChain makes the three servers. A request goes to the first that knows its
// path: discovery, then built-in resources, then custom resources.
func newChain(cfg Config, c configs) (*aggregatorapiserver.APIAggregator, error) {
	notFound := notfoundhandler.New(c.native.Generic.Serializer, genericapifilters.NoMuxAndDiscoveryIncompleteKey)
	extensions, err := c.extensions.New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return nil, fmt.Errorf("making the server of custom resources: %w", err)
	}
	native, err := c.native.New("cellfed", strictFields{
		DelegationTarget: extensions.GenericAPIServer,
		crds:             extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister(),
		closed:           closedTypes(cfg),
	})
	if err != nil {
		return nil, fmt.Errorf("making the server of built-in resources: %w", err)
	}
	client, err := kubernetes.NewForConfig(c.native.Generic.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("making a loopback client: %w", err)
	}
	if err := native.InstallAPIs(storageProviders(c.native, client.Discovery())...); err != nil {
		return nil, fmt.Errorf("installing built-in resources: %w", err)
	}
	crdsServed := c.extensions.GenericConfig.MergedResourceConfig.ResourceEnabled(
		apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"))
	aggregator, err := controlplane.CreateAggregatorServer(c.aggregator, native.GenericAPIServer,
		extensions.Informers.Apiextensions().V1().CustomResourceDefinitions(), crdsServed, controlplane.DefaultGenericAPIServicePriorities())
	if err != nil {
		return nil, fmt.Errorf("making the server of discovery: %w", err)
	}
	aggregator.GenericAPIServer.ShutdownTimeout = connectionGrace
	return aggregator, nil
}

// newServer makes a server that is ready to run.
func newServer(ctx context.Context, cfg Config, at place) (*aggregatorapiserver.APIAggregator, *rest.Config, error) {
	var loopback *rest.Config
	opts, err := newOptions(ctx, cfg, at, &loopback)
	if err != nil {
		return nil, nil, err
	}
	c, err := newConfigs(opts, at.plugins, cfg.Conversion, &loopback)
	if err != nil {
		return nil, nil, err
	}
	if err := checkAgreement(ctx, cfg, at, c.native.Generic.RESTOptionsGetter); err != nil {
		return nil, nil, err
	}
	server, err := newChain(cfg, c)
	if err != nil {
		return nil, nil, err
	}
	return server, clientConfig(loopback), nil
}

// versioned reports the version of the Kubernetes libraries. The linker's
// variable for it is empty in a plain build, and kubectl warns about that.
type versioned struct {
	basecompatibility.EffectiveVersion
}

// Info implements basecompatibility.EffectiveVersion.
func (v versioned) Info() *version.Info {
	info := v.EffectiveVersion.Info()
	if v := KubernetesVersion(); info != nil && v != "" {
		info.GitVersion = v
	}
	return info
}
