package member

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// A view that has just failed holds nothing: to call it in order then would say that the member lost all its objects.
func TestAWatchThatFailsInTheMomentInWhichItIsTrustedLeavesNoEmptyViewBehind(t *testing.T) {
	m, err := newMember(NewFleet(t.Context(), Options{}), "a", Config{REST: &rest.Config{Host: "http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	v := newView(m, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
	v.replace(&listing{objects: map[types.NamespacedName]*unstructured.Unstructured{{Name: "x"}: {}}})
	v.follows(true)
	if v.calm(); !v.Synced() {
		t.Fatal("a view that is followed is not trusted")
	}
	v.follows(false)
	v.failed(&relapseError{apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no"))})
	v.calm() // its time had come while the watch failed
	if v.Synced() || v.Err() == nil {
		t.Errorf("synced %v with %d objects, error %v", v.Synced(), len(v.List()), v.Err())
	}
}
