package federated

import (
	"fmt"

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
