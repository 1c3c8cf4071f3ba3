package apiserver

import (
	"context"
	"fmt"
	"net"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/host"
)

// Where a CRD's conversion webhook points to be answered in this process, with
// no connection and no certificate: clientConfig.service {namespace, name, path,
// port}; a caBundle is not needed.
const (
	ConversionServiceNamespace = "cellfed-system"
	ConversionServiceName      = "cellfed-conversion"
	ConversionServicePath      = "/convert"
	ConversionServicePort      = 443
)

// ConversionHandler answers an encoded ConversionReview with an encoded one. Bytes, not the API's types: the API server
// asks once per object while a version's watch cache fills, and decoding a review only to look into its objects costs
// more than converting them. An error fails the conversion.
type ConversionHandler func(ctx context.Context, review []byte) ([]byte, error)

// AdmissionPlugin is an admission plugin that runs in this process.
type AdmissionPlugin struct {
	// Name is unique among all admission plugins.
	Name string
	// New makes the plugin: an admission.MutationInterface, a ValidationInterface,
	// or both. The server does not serve yet at that time; loopback is to be kept
	// and used when a request is admitted.
	New func(loopback *rest.Config) (admission.Interface, error)
}

// Part is long-running work in the plane's process.
type Part struct {
	// Name is for logs and errors.
	Name string
	// Run works until ctx ends, which is before the API server does. An error
	// before that ends the whole plane.
	Run func(ctx context.Context, loopback *rest.Config) error
}

// Config says how to run a plane.
type Config struct {
	// DataDir holds keys, certificates, admin.kubeconfig and, by default, the
	// database. One process at a time may use it.
	DataDir string
	// BindAddress and SecurePort are where to serve. Port 0 takes a free one.
	BindAddress net.IP
	SecurePort  int
	// Storage is the database as a URL. Empty is SQLite in the data directory.
	Storage string
	// KMS encrypts secrets in the database. Without it a local key does.
	KMS *host.KMS

	// ReplaceKeys has this server's certificate authorities and its key for tokens
	// take the place of the plane's, which otherwise refuse it.
	ReplaceKeys bool

	// CRDs are installed, or brought up to date, before the plane is ready.
	CRDs []*apiextensionsv1.CustomResourceDefinition
	// Namespaces exist before the plane is ready, and cannot be deleted.
	Namespaces []string
	// Conversion answers for CRDs that point to the service above. Without it
	// such CRDs cannot be converted.
	Conversion ConversionHandler
	// Closed tells which CRDs, besides those above and those that point to the
	// service above, refuse unknown fields of their objects whatever a client asks.
	Closed func(*apiextensionsv1.CustomResourceDefinition) bool
	// Admission plugins are asked in this order, before webhooks.
	Admission []AdmissionPlugin
	// Bootstrap functions run one after the other once the CRDs are served and
	// before the plane is ready.
	Bootstrap []func(ctx context.Context, loopback *rest.Config) error
	// Parts start after that, all at once.
	Parts []Part
	// Candidate is one more of them: work that the servers of a plane share, who settle among themselves which one of
	// them does it. Identity is this server's name, which no other server has at the same time.
	Candidate func(ctx context.Context, loopback *rest.Config, identity string) error
}

func (c *Config) validate() error {
	if c.DataDir == "" {
		return fmt.Errorf("no data directory given")
	}
	if c.BindAddress == nil {
		return fmt.Errorf("no bind address given")
	}
	return nil
}
