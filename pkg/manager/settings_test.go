package manager

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	clientfake "sigs.k8s.io/controller-runtime/pkg/client/fake"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/controllers/membership"
	settingsroom "github.com/cellfed/cellfed/pkg/controllers/settings"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/settings"
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

func TestProbesOfMembersCarryTheServersName(t *testing.T) {
	seen := make(chan string, 100)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.UserAgent():
		default:
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	a := &assembly{opts: Options{UserAgent: "cellfed (host-1)"}, live: settingsroom.NewLive(settings.Settings{})}
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	name := metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "a"}
	cluster := &corev1beta1.KubeFedCluster{ObjectMeta: name}
	cluster.Spec.APIEndpoint, cluster.Spec.SecretRef.Name = server.URL, "a"
	cluster.Spec.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	secret := &corev1.Secret{ObjectMeta: name, Data: map[string][]byte{"token": []byte("t")}}
	plane := clientfake.NewClientBuilder().WithScheme(scheme).WithObjects(cluster, secret).WithStatusSubresource(cluster).Build()
	// The fleet's own connections are made otherwise: only the prober's have the name.
	fleet := member.NewFleet(t.Context(), member.Options{UserAgent: "the fleet"})
	members := membership.New(plane, fleet, events.NewFakeRecorder(100), a.membership())
	if _, err := members.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(cluster)}); err != nil {
		t.Fatal(err)
	}
	select {
	case agent := <-seen:
		if agent != "cellfed (host-1)" {
			t.Errorf("the member is asked by %q", agent)
		}
	case <-time.After(20 * time.Second):
		t.Error("the member is not asked")
	}
}
