package names

import (
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/test/harness"
)

// The API server can compare its caches with the storage by itself. A watch that left something out, or a list that lacks
// something, shows there, whatever the database.
func TestTheAPIServersOwnCheckFindsNothing(t *testing.T) {
	const long = 6 * time.Second
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			p := harness.RunPlane(t, harness.PlaneOptions{Args: b.args(t), Env: []string{harness.CheckOften}})
			config := p.RestConfig()
			config.QPS = -1
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			var wait sync.WaitGroup
			maps := client.CoreV1().ConfigMaps("default")
			for w := range 4 {
				wait.Go(func() {
					for n, end := 0, time.Now().Add(long); time.Now().Before(end); n++ {
						made, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("o-%d-%d", w, n)}}, metav1.CreateOptions{})
						if err != nil {
							t.Errorf("create: %v", err)
							return
						}
						made.Data = map[string]string{"n": "1"}
						if _, err := maps.Update(t.Context(), made, metav1.UpdateOptions{}); err != nil {
							t.Errorf("update: %v", err)
						}
						if n%3 == 0 {
							if err := maps.Delete(t.Context(), made.Name, metav1.DeleteOptions{}); err != nil {
								t.Errorf("delete: %v", err)
							}
						}
					}
				})
			}
			wait.Wait()
			found, err := p.Comparisons(t.Context())
			if err != nil || found["failure"] > 0 || found["success"] < 20 {
				t.Errorf("comparisons: %v, %v; want 20 or more that succeeded, and none that failed", found, err)
			}
			t.Logf("%v", found)
		})
	}
}
