package harness

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/client-go/kubernetes"
)

// CheckOften is for PlaneOptions.Env: the API server compares its caches with the storage every second.
const CheckOften = "CELLFED_CONSISTENCY_CHECK_PERIOD=1s"

// Comparisons are how often a plane's API server has compared its caches with the storage, by what came of it: "success",
// "failure", or "error" when it could not compare.
func (p *Plane) Comparisons(ctx context.Context) (map[string]int, error) {
	client, err := kubernetes.NewForConfig(p.RestConfig())
	if err != nil {
		return nil, fmt.Errorf("reading metrics of the plane: %w", err)
	}
	metrics, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading metrics of the plane: %w", err)
	}
	found := map[string]int{}
	for line := range strings.SplitSeq(string(metrics), "\n") {
		name, value, ok := strings.Cut(line, "} ")
		if !ok || !strings.HasPrefix(name, "apiserver_storage_consistency_checks_total{") {
			continue
		}
		var n int
		if _, err := fmt.Sscan(value, &n); err != nil {
			return nil, fmt.Errorf("reading metrics of the plane: %q: %w", line, err)
		}
		_, status, _ := strings.Cut(name, `status="`)
		found[strings.TrimSuffix(status, `"`)] += n
	}
	return found, nil
}
