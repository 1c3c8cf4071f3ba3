package conversion

import (
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/topology"
)

// Review answers a review. It fails only for what no API server sends: bytes that are no JSON object, or a version that
// federated types do not have. It does not change the review, and its answer shares no memory with it.
func Review(review *apiextensionsv1.ConversionReview) *apiextensionsv1.ConversionResponse {
	if review == nil || review.Request == nil {
		return failure("", fmt.Errorf("the review holds no request"))
	}
	request := review.Request
	out := make([]runtime.RawExtension, len(request.Objects))
	for i := range request.Objects {
		converted, err := forms.convert(nil, string(request.Objects[i].Raw), request.DesiredAPIVersion)
		if err != nil {
			return failure(request.UID, fmt.Errorf("converting object %d: %w", i, err))
		}
		out[i].Raw = converted
	}
	return &apiextensionsv1.ConversionResponse{
		UID: request.UID, ConvertedObjects: out, Result: metav1.Status{Status: metav1.StatusSuccess},
	}
}

func failure(uid types.UID, err error) *apiextensionsv1.ConversionResponse {
	return &apiextensionsv1.ConversionResponse{
		UID:    uid,
		Result: metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Message: err.Error()},
	}
}

// law says how to get from one version to another, in place.
type law map[way]func(map[string]any)

type way struct{ from, to string }

var forms = law{
	{wellknown.ClusterForm, wellknown.TopologyForm}: topology.IntoTopologyForm,
	{wellknown.TopologyForm, wellknown.ClusterForm}: topology.IntoClusterForm,
}

// convert appends one encoded object, said in another version. A panic in the law would be a fault of ours: it is told
// for this object alone, instead of ending the process that serves all others.
func (l law) convert(out []byte, object, desired string) (converted []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			converted, err = nil, fmt.Errorf("to %s: %v", desired, r)
		}
	}()
	decoded, err := decode(object, federatedObject)
	if err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	obj, ok := decoded.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading the object: it is no JSON object")
	}
	current, _ := obj["apiVersion"].(string)
	if current == desired {
		return append(out, object...), nil
	}
	group, version, _ := strings.Cut(current, "/")
	wantGroup, wantVersion, _ := strings.Cut(desired, "/")
	to, ok := l[way{version, wantVersion}]
	if !ok || group != wantGroup {
		return nil, fmt.Errorf("from %q to %q: a federated type has the versions %s and %s, of one group", current, desired,
			wellknown.ClusterForm, wellknown.TopologyForm)
	}
	to(obj)
	return encode(slices.Grow(out, room(len(object))), obj), nil
}

// room is what to set aside for an object: names get longer in cluster form, by their suffix.
func room(size int) int { return size + size/4 + 1024 }
