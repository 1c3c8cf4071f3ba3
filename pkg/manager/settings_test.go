package manager

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cellfed/cellfed/pkg/features"
)

// recording is as much of a manager as the settings need.
type recording struct{ ctrl.Manager }

func (recording) GetEventRecorder(string) events.EventRecorder { return events.NewFakeRecorder(10) }

// A moment in which propagation ran as if no gate were off would release what the gate holds.
func TestSettingsAreReadBeforeAnyControllerIsMade(t *testing.T) {
	config := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "core.kubefed.io/v1beta1", "kind": "KubeFedConfig",
		"metadata": map[string]any{"namespace": "kube-federation-system", "name": "kubefed"},
		"spec": map[string]any{
			"featureGates":       []any{map[string]any{"name": "PlacementMask", "configuration": "Disabled"}},
			"clusterHealthCheck": map[string]any{"failureThreshold": int64(7)},
		},
	}}
	gvr := schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedconfigs"}
	plane := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{gvr: "KubeFedConfigList"}, config)
	a := &assembly{Manager: recording{}}
	if _, err := a.loadSettings(t.Context(), plane); err != nil {
		t.Fatal(err)
	}
	if a.live.Gates().Enabled(features.PlacementMask) || a.membership().FailureThreshold != 7 {
		t.Errorf("settings are %+v", a.live.Current())
	}
}
