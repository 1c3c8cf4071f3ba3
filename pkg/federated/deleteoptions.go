package federated

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// ReadDeleteOptions reads the annotation kubefed.io/deleteoption. Of what it may say three things count, as in KubeFed:
// gracePeriodSeconds, propagationPolicy and preconditions.
func ReadDeleteOptions(raw string) (metav1.DeleteOptions, error) {
	var all metav1.DeleteOptions
	if err := utiljson.Unmarshal([]byte(raw), &all); err != nil {
		return metav1.DeleteOptions{}, fmt.Errorf("is no DeleteOptions as JSON: %w", err)
	}
	if g := all.GracePeriodSeconds; g != nil && *g < 0 {
		return metav1.DeleteOptions{}, fmt.Errorf("gracePeriodSeconds is %d: must not be negative", *g)
	}
	if p := all.PropagationPolicy; p != nil {
		switch *p {
		case metav1.DeletePropagationOrphan, metav1.DeletePropagationBackground, metav1.DeletePropagationForeground:
		default:
			return metav1.DeleteOptions{}, fmt.Errorf("propagationPolicy is %q: must be Orphan, Background or Foreground", *p)
		}
	}
	return metav1.DeleteOptions{GracePeriodSeconds: all.GracePeriodSeconds, PropagationPolicy: all.PropagationPolicy, Preconditions: all.Preconditions}, nil
}

// deleteOptionFields are the fields of DeleteOptions.
var deleteOptionFields = []string{"kind", "apiVersion", "gracePeriodSeconds", "preconditions", "orphanDependents", "propagationPolicy", "dryRun",
	"ignoreStoreReadErrorWithClusterBreakingPotential"}

// UnknownDeleteOptions finds what is no field of DeleteOptions: a mistyped policy deletes what should have been kept.
func UnknownDeleteOptions(raw string) error {
	var fields map[string]any
	if err := utiljson.Unmarshal([]byte(raw), &fields); err != nil {
		return fmt.Errorf("is no object: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(deleteOptionFields, name) {
			return fmt.Errorf("DeleteOptions have no field %s: they have %s", name, strings.Join(deleteOptionFields[2:6], ", "))
		}
	}
	return nil
}
