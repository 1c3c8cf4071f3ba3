package membership

import (
	"time"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/metrics"
)

// stateOf says a result in the words of KubeFed's metrics.
func stateOf(r result) metrics.MemberState {
	switch {
	case r.ok:
		return metrics.MemberReady
	case r.reachable, r.reason == ReasonConfigMalformed:
		return metrics.MemberNotReady
	}
	return metrics.MemberOffline
}

// measureJoin counts how long a member took to be ready, when it is so for the first time: until then nobody knows its
// version.
func measureJoin(cluster *corev1beta1.KubeFedCluster, r result, versionBefore string) {
	if r.ok && versionBefore == "" && r.version != "" {
		metrics.MemberJoined(time.Since(cluster.CreationTimestamp.Time))
	}
}
