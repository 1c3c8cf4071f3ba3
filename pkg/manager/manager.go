package manager

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/controllers/federatedtype"
	"github.com/cellfed/cellfed/pkg/controllers/membership"
	"github.com/cellfed/cellfed/pkg/controllers/propagation"
	settingsroom "github.com/cellfed/cellfed/pkg/controllers/settings"
	"github.com/cellfed/cellfed/pkg/controllers/unit"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/metrics"
	"github.com/cellfed/cellfed/pkg/settings"
)

// Parts that can be switched.
const (
	Membership    = "membership"
	Units         = "units"
	FederatedType = "federatedtypes"
	Propagation   = "propagation"
	Enrolment     = "enrolment"
)

// PartNames are all parts, in the order in which they are told to users.
var PartNames = []string{Membership, Units, FederatedType, Propagation, Enrolment}

// Options say what to run and how.
type Options struct {
	// Enabled tells whether a part runs; nil = all do.
	Enabled func(part string) bool
	// Conversion says where federated CRDs ask for conversions.
	Conversion apiextensionsv1.WebhookClientConfig
	Membership membership.Options
	// MemoryPerMember is how much memory, in bytes, what a member shows may take beyond what is expected of it; 0 = the
	// default.
	MemoryPerMember int64
	// Fence, if there is one, is asked before anything goes out to a member.
	Fence func() error
	// Tunnels are those that members' agents hold open to this process; nil = it serves none.
	Tunnels Tunnels
	// TunnelCA signs the certificates of members' agents; without it none are.
	TunnelCA TunnelCA
	// UserAgent is how this process names itself to members; "" = the default.
	UserAgent string
	// Settings are those of the process's own configuration. A KubeFedConfig may say otherwise while it runs.
	Settings settings.Settings
}

// Tunnels reach members that dial out.
type Tunnels interface {
	membership.Tunnels
	// Dial opens a connection to an address as seen from a member.
	Dial(ctx context.Context, member, address string) (net.Conn, error)
}

// shutdownTimeout bounds the end of the controllers: a plane has to end within seconds, and a write that is cut off is
// one that the next process makes again.
const shutdownTimeout = 3 * time.Second

// quiet gives controller-runtime its process-wide logger, without which it complains.
var quiet = sync.OnceFunc(func() { ctrl.SetLogger(klog.Background().V(2)) })

// Scheme knows all kinds that the controllers read and write.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme,
		corev1beta1.AddToScheme, topologyv1alpha1.AddToScheme, propagationv1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return s, nil
}

// Run runs the controllers until ctx ends; then they have all ended, and so have their calls to members.
func Run(ctx context.Context, cfg *rest.Config, opts Options) error {
	if opts.Enabled == nil {
		opts.Enabled = func(string) bool { return true }
	}
	quiet()
	metrics.Register()
	// A former leader would otherwise tell for ever how members were when it led.
	defer metrics.ForgetMembers()
	m, carried, err := assemble(ctx, cfg, opts)
	if err != nil {
		return fmt.Errorf("assembling the controllers: %w", err)
	}
	defer carried.StopAll()
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("running the controllers: %w", err)
	}
	return nil
}

// cacheSyncTimeout is for ever, as far as a plane is concerned.
const cacheSyncTimeout = 10 * 365 * 24 * time.Hour

func assemble(ctx context.Context, cfg *rest.Config, opts Options) (ctrl.Manager, *propagation.Controller, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, nil, err
	}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the plane's own priority and fairness knows better
	mgr, err := ctrl.NewManager(cfg, managerOptions(ctx, scheme))
	if err != nil {
		return nil, nil, err
	}
	if err := index(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, nil, err
	}
	a := &assembly{Manager: mgr, opts: opts, fleet: member.NewFleet(ctx, member.Options{
		MemoryPerMember: opts.MemoryPerMember, Fence: opts.Fence, UserAgent: opts.UserAgent, Tunnel: opts.tunnel(),
	})}
	err = a.build(ctx, cfg)
	return mgr, a.propagation, err
}

func managerOptions(ctx context.Context, scheme *runtime.Scheme) ctrl.Options {
	skipNameValidation := true
	options := ctrl.Options{
		Scheme: scheme,
		// Its own talk is of no interest to users; errors are told at any verbosity.
		Logger:                 klog.FromContext(ctx).V(2),
		Metrics:                metricsserver.Options{BindAddress: "0"}, // the API server serves the registry
		HealthProbeBindAddress: "0",
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			// The credentials of members, and nobody else's secrets.
			ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{
				wellknown.FederationNamespace: {}, wellknown.UnitsNamespace: {},
			}}},
		},
		GracefulShutdownTimeout: ptr.To(shutdownTimeout),
	}
	options.Controller.SkipNameValidation = &skipNameValidation // a process may run several planes in tests
	// A list that cannot be had, of secrets of which one cannot be decrypted, is waited for: by default it would end the
	// plane after two minutes.
	options.Controller.CacheSyncTimeout = cacheSyncTimeout
	return options
}

// tunnel dials members that are behind one.
func (o Options) tunnel() member.TunnelFunc {
	if o.Tunnels == nil {
		return nil
	}
	return o.Tunnels.Dial
}

// index builds the indexes that controllers look things up by.
func index(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &topologyv1alpha1.Unit{}, propagation.MemberNamespaceIndex, propagation.IndexMemberNamespace); err != nil {
		return fmt.Errorf("indexing units: %w", err)
	}
	if err := indexer.IndexField(ctx, propagation.RevisionMetadata(), propagation.OwnerUIDIndex, propagation.IndexOwnerUID); err != nil {
		return fmt.Errorf("indexing revisions: %w", err)
	}
	return nil
}

// assembly is the parts on their way into a manager.
type assembly struct {
	ctrl.Manager
	opts        Options
	fleet       *member.Fleet
	live        *settingsroom.Live
	propagation *propagation.Controller
	units       *unit.Controller // nil where that part does not run
}

func (a *assembly) build(ctx context.Context, cfg *rest.Config) error {
	onPlane, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	watcher, err := a.loadSettings(ctx, onPlane)
	if err != nil {
		return err
	}
	members := membership.New(a.GetClient(), a.fleet, a.GetEventRecorder("cellfed-membership"), a.membership())
	a.propagation = propagation.New(propagation.Options{
		Dynamic: onPlane, Client: a.GetClient(), Cache: a.GetCache(), Live: a.GetAPIReader(), Fleet: a.fleet,
		Recorder: a.GetEventRecorder("cellfed-propagation"), Settled: members.Settled,
		Gates: a.live.Gates, AdoptByDefault: a.live.AdoptByDefault, StrictNamespaces: a.live.StrictNamespaces, Workers: a.live.Workers,
		RequireGrants: a.requireGrants,
	})
	members.Guard(a.propagation.MemberInUse)
	a.followSettings(members)
	if err := a.Add(watcher); err != nil {
		return fmt.Errorf("adding the settings: %w", err)
	}
	// Propagation needs members that are connected, so membership runs where propagation does.
	if a.opts.Enabled(Membership) || a.opts.Enabled(Propagation) {
		if err := members.SetupWithManager(a); err != nil {
			return fmt.Errorf("adding %s: %w", Membership, err)
		}
	}
	if a.opts.Enabled(Units) {
		if err := a.addUnits(ctx); err != nil {
			return fmt.Errorf("adding %s: %w", Units, err)
		}
	}
	if a.opts.Enabled(FederatedType) || a.opts.Enabled(Propagation) {
		types := &federatedtype.Reconciler{Client: a.GetClient(), Fleet: a.fleet, Types: carrying{a.propagation, ctx, a.opts.Enabled(Propagation)},
			Conversion: a.opts.Conversion, Remaining: a.propagation.Remaining}
		if err := types.AddTo(a); err != nil {
			return fmt.Errorf("adding %s: %w", FederatedType, err)
		}
	}
	if a.opts.Enabled(Propagation) {
		if err := a.addAbandonments(members); err != nil {
			return fmt.Errorf("adding abandonments: %w", err)
		}
	}
	if a.opts.Enabled(Enrolment) && a.opts.TunnelCA.CertFile != "" {
		if err := a.addEnrolments(ctx); err != nil {
			return fmt.Errorf("adding %s: %w", Enrolment, err)
		}
	}
	return a.watchTopology(ctx)
}

// watchTopology tells propagation of units and members that come, change and go.
func (a *assembly) watchTopology(ctx context.Context) error {
	for _, w := range []struct {
		kind client.Object
		tell func(client.Object)
	}{
		{&topologyv1alpha1.Unit{}, func(o client.Object) { a.propagation.UnitChanged(o.GetNamespace()) }},
		{&corev1.Namespace{}, func(o client.Object) { a.propagation.UnitChanged(o.GetName()) }}, // its labels own what is in it
		{&topologyv1alpha1.Abandonment{}, func(client.Object) { a.propagation.AbandonmentChanged() }},
		{&corev1beta1.KubeFedCluster{}, func(o client.Object) {
			if o.GetNamespace() == wellknown.FederationNamespace {
				if m, ok := o.(*corev1beta1.KubeFedCluster); ok {
					a.propagation.MemberChanged(m)
				}
			}
		}},
	} {
		informer, err := a.GetCache().GetInformer(ctx, w.kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", w.kind, err)
		}
		tell := func(obj any) {
			if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if o, ok := obj.(client.Object); ok {
				w.tell(o)
			}
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: tell, DeleteFunc: tell, UpdateFunc: func(old, obj any) {
				if !onlyFound(old, obj) {
					tell(obj)
				}
			},
		}); err != nil {
			return fmt.Errorf("watching %T: %w", w.kind, err)
		}
	}
	return nil
}

// carrying lets federated types start and stop propagation, for the life of the controllers.
type carrying struct {
	*propagation.Controller
	life    context.Context //nolint:containedctx // Types.Start's own context bounds the start only
	enabled bool
}

// Start implements federatedtype.Types.
func (c carrying) Start(_ context.Context, t federatedtype.TypeConfig) error {
	if !c.enabled {
		return nil
	}
	return c.Controller.Start(c.life, propagation.Type(t))
}
