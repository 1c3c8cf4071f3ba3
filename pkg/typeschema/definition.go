package typeschema

import (
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// Marks of a definition that the plane made and keeps.
const (
	// ManagedByLabel, with the value ManagedBy, stands on every definition that Definition makes.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of ManagedByLabel.
	ManagedBy = "cellfed"
	// TypeConfigAnnotation names the FederatedTypeConfig that a definition is made from. An annotation, because such
	// names may be longer than a label's value.
	TypeConfigAnnotation = "core.cellfed.io/federated-type-config"
)

// The service that conversions are addressed to in a plane of its own, where it is answered in process and no such
// service exists.
const (
	ServiceNamespace = "cellfed-system"
	ServiceName      = "cellfed-conversion"
	ServicePath      = "/convert"
	ServicePort      = 443
)

// Options are what a definition depends on besides the FederatedTypeConfig.
type Options struct {
	// Conversion says where the API server asks for conversions; see InProcess.
	Conversion apiextensionsv1.WebhookClientConfig
	// ShortNames are those that members have for the target type, besides the well-known ones.
	ShortNames []string
	// Scalable declares retainReplicas also for a type that is not known to have a field spec.replicas.
	Scalable bool
}

// InProcess addresses conversions to the plane's own process.
func InProcess() apiextensionsv1.WebhookClientConfig {
	path, port := ServicePath, int32(ServicePort)
	return apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{
		Namespace: ServiceNamespace, Name: ServiceName, Path: &path, Port: &port,
	}}
}

// IsOurs tells whether a definition was made by Definition, and from which FederatedTypeConfig.
func IsOurs(crd metav1.Object) (typeConfig string, ok bool) {
	return crd.GetAnnotations()[TypeConfigAnnotation], crd.GetLabels()[ManagedByLabel] == ManagedBy
}

// WithDefaults is a copy of the FederatedTypeConfig with everything said that may be left out, by KubeFed's rules: the
// target's plural name and group come from the object's own name, the federated plural name from the kind.
func WithDefaults(ftc *corev1beta1.FederatedTypeConfig) *corev1beta1.FederatedTypeConfig {
	out := ftc.DeepCopy()
	plural, group, _ := strings.Cut(ftc.Name, ".")
	target, federated := &out.Spec.TargetType, &out.Spec.FederatedType
	setDefault(&target.PluralName, plural)
	setDefault(&target.Group, group)
	setDefault(&federated.Group, wellknown.FederatedGroup)
	setDefault(&federated.Version, wellknown.ClusterForm)
	setDefault(&federated.PluralName, kubefedv1beta1.PluralName(federated.Kind))
	return out
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Name is the name of the definition that Definition would make.
func Name(ftc *corev1beta1.FederatedTypeConfig) string {
	federated := WithDefaults(ftc).Spec.FederatedType
	return federated.PluralName + "." + federated.Group
}

// Definition makes the CustomResourceDefinition of the federated type, or says with paths into the FederatedTypeConfig
// why there can be none.
func Definition(ftc *corev1beta1.FederatedTypeConfig, opts Options) (*apiextensionsv1.CustomResourceDefinition, error) {
	ftc = WithDefaults(ftc)
	if errs := validate(ftc); len(errs) > 0 {
		return nil, fmt.Errorf("making the definition of %s: %w", ftc.Spec.FederatedType.Kind, errs.ToAggregate())
	}
	target, federated := ftc.Spec.TargetType, ftc.Spec.FederatedType
	conversion := opts.Conversion
	scalable := opts.Scalable || hasReplicas(target)
	return &apiextensionsv1.CustomResourceDefinition{
		TypeMeta: metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        federated.PluralName + "." + federated.Group,
			Labels:      map[string]string{ManagedByLabel: ManagedBy},
			Annotations: map[string]string{TypeConfigAnnotation: ftc.Name},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: federated.Group,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Plural:     federated.PluralName,
				Singular:   strings.ToLower(federated.Kind),
				Kind:       federated.Kind,
				ListKind:   federated.Kind + "List",
				ShortNames: shortNames(target, federated, opts.ShortNames),
			},
			Scope: scope(ftc),
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
				version(clusterForm, target.Kind, scalable),
				version(topologyForm, target.Kind, scalable),
			},
			Conversion: &apiextensionsv1.CustomResourceConversion{
				Strategy: apiextensionsv1.WebhookConverter,
				Webhook: &apiextensionsv1.WebhookConversion{
					ClientConfig:             &conversion,
					ConversionReviewVersions: []string{"v1"},
				},
			},
		},
	}, nil
}

// scope is the target's, but the federated object of a namespace lives in that namespace (KubeFed's rule).
func scope(ftc *corev1beta1.FederatedTypeConfig) apiextensionsv1.ResourceScope {
	if ftc.Name == "namespaces" {
		return apiextensionsv1.NamespaceScoped
	}
	return ftc.Spec.TargetType.Scope
}

// hasReplicas tells whether a built-in type has the field that retainReplicas is about.
func hasReplicas(target kubefedv1beta1.APIResource) bool {
	switch target.Group + "/" + target.Kind {
	case "apps/Deployment", "apps/ReplicaSet", "apps/StatefulSet", "/ReplicationController":
		return true
	}
	return false
}

func validate(ftc *corev1beta1.FederatedTypeConfig) field.ErrorList {
	spec := field.NewPath("spec")
	target, federated := spec.Child("targetType"), spec.Child("federatedType")
	errs := validateResource(target, ftc.Spec.TargetType)
	errs = append(errs, validateResource(federated, ftc.Spec.FederatedType)...)

	switch s := ftc.Spec.TargetType.Scope; s {
	case apiextensionsv1.ClusterScoped, apiextensionsv1.NamespaceScoped:
	case "":
		errs = append(errs, field.Required(target.Child("scope"), "the federated type has the scope of its target"))
	default:
		errs = append(errs, field.NotSupported(target.Child("scope"), s,
			[]apiextensionsv1.ResourceScope{apiextensionsv1.ClusterScoped, apiextensionsv1.NamespaceScoped}))
	}

	group := ftc.Spec.FederatedType.Group
	switch {
	case !strings.Contains(group, "."):
		errs = append(errs, field.Invalid(federated.Child("group"), group, "should be a domain with at least one dot"))
	case isProtected(group):
		errs = append(errs, field.Invalid(federated.Child("group"), group, "is reserved for the Kubernetes project"))
	}
	if v := ftc.Spec.FederatedType.Version; v != wellknown.ClusterForm {
		errs = append(errs, field.Invalid(federated.Child("version"), v,
			fmt.Sprintf("must be %s; %s is always served beside it", wellknown.ClusterForm, wellknown.TopologyForm)))
	}
	return errs
}

// isProtected tells whether an API server refuses definitions in a group that are not approved by its project.
func isProtected(group string) bool {
	for _, domain := range []string{"k8s.io", "kubernetes.io"} {
		if group == domain || strings.HasSuffix(group, "."+domain) {
			return true
		}
	}
	return false
}

func validateResource(path *field.Path, r kubefedv1beta1.APIResource) field.ErrorList {
	var errs field.ErrorList
	label := func(name, value, checked string) {
		if value == "" {
			errs = append(errs, field.Required(path.Child(name), ""))
			return
		}
		for _, msg := range validation.IsDNS1035Label(checked) {
			errs = append(errs, field.Invalid(path.Child(name), value, msg))
		}
	}
	if r.Group != "" {
		for _, msg := range validation.IsDNS1123Subdomain(r.Group) {
			errs = append(errs, field.Invalid(path.Child("group"), r.Group, msg))
		}
	}
	label("version", r.Version, r.Version)
	label("kind", r.Kind, strings.ToLower(r.Kind))
	if r.Kind != "" { // without a kind, the plural name's default is not the user's fault
		label("pluralName", r.PluralName, r.PluralName)
	}
	return errs
}

// builtinShortNames are the short names of the kinds that every member has, by group and plural name.
var builtinShortNames = map[string][]string{
	"/configmaps":             {"cm"},
	"/endpoints":              {"ep"},
	"/limitranges":            {"limits"},
	"/namespaces":             {"ns"},
	"/persistentvolumeclaims": {"pvc"},
	"/persistentvolumes":      {"pv"},
	"/pods":                   {"po"},
	"/replicationcontrollers": {"rc"},
	"/resourcequotas":         {"quota"},
	"/serviceaccounts":        {"sa"},
	"/services":               {"svc"},
	"apiextensions.k8s.io/customresourcedefinitions": {"crd", "crds"},
	"apps/daemonsets":                                {"ds"},
	"apps/deployments":                               {"deploy"},
	"apps/replicasets":                               {"rs"},
	"apps/statefulsets":                              {"sts"},
	"autoscaling/horizontalpodautoscalers":           {"hpa"},
	"batch/cronjobs":                                 {"cj"},
	"certificates.k8s.io/certificatesigningrequests": {"csr"},
	"networking.k8s.io/ingresses":                    {"ing"},
	"networking.k8s.io/networkpolicies":              {"netpol"},
	"policy/poddisruptionbudgets":                    {"pdb"},
	"scheduling.k8s.io/priorityclasses":              {"pc"},
	"storage.k8s.io/storageclasses":                  {"sc"},
}

// shortNames are "f" and each short name of the target (KubeFed's rule), in order, without repetition, and only such as
// an API server takes.
func shortNames(target, federated kubefedv1beta1.APIResource, discovered []string) []string {
	var out []string
	for _, s := range slices.Concat(builtinShortNames[target.Group+"/"+target.PluralName], discovered) {
		name := "f" + s
		if len(validation.IsDNS1035Label(name)) > 0 || slices.Contains(out, name) ||
			name == federated.PluralName || name == strings.ToLower(federated.Kind) {
			continue
		}
		out = append(out, name)
	}
	return out
}
