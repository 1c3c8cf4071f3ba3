package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Paths that Handler answers on.
const (
	MutatePath   = "/mutate"
	ValidatePath = "/validate"
)

// maxReview bounds a review: two objects of the most that an API server stores, and some.
const maxReview = 16 << 20

// Handler answers AdmissionReviews (admission.k8s.io/v1) on MutatePath and ValidatePath.
func (a *Admitter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+MutatePath, answer(a.mutateReview))
	mux.Handle("POST "+ValidatePath, answer(a.validateReview))
	return mux
}

// answer turns a decision into HTTP. What is no review is a 400; a decision, whatever it is, a 200.
func answer(decide func(context.Context, *Request) *admissionv1.AdmissionResponse) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		review := &admissionv1.AdmissionReview{}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReview)).Decode(review); err != nil {
			http.Error(w, fmt.Sprintf("reading admission review: %v", err), http.StatusBadRequest)
			return
		}
		if review.Request == nil {
			http.Error(w, "reading admission review: it holds no request", http.StatusBadRequest)
			return
		}
		req, err := requestOfReview(review.Request)
		response := &admissionv1.AdmissionResponse{Allowed: true}
		switch {
		case err != nil:
			response = verdict(nil, apierrors.NewBadRequest(err.Error()))
		case req != nil:
			response = decide(r.Context(), req)
		}
		response.UID = review.Request.UID
		body, err := json.Marshal(&admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
		if err != nil {
			http.Error(w, fmt.Sprintf("writing admission review: %v", err), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // a caller that is gone asks again
	}
}

func (a *Admitter) validateReview(ctx context.Context, req *Request) *admissionv1.AdmissionResponse {
	return verdict(a.Validate(ctx, req))
}

func (a *Admitter) mutateReview(ctx context.Context, req *Request) *admissionv1.AdmissionResponse {
	before := runtime.DeepCopyJSON(req.Object.Object)
	if err := a.Mutate(ctx, req); err != nil {
		return verdict(nil, err)
	}
	response := verdict(nil, nil)
	patch := diff(before, req.Object.Object)
	if len(patch) == 0 {
		return response
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return verdict(nil, fmt.Errorf("writing the patch: %w", err))
	}
	kind := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType = body, &kind
	return response
}

// verdict says a decision as the API server wants to hear it.
func verdict(warnings []string, err error) *admissionv1.AdmissionResponse {
	response := &admissionv1.AdmissionResponse{Allowed: err == nil, Warnings: warnings}
	if err == nil {
		return response
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	result := status.Status()
	response.Result = &result
	return response
}

// requestOfReview reads a request; nil for one that is not judged.
func requestOfReview(r *admissionv1.AdmissionRequest) (*Request, error) {
	if r.Operation != admissionv1.Create && r.Operation != admissionv1.Update {
		return nil, nil
	}
	object, err := decodeObject(r.Object)
	if err != nil {
		return nil, fmt.Errorf("reading object of admission review: %w", err)
	}
	old, err := decodeObject(r.OldObject)
	if err != nil {
		return nil, fmt.Errorf("reading old object of admission review: %w", err)
	}
	if object == nil {
		return nil, nil
	}
	return &Request{
		Create:      r.Operation == admissionv1.Create,
		Kind:        schema.GroupVersionKind(r.Kind),
		Resource:    schema.GroupVersionResource(r.Resource),
		Subresource: r.SubResource,
		Namespace:   r.Namespace,
		Object:      object,
		Old:         old,
	}, nil
}

// decodeObject reads an object with its integers as integers.
func decodeObject(raw runtime.RawExtension) (*unstructured.Unstructured, error) {
	if len(raw.Raw) == 0 || string(raw.Raw) == "null" {
		return nil, nil
	}
	content := map[string]any{}
	if err := utiljson.Unmarshal(raw.Raw, &content); err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: content}, nil
}
