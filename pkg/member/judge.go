package member

import (
	"errors"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// What one object may be. An API server stores up to some 1.5 MiB, and the text that it answers with may be several
// times as long; decoded, an ordinary object takes less than ten times its text.
const (
	maxObject       = 8 << 20
	maxObjectWeight = 32 << 20
)

// LieError says that a member gave an answer that cannot be true: another kind than was asked for, an object without a
// name, a watch that went back in time. Nothing that it says of the kind is believed until it has been in order for a
// while.
type LieError struct {
	Member string
	GVR    schema.GroupVersionResource
	What   string
}

// Error implements error.
func (e *LieError) Error() string {
	return fmt.Sprintf("member %s does not answer as an API server when asked for %s: %s", e.Member, nameOf(e.GVR), e.What)
}

// TooMuchError says that a member gives more than the plane takes from it.
type TooMuchError struct {
	Member string
	GVR    schema.GroupVersionResource
	What   string
}

// Error implements error.
func (e *TooMuchError) Error() string {
	return fmt.Sprintf("member %s gives more of %s than the plane takes: %s", e.Member, nameOf(e.GVR), e.What)
}

// decode reads one object of a list or a watch. Its text has been found short enough.
func (v *View) decode(raw []byte, kind string) (*unstructured.Unstructured, error) {
	if w := weighRaw(raw); w > maxObjectWeight {
		return nil, v.tooMuch("one object would take %d MiB of memory", w>>20)
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(raw, &u.Object); err != nil {
		return nil, v.lie("an object is no JSON")
	}
	if u.Object == nil {
		return nil, v.lie("an object is null")
	}
	if u.GetKind() == "" && u.GetAPIVersion() == "" { // items of lists of built-in kinds do not say
		u.SetGroupVersionKind(v.gvr.GroupVersion().WithKind(kind))
	}
	if err := v.check(u, kind); err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	return u, nil
}

// check holds an object against what was asked for.
func (v *View) check(u *unstructured.Unstructured, kind string) error {
	metadata, _ := u.Object["metadata"].(map[string]any)
	switch {
	case u.GetAPIVersion() != v.gvr.GroupVersion().String() || kind != "" && u.GetKind() != kind:
		return v.lie("it gives a %s %s", clean(u.GetAPIVersion()), clean(u.GetKind()))
	case metadata == nil || u.GetName() == "":
		return v.lie("it gives an object without a name")
	case u.GetUID() == "":
		return v.lie("it gives an object without a UID")
	case u.GetResourceVersion() == "":
		return v.lie("it gives an object without a resource version")
	}
	if expected := v.expectation(); expected.Kind != "" && expected.Namespaced != (u.GetNamespace() != "") {
		return v.lie("it gives an object of the wrong scope")
	}
	for _, field := range []string{"labels", "annotations"} {
		m, present := metadata[field]
		if !present || m == nil {
			continue
		}
		if _, ok, err := unstructured.NestedStringMap(u.Object, "metadata", field); err != nil || !ok {
			return v.lie("the %s of an object are no words", field)
		}
	}
	return nil
}

func isManaged(u *unstructured.Unstructured) bool {
	labels, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "labels")
	m, _ := labels.(map[string]any)
	return m[wellknown.ManagedLabel] == wellknown.ManagedTrue
}

// earlier compares two resource versions. Where they are no numbers, neither is earlier.
func earlier(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x < y
}

func (v *View) lie(format string, args ...any) error {
	return &LieError{Member: v.member.name, GVR: v.gvr, What: fmt.Sprintf(format, args...)}
}

func (v *View) tooMuch(format string, args ...any) error {
	return &TooMuchError{Member: v.member.name, GVR: v.gvr, What: fmt.Sprintf(format, args...)}
}

// unbelievable tells whether an error says that the member does not answer as an API server does.
func unbelievable(err error) bool {
	var lie *LieError
	var much *TooMuchError
	return errors.As(err, &lie) || errors.As(err, &much)
}
