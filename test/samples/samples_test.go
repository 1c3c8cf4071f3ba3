package samples

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/cellfed/cellfed/config/crd"
	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

const folder = "../../config/samples"

// readSamples returns the objects of each file.
func readSamples(t *testing.T) map[string][]*unstructured.Unstructured {
	t.Helper()
	out := map[string][]*unstructured.Unstructured{}
	err := filepath.WalkDir(folder, func(file string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, ".yaml") {
			return err
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			asJSON, err := utilyaml.ToJSON(document)
			if err != nil {
				return err
			}
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(asJSON); err != nil {
				return err
			}
			name := strings.TrimPrefix(file, folder+"/")
			out[name] = append(out[name], u)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checker finds the faults of one object.
type checker func(u *unstructured.Unstructured) []string

// checkers knows every kind of the plane: its own definitions, and those that the samples' FederatedTypeConfigs make.
func checkers(t *testing.T, samples map[string][]*unstructured.Unstructured) map[schema.GroupVersionKind]checker {
	t.Helper()
	definitions, err := crd.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, objects := range samples {
		for _, u := range objects {
			if u.GetKind() != "FederatedTypeConfig" {
				continue
			}
			ftc := &corev1beta1.FederatedTypeConfig{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, ftc, true); err != nil {
				t.Fatal(err)
			}
			definition, err := typeschema.Definition(ftc, typeschema.Options{Conversion: typeschema.InProcess()})
			if err != nil {
				t.Fatalf("%s: %v", ftc.Name, err)
			}
			definitions = append(definitions, definition)
		}
	}
	out := map[schema.GroupVersionKind]checker{}
	for _, d := range definitions {
		for _, v := range d.Spec.Versions {
			out[schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: d.Spec.Names.Kind}] = schemaChecker(t, v)
		}
	}
	return out
}

func schemaChecker(t *testing.T, v apiextensionsv1.CustomResourceDefinitionVersion) checker {
	t.Helper()
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, props, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := structuralschema.NewStructural(props)
	if err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		t.Fatal(err)
	}
	return func(u *unstructured.Unstructured) []string {
		u = u.DeepCopy()
		var faults []string
		for _, field := range pruning.PruneWithOptions(u.Object, structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
			faults = append(faults, "unknown field "+field)
		}
		for _, err := range validation.ValidateCustomResource(nil, u.Object, validator) {
			faults = append(faults, err.Error())
		}
		return faults
	}
}

// builtinChecker decodes a kind of Kubernetes itself.
func builtinChecker(u *unstructured.Unstructured) []string {
	raw, err := u.MarshalJSON()
	if err != nil {
		return []string{err.Error()}
	}
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	if _, _, err := strict.Decode(raw, nil, nil); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func check(u *unstructured.Unstructured, known map[schema.GroupVersionKind]checker) []string {
	if c, ok := known[u.GroupVersionKind()]; ok {
		return c(u)
	}
	return builtinChecker(u)
}

func TestEverySampleIsTakenAsItIs(t *testing.T) {
	samples := readSamples(t)
	if len(samples) < 8 {
		t.Fatalf("only %d files were found", len(samples))
	}
	known := checkers(t, samples)
	for file, objects := range samples {
		t.Run(file, func(t *testing.T) {
			for _, u := range objects {
				for _, fault := range check(u, known) {
					t.Errorf("%s %s: %s", u.GetKind(), u.GetName(), fault)
				}
			}
		})
	}
}

func TestAFaultySampleWouldBeSeen(t *testing.T) {
	samples := readSamples(t)
	known := checkers(t, samples)
	for file, spoil := range map[string]func(map[string]any){
		"00-namespace.yaml":                   func(o map[string]any) { o["sepc"] = map[string]any{} },
		"10-ftc-configmaps.yaml":              func(o map[string]any) { o["spec"].(map[string]any)["propagation"] = int64(1) },
		"30-units.yaml":                       func(o map[string]any) { o["spec"].(map[string]any)["member"] = "hz-1" },
		"40-federateddeployment-v2beta1.yaml": func(o map[string]any) { o["spec"].(map[string]any)["clusters"] = []any{} },
		"40-federateddeployment-v1beta1.yaml": func(o map[string]any) { o["spec"].(map[string]any)["placement"] = "rz00a" },
		"20-kubefedclusters.yaml":             func(o map[string]any) { o["stringdata"] = map[string]any{} },
	} {
		t.Run(file, func(t *testing.T) {
			u := samples[file][0].DeepCopy()
			spoil(u.Object)
			if len(check(u, known)) == 0 {
				t.Error("it was taken")
			}
		})
	}
}

func TestTheTwoFormsOfTheSampleAreOneObject(t *testing.T) {
	samples := readSamples(t)
	topologyForm := samples["40-federateddeployment-v2beta1.yaml"][0]
	clusterForm := samples["40-federateddeployment-v1beta1.yaml"][0]
	got := topology.ToClusterForm(topologyForm.Object)
	got["apiVersion"] = clusterForm.GetAPIVersion()
	if diff := cmp.Diff(clusterForm.Object, got); diff != "" {
		t.Error(diff)
	}
}
