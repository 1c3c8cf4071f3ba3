package conversion

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Path is where Handler is served.
const Path = "/convert"

// MaxBody is the largest review that Handler reads. An API server asks about one object at a time, of 3 MiB at most with
// its default limits; a list of them would still fit.
const MaxBody = 32 << 20

var (
	reviewShape = &shape{fields: map[string]*shape{
		"apiVersion": text, "kind": text,
		"request": {fields: map[string]*shape{"uid": text, "desiredAPIVersion": text, "objects": {}}},
	}}
	reviewVersion = apiextensionsv1.SchemeGroupVersion.String()
)

const reviewKind = "ConversionReview"

// Handler answers ConversionReviews over HTTP. What is no review is a 400 that says why; what cannot be converted is,
// by the API's rules, a 200 whose result is a failure.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "POST a ConversionReview", http.StatusMethodNotAllowed)
			return
		}
		body, err := read(w, r)
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			http.Error(w, fmt.Sprintf("the review is larger than %d bytes", tooLarge.Limit), http.StatusRequestEntityTooLarge)
			return
		case err != nil:
			http.Error(w, "reading the review: "+err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := ReviewJSON(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// A reader that went away will ask again; there is nobody to tell.
		_, _ = w.Write(answer)
	})
}

func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, MaxBody)
	if n := r.ContentLength; n > 0 && n <= MaxBody {
		body := make([]byte, n)
		_, err := io.ReadFull(limited, body)
		return body, err
	}
	return io.ReadAll(limited)
}

// ReviewJSON answers an encoded review with an encoded review. It is what Handler does between reading and writing, and
// spares whoever has bytes the detour over the API's types. The error is about the review as such.
func ReviewJSON(body []byte) ([]byte, error) {
	decoded, err := decode(string(body), reviewShape)
	if err != nil {
		return nil, fmt.Errorf("reading the review: %w", err)
	}
	review, _ := decoded.(map[string]any)
	if review["apiVersion"] != reviewVersion || review["kind"] != reviewKind {
		return nil, fmt.Errorf("reading the review: it is not a %s of %s", reviewKind, reviewVersion)
	}
	request, ok := review["request"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading the review: it holds no request")
	}
	uid, _ := request["uid"].(string)
	desired, ok := request["desiredAPIVersion"].(string)
	if !ok {
		return nil, fmt.Errorf("reading the review: it does not say the desired version")
	}
	objects, _ := request["objects"].([]any)

	out := make([]byte, 0, room(len(body)))
	out = append(out, `{"kind":"ConversionReview","apiVersion":"`+reviewVersion+`","response":{"uid":`...)
	out = encodeString(out, uid)
	head := len(out)
	out = append(out, `,"convertedObjects":[`...)
	for i, object := range objects {
		// Elements have no shape: they are raw, whatever they are.
		if i > 0 {
			out = append(out, ',')
		}
		converted, err := forms.convert(out, string(object.(raw)), desired)
		if err != nil {
			return appendFailure(out[:head], fmt.Errorf("converting object %d: %w", i, err)), nil
		}
		out = converted
	}
	return append(out, `],"result":{"status":"Success"}}}`...), nil
}

func appendFailure(out []byte, err error) []byte {
	out = append(out, `,"convertedObjects":[],"result":{"status":"Failure","reason":"Invalid","message":`...)
	out = encodeString(out, err.Error())
	return append(out, `}}}`...)
}
