package propagation

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/cellfed/cellfed/pkg/metrics"
)

// The age of the oldest object that waits is what people set alarms on.
func TestObjectsOfADisabledTypeDoNotWaitToBePropagated(t *testing.T) {
	metrics.Register()
	for name, c := range map[string]struct {
		onlyDeletions, deleting bool
		want                    string
	}{
		"carried":                     {false, false, "60"},
		"disabled":                    {true, false, "0"},
		"disabled, and being deleted": {true, true, "60"},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(0, 0)
			opts := Options{Now: func() time.Time { return now }, Workers: func() int { return 1 }}
			typ := Type{Name: "waiters", FederatedKind: "FederatedWaiter", OnlyDeletions: c.onlyDeletions}
			k := &carrier{Controller: &Controller{opts: opts}, typ: typ, meter: newMeter(typ, opts),
				queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[objectKey]())}
			defer k.meter.end()
			defer k.queue.ShutDown()
			u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"namespace": "acme", "name": "web", "generation": int64(1)}}}
			if c.deleting {
				u.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T10:00:00Z"
			}
			k.objectEvents().OnAdd(u, true)
			now = now.Add(time.Minute)
			w := httptest.NewRecorder()
			legacyregistry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if want := `cellfed_oldest_unpropagated_seconds{type="waiters"} ` + c.want + "\n"; !strings.Contains(w.Body.String(), want) {
				t.Errorf("the page does not say %s", want)
			}
		})
	}
}
