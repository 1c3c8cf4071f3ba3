package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
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

// requestOf gives the request for a custom resource; false for everything built in, which is none of ours.
func requestOf(attr admission.Attributes) (*Request, bool) {
	obj, ok := attr.GetObject().(*unstructured.Unstructured)
	if !ok {
		return nil, false
	}
	return &Request{
		Create:      attr.GetOperation() == admission.Create,
		Kind:        attr.GetKind(),
		Resource:    attr.GetResource(),
		Subresource: attr.GetSubresource(),
		Namespace:   attr.GetNamespace(),
		Object:      obj,
		Old:         unstructuredOf(attr.GetOldObject()),
	}, true
}

func unstructuredOf(obj runtime.Object) *unstructured.Unstructured {
	u, _ := obj.(*unstructured.Unstructured)
	return u
}
