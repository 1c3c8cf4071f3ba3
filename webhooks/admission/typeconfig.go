package admission

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	"github.com/cellfed/cellfed/pkg/annotation"
	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/retain"
)

func (a *Admitter) typeConfigRules() rules {
	return rules{
		complete: completeTypeConfig,
		judge:    judgeTypeConfig,
		compare:  a.compareTypeConfig,
		warn:     func(_ context.Context, req *Request) []string { return warnNamespace(req, "FederatedTypeConfig") },
	}
}

// namespacesConfig is the one type whose federated objects are namespaced while its targets are not.
const namespacesConfig = "namespaces"

// completeTypeConfig sets KubeFed's defaults (the target's plural and group from the name, plurals from kinds) and
// those that make a target and its kind all that has to be said.
func completeTypeConfig(_ context.Context, req *Request) error {
	spec, ok := req.Object.Object["spec"].(map[string]any)
	if !ok {
		return nil
	}
	plural, group, _ := strings.Cut(req.Object.GetName(), ".")
	target, ok := spec["targetType"].(map[string]any)
	if !ok {
		return nil
	}
	setDefault(target, "pluralName", plural)
	setDefault(target, "group", group)
	setDefault(spec, "propagation", string(kubefedv1beta1.PropagationEnabled))

	kind, _ := target["kind"].(string)
	scope, _ := target["scope"].(string)
	if req.Object.GetName() == namespacesConfig {
		scope = string(apiextensionsv1.NamespaceScoped)
	}
	federated, ok := spec["federatedType"].(map[string]any)
	if !ok {
		if spec["federatedType"] != nil {
			return nil
		}
		federated = map[string]any{}
		spec["federatedType"] = federated
	}
	if kind != "" {
		setDefault(federated, "kind", federatedPrefix+kind)
	}
	setDefault(federated, "group", wellknown.FederatedGroup)
	setDefault(federated, "version", wellknown.ClusterForm)
	setDefault(federated, "scope", scope)
	if kind, _ := federated["kind"].(string); kind != "" {
		setDefault(federated, "pluralName", kubefedv1beta1.PluralName(kind))
	}
	if status, ok := spec["statusType"].(map[string]any); ok {
		if kind, _ := status["kind"].(string); kind != "" {
			setDefault(status, "pluralName", kubefedv1beta1.PluralName(kind))
		}
		for _, key := range []string{"group", "version"} {
			value, _ := federated[key].(string)
			setDefault(status, key, value)
		}
	}
	return nil
}

func setDefault(m map[string]any, key, value string) {
	if said, ok := m[key]; value != "" && (!ok || said == "" || said == nil) {
		m[key] = value
	}
}

func judgeTypeConfig(obj *unstructured.Unstructured) []fault {
	config := &corev1beta1.FederatedTypeConfig{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, config); err != nil {
		return []fault{newFault("shape", field.Invalid(specPath, nil, err.Error()))}
	}
	target := config.Spec.TargetType
	errs := judgeResource(&target, specPath.Child("targetType"))
	want := target.PluralName
	if target.Group != "" {
		want += "." + target.Group
	}
	if config.Name != want {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), config.Name,
			fmt.Sprintf("must be the target's plural and group: %s", want)))
	}
	errs = append(errs, judgeFederatedType(config)...)
	modes := []string{string(kubefedv1beta1.PropagationEnabled), string(kubefedv1beta1.PropagationDisabled)}
	if !slices.Contains(modes, string(config.Spec.Propagation)) {
		errs = append(errs, field.NotSupported(specPath.Child("propagation"), string(config.Spec.Propagation), modes))
	}
	_, malformed := annotation.Parse(config.Spec.PropagatingAnnotations, specPath.Child("propagatingAnnotations"))
	errs = append(errs, malformed...)
	_, malformed = retain.Parse(config.Spec.RetainedFields, specPath.Child("retainedFields"))
	errs = append(errs, malformed...)
	if s := config.Spec.StatusType; s != nil {
		errs = append(errs, judgeResource(s, specPath.Child("statusType"))...)
		errs = append(errs, judgeFederatedGroup(s.Group, specPath.Child("statusType", "group"))...)
	}
	return byField(errs)
}

// judgeFederatedType holds the federated type to what the plane makes of it: Federated… in a group of its own, and in
// the two versions that are its two forms. See mayBeFederated.
func judgeFederatedType(config *corev1beta1.FederatedTypeConfig) field.ErrorList {
	federated, at := config.Spec.FederatedType, specPath.Child("federatedType")
	errs := judgeResource(&federated, at)
	errs = append(errs, judgeFederatedGroup(federated.Group, at.Child("group"))...)
	if federated.Kind != "" && !strings.HasPrefix(federated.Kind, federatedPrefix) {
		errs = append(errs, field.Invalid(at.Child("kind"), federated.Kind, "must start with "+federatedPrefix))
	}
	if federated.Version != "" && federated.Version != wellknown.ClusterForm && config.Spec.Propagator != corev1beta1.PropagatorKubeFed {
		errs = append(errs, field.NotSupported(at.Child("version"), federated.Version, []string{wellknown.ClusterForm}))
	}
	want, why := config.Spec.TargetType.Scope, "as the target is"
	if config.Name == namespacesConfig {
		want, why = apiextensionsv1.NamespaceScoped, "because a FederatedNamespace stands in its namespace"
	}
	known := want == apiextensionsv1.NamespaceScoped || want == apiextensionsv1.ClusterScoped
	if federated.Scope != "" && known && federated.Scope != want {
		errs = append(errs, field.Invalid(at.Child("scope"), federated.Scope, fmt.Sprintf("must be %s, %s", want, why)))
	}
	return errs
}

func judgeFederatedGroup(group string, at *field.Path) field.ErrorList {
	switch {
	case group == "":
		return nil // said by judgeResource or a default
	case !strings.Contains(group, "."):
		return field.ErrorList{field.Invalid(at, group, "must be a domain with at least one dot, as "+wellknown.FederatedGroup)}
	case strings.HasSuffix(group, ".k8s.io"):
		return field.ErrorList{field.Invalid(at, group, "groups in k8s.io are Kubernetes' own: use "+wellknown.FederatedGroup)}
	}
	return nil
}

func judgeResource(r *kubefedv1beta1.APIResource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Group != "" {
		for _, p := range validation.IsDNS1123Subdomain(r.Group) {
			errs = append(errs, field.Invalid(at.Child("group"), r.Group, p))
		}
	}
	for _, f := range []struct{ key, value, say string }{
		{"version", r.Version, "say which version of the type, as in v1"},
		{"kind", r.Kind, "say which kind, as in ConfigMap"},
		{"pluralName", r.PluralName, "say how its resource is called, as in configmaps"},
	} {
		if f.value == "" {
			errs = append(errs, field.Required(at.Child(f.key), f.say))
			continue
		}
		for _, p := range validation.IsDNS1035Label(strings.ToLower(f.value)) {
			errs = append(errs, field.Invalid(at.Child(f.key), f.value, p))
		}
	}
	scopes := []string{string(apiextensionsv1.NamespaceScoped), string(apiextensionsv1.ClusterScoped)}
	if !slices.Contains(scopes, string(r.Scope)) {
		errs = append(errs, field.NotSupported(at.Child("scope"), string(r.Scope), scopes))
	}
	return errs
}

// sameResource compares as clients with Go types write: what is empty and what is left out are the same.
func sameResource(now, was any) bool {
	n, nowOK := now.(map[string]any)
	w, wasOK := was.(map[string]any)
	if !nowOK || !wasOK {
		return reflect.DeepEqual(now, was)
	}
	var a, b kubefedv1beta1.APIResource
	if runtime.DefaultUnstructuredConverter.FromUnstructured(n, &a) != nil || runtime.DefaultUnstructuredConverter.FromUnstructured(w, &b) != nil {
		return reflect.DeepEqual(now, was)
	}
	return a == b
}

// compareTypeConfig holds that a type stays what it is, and that a federated kind has one config.
func (a *Admitter) compareTypeConfig(ctx context.Context, req *Request) ([]fault, error) {
	var faults []fault
	for _, key := range []string{"targetType", "federatedType"} {
		if req.Old == nil {
			break
		}
		now, _, _ := unstructured.NestedFieldNoCopy(req.Object.Object, "spec", key)
		was, _, _ := unstructured.NestedFieldNoCopy(req.Old.Object, "spec", key)
		if was != nil && !sameResource(now, was) {
			faults = append(faults, newFault(key+" changed", field.Forbidden(specPath.Child(key),
				"is immutable: objects of the type may stand. Delete the FederatedTypeConfig and make another one")))
		}
	}
	if !req.Create || req.Namespace != wellknown.FederationNamespace {
		return faults, nil
	}
	group, _, _ := unstructured.NestedString(req.Object.Object, "spec", "federatedType", "group")
	kind, _, _ := unstructured.NestedString(req.Object.Object, "spec", "federatedType", "kind")
	other, found, err := a.facts.FederatedType(ctx, schema.GroupKind{Group: group, Kind: kind})
	if err != nil {
		return nil, unavailable("whether "+kind+" is taken", err)
	}
	if found && other.ConfigName != req.Object.GetName() {
		faults = append(faults, newFault("taken", field.Invalid(specPath.Child("federatedType", "kind"), kind,
			fmt.Sprintf("FederatedTypeConfig %s has this kind in group %s already: say another kind and pluralName", other.ConfigName, group))))
	}
	return faults, nil
}
