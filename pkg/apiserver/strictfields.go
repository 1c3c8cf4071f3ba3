package apiserver

import (
	"net/http"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionslisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// strictFields makes the API server refuse unknown and repeated fields of closed types, whatever the client asks for. It
// would drop them otherwise, and what is left of an object with a mistyped field may mean the opposite of what was
// written: one whose mask is mistyped has no mask.
//
// Only writes to the objects themselves are concerned. A status cannot change what was asked for, and a controller that
// knows more fields than this plane, or fewer, shall go on writing it. What is stored already is read by its type's
// schema before it is changed, so nothing that an older schema left in an object stands in anybody's way.
type strictFields struct {
	// The filter stands right before the server of custom resources: what comes here belongs to no built-in resource.
	genericapiserver.DelegationTarget
	crds   apiextensionslisters.CustomResourceDefinitionLister
	closed func(*apiextensionsv1.CustomResourceDefinition) bool
}

// closedTypes tells which CRDs are closed: those that the plane comes with, those that it converts, and those that the
// configuration says.
func closedTypes(cfg Config) func(*apiextensionsv1.CustomResourceDefinition) bool {
	return func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		own := func(o *apiextensionsv1.CustomResourceDefinition) bool { return o.Name == crd.Name }
		return slices.ContainsFunc(cfg.CRDs, own) || isConvertedHere(crd) || cfg.Closed != nil && cfg.Closed(crd)
	}
}

func isConvertedHere(crd *apiextensionsv1.CustomResourceDefinition) bool {
	c := crd.Spec.Conversion
	if c == nil || c.Webhook == nil || c.Webhook.ClientConfig == nil || c.Webhook.ClientConfig.Service == nil {
		return false
	}
	return isConversionService(c.Webhook.ClientConfig.Service.Namespace, c.Webhook.ClientConfig.Service.Name)
}

// UnprotectedHandler implements genericapiserver.DelegationTarget.
func (s strictFields) UnprotectedHandler() http.Handler {
	next := s.DelegationTarget.UnprotectedHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if info, ok := apirequest.RequestInfoFrom(req.Context()); ok && s.concerns(info) {
			req = withStrictFields(req)
		}
		next.ServeHTTP(w, req)
	})
}

func (s strictFields) concerns(info *apirequest.RequestInfo) bool {
	if !info.IsResourceRequest || info.Subresource != "" || !slices.Contains([]string{"create", "update", "patch"}, info.Verb) {
		return false
	}
	crd, err := s.crds.Get(info.Resource + "." + info.APIGroup)
	// One that is not known here may be known, and be a closed one, when the request is served a moment later.
	return err != nil || s.closed(crd)
}

// withStrictFields is the request as a client would have made it that asks for strictness. Options of all three verbs
// have this parameter, and mean by it the same for every encoding and every kind of patch.
func withStrictFields(req *http.Request) *http.Request {
	query := req.URL.Query()
	query.Set("fieldValidation", metav1.FieldValidationStrict)
	address := *req.URL
	address.RawQuery = query.Encode()
	strict := *req
	strict.URL = &address
	return &strict
}
