package plan

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

func isManaged(u *unstructured.Unstructured) bool {
	return u.GetLabels()[wellknown.ManagedLabel] == wellknown.ManagedTrue
}

func isUnmanaged(u *unstructured.Unstructured) bool {
	return u.GetLabels()[wellknown.ManagedLabel] == wellknown.ManagedFalse
}
