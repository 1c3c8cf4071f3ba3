package propagatedversion

import (
	"crypto/md5" //nolint:gosec // KubeFed's recipe, compared by its tools; nothing is decided by it
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubefedv1alpha1 "sigs.k8s.io/kubefed/pkg/apis/core/v1alpha1"
)

// Name is the name of a federated object's version object.
func Name(targetKind, name string) string { return strings.ToLower(targetKind) + "-" + name }

// Template is the version of a federated object's template; "" if it has none.
func Template(object map[string]any) (string, error) {
	template, there, err := unstructured.NestedMap(object, "spec", "template")
	if err != nil {
		return "", fmt.Errorf("reading the template: %w", err)
	}
	if !there {
		return "", nil
	}
	return sum(template)
}

// override and overridesOf are what KubeFed reads of overrides: it hashes them as they are after it has read them, so
// what it does not know is gone, and every number is a float.
type override struct {
	Op    string `json:"op,omitempty"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

type overridesOf struct {
	ClusterName      string     `json:"clusterName"`
	ClusterOverrides []override `json:"clusterOverrides,omitempty"`
}

// Overrides is the version of a federated object's overrides, in cluster form; "" if it has no spec.
func Overrides(object map[string]any) (string, error) {
	raw, err := json.Marshal(object["spec"])
	if err != nil {
		return "", fmt.Errorf("reading the overrides: %w", err)
	}
	var spec *struct {
		Overrides []overridesOf `json:"overrides,omitempty"`
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return "", fmt.Errorf("reading the overrides: %w", err)
	}
	if spec == nil {
		return "", nil
	}
	return sum(map[string]any{"overrides": spec.Overrides})
}

// sum is the MD5 sum of JSON as KubeFed writes it: compact, keys in order, and with the newline of its encoder.
func sum(content map[string]any) (string, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	hash := md5.Sum(append(raw, '\n')) //nolint:gosec // see above
	return hex.EncodeToString(hash[:]), nil
}

// Of is the version of a copy in a member: by its generation, or where the kind has none by its resource version.
func Of(u *unstructured.Unstructured) string {
	if g := u.GetGeneration(); g != 0 {
		return fmt.Sprintf("gen:%d", g)
	}
	return "rv:" + u.GetResourceVersion()
}

// Status is what there is to note: versions by cluster, in the order of their names.
func Status(template, overrides string, versions map[string]string) kubefedv1alpha1.PropagatedVersionStatus {
	s := kubefedv1alpha1.PropagatedVersionStatus{TemplateVersion: template, OverrideVersion: overrides}
	for cluster, version := range versions {
		s.ClusterVersions = append(s.ClusterVersions, kubefedv1alpha1.ClusterObjectVersion{ClusterName: cluster, Version: version})
	}
	sort.Slice(s.ClusterVersions, func(i, j int) bool { return s.ClusterVersions[i].ClusterName < s.ClusterVersions[j].ClusterName })
	return s
}
