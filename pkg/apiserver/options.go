package apiserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	certapproval "k8s.io/kubernetes/plugin/pkg/admission/certificates/approval"
	certsigning "k8s.io/kubernetes/plugin/pkg/admission/certificates/signing"
	certsubjectrestriction "k8s.io/kubernetes/plugin/pkg/admission/certificates/subjectrestriction"

	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/pkg/kms"
	"github.com/cellfed/cellfed/pkg/storage"
)

// serviceAccountIssuer is what service account tokens of a plane are issued by
// and for. It is not an address.
const serviceAccountIssuer = "https://cellfed.io"

// switchFeatures switches off what a single API server has no use for: both
// features exist for several of them and write leases all the time. It switches
// on that a secret that can no longer be decrypted can be deleted, by whoever may
// do that and says that he means it: until then no secret can be listed.
func switchFeatures() error {
	err := utilfeature.DefaultMutableFeatureGate.SetFromMap(map[string]bool{
		"APIServerIdentity":                   false,
		"UnknownVersionInteroperabilityProxy": false,
		"AllowUnsafeMalformedObjectDeletion":  true,
	})
	if err != nil {
		return err
	}
	if d, err := time.ParseDuration(os.Getenv(checkPeriod)); err == nil && d > 0 {
		cacher.ConsistencyCheckPeriod = d
	}
	return compatibility.DefaultComponentGlobalsRegistry.Set()
}

// checkPeriod is an environment variable for tests: how often the API server compares
// its caches with the storage. By itself it does so every five minutes, which no
// test lasts.
const checkPeriod = "CELLFED_CONSISTENCY_CHECK_PERIOD"

// place is where a plane serves and stores.
type place struct {
	listener     net.Listener
	keys         host.Keys
	fingerprints map[string]string
	store        storage.Transport
	plugins      *kms.Keeper
}

// newOptions says to the control plane library what kube-apiserver is told by
// flags. loopback is read when the admission plugins are made.
func newOptions(ctx context.Context, cfg Config, at place, loopback **rest.Config) (options.CompletedOptions, error) {
	o := options.NewOptions()
	o.Etcd.StorageConfig.Transport.ServerList = at.store.Endpoints
	o.Etcd.StorageConfig.Transport.TrustedCAFile = at.store.CAFile
	o.Etcd.StorageConfig.Transport.CertFile, o.Etcd.StorageConfig.Transport.KeyFile = at.store.CertFile, at.store.KeyFile
	if at.store.Prefix != "" {
		o.Etcd.StorageConfig.Prefix = at.store.Prefix
	}
	o.Etcd.EncryptionProviderConfigFilepath = at.keys.Encryption
	encryptionconfig.EnvelopeKMSv2ServiceFactory = at.plugins.Service

	o.SecureServing.Listener = at.listener
	o.SecureServing.BindAddress = cfg.BindAddress
	o.SecureServing.BindPort = at.listener.Addr().(*net.TCPAddr).Port
	o.SecureServing.ServerCert.CertKey.CertFile = at.keys.ServingCert
	o.SecureServing.ServerCert.CertKey.KeyFile = at.keys.ServingKey
	o.GenericServerRunOptions.AdvertiseAddress = net.ParseIP(host.DialHost(cfg.BindAddress))
	o.GenericServerRunOptions.ExternalHost = host.DialHost(cfg.BindAddress)

	o.Authentication = kubeoptions.NewBuiltInAuthenticationOptions().
		WithAnonymous().WithBootstrapToken().WithClientCert().WithRequestHeader().WithServiceAccounts()
	// An agent of a member comes with a bootstrap token first, and with its own certificate when it needs the next.
	o.Authentication.BootstrapToken.Enable = true
	o.Authentication.ClientCert.ClientCA = at.keys.ClientCAs
	o.Authentication.ServiceAccounts.Issuers = []string{serviceAccountIssuer}
	o.Authentication.ServiceAccounts.KeyFiles = []string{at.keys.ServiceAccountKey}
	o.Authentication.ServiceAccounts.OptionalTokenGetter = newTokenGetter
	o.ServiceAccountSigningKeyFile = at.keys.ServiceAccountKey
	o.Authorization.Modes = []string{"RBAC"}

	o.Metrics = nil // nothing to configure, and empty settings are complained of
	o.Admission = &kubeoptions.AdmissionOptions{GenericAdmission: admissionOptions(cfg, loopback)}
	o.SystemNamespaces = append([]string{metav1.NamespaceSystem, metav1.NamespaceDefault}, cfg.Namespaces...)

	completed, err := o.Complete(ctx, nil, nil)
	if err != nil {
		return options.CompletedOptions{}, fmt.Errorf("completing options of the API server: %w", err)
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return options.CompletedOptions{}, fmt.Errorf("validating options of the API server: %w", utilerrors.NewAggregate(errs))
	}
	return completed, nil
}

// admissionOptions puts CellFed's plugins before policies and webhooks: these
// shall judge what will be stored.
func admissionOptions(cfg Config, loopback **rest.Config) *genericoptions.AdmissionOptions {
	o := genericoptions.NewAdmissionOptions()
	certapproval.Register(o.Plugins)
	certsigning.Register(o.Plugins)
	certsubjectrestriction.Register(o.Plugins)
	o.Plugins.Register(keeperName, func(io.Reader) (admission.Interface, error) { return newKeeper(cfg.Namespaces), nil })
	o.Plugins.Register(namesName, func(io.Reader) (admission.Interface, error) { return newNames(), nil })
	order := []string{lifecycle.PluginName, keeperName, namesName}
	for _, p := range cfg.Admission {
		o.Plugins.Register(p.Name, func(io.Reader) (admission.Interface, error) {
			return p.New(clientConfig(*loopback))
		})
		order = append(order, p.Name)
	}
	o.RecommendedPluginOrder = append(order,
		certapproval.PluginName, certsigning.PluginName, certsubjectrestriction.PluginName,
		mutatingpolicy.PluginName, mutatingwebhook.PluginName, validatingpolicy.PluginName, validatingwebhook.PluginName)
	o.DefaultOffPlugins = sets.Set[string]{}
	return o
}

// clientConfig turns the server's own connection to itself into one for any
// client: unlimited, and in the default encoding, since custom resources know
// no protobuf.
func clientConfig(loopback *rest.Config) *rest.Config {
	c := rest.CopyConfig(loopback)
	c.ContentConfig = rest.ContentConfig{}
	c.QPS = -1
	return rest.AddUserAgent(c, "cellfed")
}
