package admission

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
)

// judgeMetadata judges what KubeFed only finds out when it is too late: the name of a namespace's federated object, of
// which KubeFed tells in an event and then does nothing, and the options that copies are deleted with.
func judgeMetadata(obj *unstructured.Unstructured, t TypeFacts) []fault {
	var faults []fault
	at := field.NewPath("metadata")
	if t.TargetKind == "Namespace" && t.TargetGroup == "" && obj.GetNamespace() != "" && obj.GetName() != obj.GetNamespace() {
		faults = append(faults, newFault("name "+obj.GetName(), field.Invalid(at.Child("name"), obj.GetName(),
			fmt.Sprintf("the %s of a namespace is named like it: %s", obj.GetKind(), obj.GetNamespace()))))
	}
	raw := obj.GetAnnotations()[wellknown.DeleteOptionAnnotation]
	if raw == "" { // none
		return faults
	}
	at = at.Child("annotations").Key(wellknown.DeleteOptionAnnotation)
	_, err := federated.ReadDeleteOptions(raw)
	if err == nil {
		err = federated.UnknownDeleteOptions(raw)
	}
	if err != nil {
		faults = append(faults, newFault("deleteoption "+raw, field.Invalid(at, raw,
			fmt.Sprintf(`%v; it holds DeleteOptions as JSON, for instance {"propagationPolicy":"Orphan"}`, err))))
	}
	return faults
}

// deleteOptionsChanged tells whether a write changes the options that copies are deleted with.
func deleteOptionsChanged(req *Request) bool {
	return req.Old.GetAnnotations()[wellknown.DeleteOptionAnnotation] != req.Object.GetAnnotations()[wellknown.DeleteOptionAnnotation]
}
