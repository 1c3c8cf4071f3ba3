package typeschema_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/yaml"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// Types as KubeFed's own charts and users write them.
const (
	deployments = `
metadata: {name: deployments.apps}
spec:
  federatedType: {group: types.kubefed.io, kind: FederatedDeployment, pluralName: federateddeployments, scope: Namespaced, version: v1beta1}
  propagation: Enabled
  targetType: {group: apps, kind: Deployment, pluralName: deployments, scope: Namespaced, version: v1}`
	namespaces = `
metadata: {name: namespaces}
spec:
  federatedType: {group: types.kubefed.io, kind: FederatedNamespace, pluralName: federatednamespaces, scope: Namespaced, version: v1beta1}
  propagation: Enabled
  targetType: {kind: Namespace, pluralName: namespaces, scope: Cluster, version: v1}`
	clusterRoles = `
metadata: {name: clusterroles.rbac.authorization.k8s.io}
spec:
  federatedType: {group: types.kubefed.io, kind: FederatedClusterRole, pluralName: federatedclusterroles, scope: Cluster, version: v1beta1}
  propagation: Enabled
  targetType: {group: rbac.authorization.k8s.io, kind: ClusterRole, pluralName: clusterroles, scope: Cluster, version: v1}`
	little = `
metadata: {name: configmaps}
spec:
  federatedType: {kind: FederatedConfigMap}
  propagation: Enabled
  targetType: {kind: ConfigMap, scope: Namespaced, version: v1}`
	ofMembers = `
metadata: {name: proxies.net.example.com}
spec:
  federatedType: {kind: FederatedProxy}
  propagation: Enabled
  targetType: {kind: Proxy, scope: Namespaced, version: v1alpha1}`
)

func typeConfig(t *testing.T, body string) *corev1beta1.FederatedTypeConfig {
	t.Helper()
	ftc := &corev1beta1.FederatedTypeConfig{}
	if err := yaml.UnmarshalStrict([]byte(body), ftc); err != nil {
		t.Fatalf("the test's own FederatedTypeConfig cannot be read: %v", err)
	}
	return ftc
}

func definition(t *testing.T, body string, opts typeschema.Options) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	if opts.Conversion.Service == nil && opts.Conversion.URL == nil {
		opts.Conversion = typeschema.InProcess()
	}
	crd, err := typeschema.Definition(typeConfig(t, body), opts)
	if err != nil {
		t.Fatal(err)
	}
	return crd
}

func TestATypeIsNamedAsInKubeFedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		ftc, name, kind string
		scope           apiextensionsv1.ResourceScope
		short           []string
	}{
		"Deployments":               {deployments, "federateddeployments.types.kubefed.io", "FederatedDeployment", "Namespaced", []string{"fdeploy"}},
		"Namespaces":                {namespaces, "federatednamespaces.types.kubefed.io", "FederatedNamespace", "Namespaced", []string{"fns"}},
		"a cluster-scoped target":   {clusterRoles, "federatedclusterroles.types.kubefed.io", "FederatedClusterRole", "Cluster", nil},
		"a config that says little": {little, "federatedconfigmaps.types.kubefed.io", "FederatedConfigMap", "Namespaced", []string{"fcm"}},
		"a definition of members":   {ofMembers, "federatedproxies.types.kubefed.io", "FederatedProxy", "Namespaced", nil},
	} {
		t.Run(name, func(t *testing.T) {
			crd := definition(t, tc.ftc, typeschema.Options{})
			names := crd.Spec.Names
			if crd.Name != tc.name || names.Kind != tc.kind || names.ListKind != tc.kind+"List" ||
				names.Singular != strings.ToLower(tc.kind) || crd.Spec.Scope != tc.scope || !slices.Equal(names.ShortNames, tc.short) {
				t.Errorf("it is %s, %s, %+v", crd.Name, crd.Spec.Scope, names)
			}
			if typeschema.Name(typeConfig(t, tc.ftc)) != crd.Name {
				t.Errorf("Name says %s, the definition %s", typeschema.Name(typeConfig(t, tc.ftc)), crd.Name)
			}
		})
	}
}

func TestADefinitionTellsWhoMadeIt(t *testing.T) {
	crd := definition(t, clusterRoles, typeschema.Options{})
	if ftc, ok := typeschema.IsOurs(crd); !ok || ftc != "clusterroles.rbac.authorization.k8s.io" {
		t.Errorf("it says %q, %v", ftc, ok)
	}
	crd.Labels = nil
	if _, ok := typeschema.IsOurs(crd); ok {
		t.Error("a definition without the label passes for ours")
	}
}

func TestShortNamesOfMembersAreTaken(t *testing.T) {
	crd := definition(t, ofMembers, typeschema.Options{ShortNames: []string{"px", "px", "Bad.Name", "ederatedproxy"}})
	if want := []string{"fpx"}; !slices.Equal(crd.Spec.Names.ShortNames, want) {
		t.Errorf("short names are %v, want %v", crd.Spec.Names.ShortNames, want)
	}
}

func TestRetainReplicasIsDeclaredForScalableTypesOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		ftc  string
		opts typeschema.Options
		want bool
	}{
		"Deployments have it":                      {deployments, typeschema.Options{}, true},
		"ConfigMaps have it not":                   {little, typeschema.Options{}, false},
		"a member's type that scales has it":       {ofMembers, typeschema.Options{Scalable: true}, true},
		"a member's type that does not has it not": {ofMembers, typeschema.Options{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range definition(t, tc.ftc, tc.opts).Spec.Versions {
				_, has := v.Schema.OpenAPIV3Schema.Properties["spec"].Properties["retainReplicas"]
				if has != tc.want {
					t.Errorf("declared in %s: %v", v.Name, has)
				}
			}
		})
	}
}

func TestAnAPIServerTakesTheDefinitionOf(t *testing.T) {
	url := "https://127.0.0.1:9443/convert"
	for name, tc := range map[string]struct {
		ftc  string
		opts typeschema.Options
	}{
		"Deployments":                 {ftc: deployments},
		"Namespaces":                  {ftc: namespaces},
		"a cluster-scoped target":     {ftc: clusterRoles},
		"a config that says little":   {ftc: little},
		"a definition of members":     {ofMembers, typeschema.Options{Scalable: true, ShortNames: []string{"px"}}},
		"a plane elsewhere, by a URL": {deployments, typeschema.Options{Conversion: apiextensionsv1.WebhookClientConfig{URL: &url}}},
	} {
		t.Run(name, func(t *testing.T) {
			crd := definition(t, tc.ftc, tc.opts)
			// The API server itself does this before it validates.
			apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
			apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
			internal := &apiextensions.CustomResourceDefinition{}
			if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
				t.Fatal(err)
			}
			internal.Status.StoredVersions = []string{"v1beta1"}
			if errs := crdvalidation.ValidateCustomResourceDefinition(t.Context(), internal); len(errs) > 0 {
				t.Errorf("refused: %v", errs.ToAggregate())
			}
		})
	}
}

func TestTheTopologyFormIsPreferredAndTheClusterFormStored(t *testing.T) {
	crd := definition(t, deployments, typeschema.Options{})
	var names []string
	for _, v := range crd.Spec.Versions {
		names = append(names, v.Name)
		if !v.Served || v.Storage != (v.Name == "v1beta1") {
			t.Errorf("version %s: served %v, stored %v", v.Name, v.Served, v.Storage)
		}
		if v.Subresources == nil || v.Subresources.Status == nil {
			t.Errorf("version %s has no status subresource", v.Name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	if want := []string{"v2beta1", "v1beta1"}; !slices.Equal(names, want) {
		t.Errorf("discovery orders the versions %v, want %v", names, want)
	}
}

func TestEveryFieldIsExplained(t *testing.T) {
	for _, v := range definition(t, deployments, typeschema.Options{}).Spec.Versions {
		var walk func(path string, s *apiextensionsv1.JSONSchemaProps)
		walk = func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if s.Description == "" && !strings.HasSuffix(path, "[]") && path != "metadata" {
				t.Errorf("%s: %s has no description", v.Name, path)
			}
			for name, p := range s.Properties {
				walk(strings.TrimPrefix(path+"."+name, "."), &p)
			}
			if s.Items != nil {
				walk(path+"[]", s.Items.Schema)
			}
		}
		walk("", v.Schema.OpenAPIV3Schema)
	}
}

func TestNoFieldHasADefaultAndOnlyOverrideValuesAreNullable(t *testing.T) {
	for _, v := range definition(t, deployments, typeschema.Options{}).Spec.Versions {
		s := structural(t, v)
		visitor := structuralschema.Visitor{Structural: func(s *structuralschema.Structural) bool {
			if s.Default.Object != nil {
				t.Errorf("%s: a default in %q", v.Name, s.Description)
			}
			if s.Nullable && !strings.HasPrefix(s.Description, "value ") {
				t.Errorf("%s: %q is nullable", v.Name, s.Description)
			}
			return false
		}}
		visitor.Visit(s)
	}
}

func TestAConfigIsRefusedAtItsPathWhen(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1beta1.FederatedTypeConfig)
		want   string
	}{
		"the target has no kind": {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.TargetType.Kind = "" }, "spec.targetType.kind: Required"},
		"the federated type has no kind": {func(f *corev1beta1.FederatedTypeConfig) {
			f.Spec.FederatedType.Kind, f.Spec.FederatedType.PluralName = "", ""
		}, "spec.federatedType.kind: Required"},
		"the kind is no name":                {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.FederatedType.Kind = "Feder_ated" }, "spec.federatedType.kind: Invalid"},
		"the federated group has no dot":     {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.FederatedType.Group = "types" }, "spec.federatedType.group: Invalid"},
		"the federated group is Kubernetes'": {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.FederatedType.Group = "federation.k8s.io" }, "spec.federatedType.group: Invalid"},
		"the federated group is no domain":   {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.FederatedType.Group = "Types.io" }, "spec.federatedType.group: Invalid"},
		"the federated version is another":   {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.FederatedType.Version = "v1" }, "spec.federatedType.version: Invalid"},
		"the target has no version":          {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.TargetType.Version = "" }, "spec.targetType.version: Required"},
		"the target has no scope":            {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.TargetType.Scope = "" }, "spec.targetType.scope: Required"},
		"the target's scope is unknown":      {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.TargetType.Scope = "Galaxy" }, "spec.targetType.scope: Unsupported"},
		"the plural name is no name":         {func(f *corev1beta1.FederatedTypeConfig) { f.Spec.FederatedType.PluralName = "Many Things" }, "spec.federatedType.pluralName: Invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			ftc := typeConfig(t, deployments)
			tc.change(ftc)
			before := ftc.DeepCopy()
			_, err := typeschema.Definition(ftc, typeschema.Options{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
			if diff := cmp.Diff(before, ftc); diff != "" {
				t.Errorf("the config was changed:\n%s", diff)
			}
		})
	}
}
