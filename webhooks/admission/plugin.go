package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/rest"
)

// PluginName is the name of the admission plugin in the plane's API server.
const PluginName = "CellFed"

// plugin asks an Admitter in process.
type plugin struct {
	*admission.Handler
	admitter *Admitter
}

var (
	_ admission.MutationInterface   = plugin{}
	_ admission.ValidationInterface = plugin{}
)

// NewPlugin makes the admission plugin of the plane's own API server.
func NewPlugin(a *Admitter) admission.Interface {
	return plugin{Handler: admission.NewHandler(admission.Create, admission.Update), admitter: a}
}

// InProcess is the door of a plane that has it in its own process. New and Run fit the seams of the API server: its
// admission plugins and its parts.
type InProcess struct {
	options Options
	facts   *LiveFacts
}

// NewInProcess makes the door of one plane.
func NewInProcess(o Options) *InProcess { return &InProcess{options: o} }

// New makes the admission plugin. The connection is kept, and used when a request is admitted.
func (p *InProcess) New(loopback *rest.Config) (admission.Interface, error) {
	facts, err := NewLiveFacts(loopback)
	if err != nil {
		return nil, err
	}
	p.facts = facts
	return NewPlugin(New(facts, p.options)), nil
}

// Run keeps the plugin's caches until ctx ends. It is called after New, when the plane's CRDs are served.
func (p *InProcess) Run(ctx context.Context, _ *rest.Config) error {
	if p.facts == nil { // the plugin is switched off
		<-ctx.Done()
		return nil
	}
	return p.facts.Run(ctx)
}

// Admit implements admission.MutationInterface.
func (p plugin) Admit(ctx context.Context, attr admission.Attributes, _ admission.ObjectInterfaces) error {
	if req, ok := requestOf(attr); ok {
		return p.admitter.Mutate(ctx, req)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (p plugin) Validate(ctx context.Context, attr admission.Attributes, _ admission.ObjectInterfaces) error {
	req, ok := requestOf(attr)
	if !ok {
		return nil
	}
	warnings, err := p.admitter.Validate(ctx, req)
	for _, w := range warnings {
		warning.AddWarning(ctx, "", w)
	}
	return err
}

// requestOf gives the request for a custom resource, or for a namespace, which owns them; false for everything else
// that is built in, which is none of ours.
func requestOf(attr admission.Attributes) (*Request, bool) {
	obj, ok := attr.GetObject().(*unstructured.Unstructured)
	old := unstructuredOf(attr.GetOldObject())
	if attr.GetKind().GroupKind() == namespaceKind && attr.GetObject() != nil {
		obj, old, ok = metadataOf(attr.GetObject()), metadataOf(attr.GetOldObject()), true
	}
	if !ok || obj == nil {
		return nil, false
	}
	return &Request{
		Create:      attr.GetOperation() == admission.Create,
		Kind:        attr.GetKind(),
		Resource:    attr.GetResource(),
		Subresource: attr.GetSubresource(),
		Namespace:   attr.GetNamespace(),
		Object:      obj,
		Old:         old,
	}, true
}

// metadataOf is what there is to judge of a namespace, whose type the door does not know.
func metadataOf(obj runtime.Object) *unstructured.Unstructured {
	if obj == nil {
		return nil
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetName(m.GetName())
	u.SetLabels(m.GetLabels())
	u.SetDeletionTimestamp(m.GetDeletionTimestamp())
	return u
}

func unstructuredOf(obj runtime.Object) *unstructured.Unstructured {
	u, _ := obj.(*unstructured.Unstructured)
	return u
}
