package membership

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kubefed/pkg/apis/core/common"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"
)

// conditionsOf says a result in KubeFed's conditions.
func conditionsOf(r result) []kubefedv1beta1.ClusterCondition {
	switch {
	case r.ok:
		return []kubefedv1beta1.ClusterCondition{
			condition(common.ClusterReady, corev1.ConditionTrue, r.reason, r.message),
		}
	case r.reason == ReasonConfigMalformed:
		return []kubefedv1beta1.ClusterCondition{
			condition(common.ClusterReady, corev1.ConditionFalse, r.reason, r.message),
			condition(common.ClusterConfigMalformed, corev1.ConditionTrue, r.reason, r.message),
		}
	case r.reachable:
		return []kubefedv1beta1.ClusterCondition{
			condition(common.ClusterReady, corev1.ConditionFalse, r.reason, r.message),
			condition(common.ClusterOffline, corev1.ConditionFalse, ReasonReachable, messageReachable),
		}
	}
	return []kubefedv1beta1.ClusterCondition{
		condition(common.ClusterReady, corev1.ConditionFalse, r.reason, r.message),
		condition(common.ClusterOffline, corev1.ConditionTrue, r.reason, r.message),
	}
}

func condition(kind common.ClusterConditionType, status corev1.ConditionStatus, reason, message string) kubefedv1beta1.ClusterCondition {
	return kubefedv1beta1.ClusterCondition{Type: kind, Status: status, Reason: &reason, Message: &message}
}

// nextStatus is the status after a result, and whether it says anything new. Times alone are nothing new.
func nextStatus(old kubefedv1beta1.KubeFedClusterStatus, r result, now metav1.Time,
	beside ...kubefedv1beta1.ClusterCondition,
) (kubefedv1beta1.KubeFedClusterStatus, bool) {
	next := *old.DeepCopy()
	next.Conditions = append(conditionsOf(r), beside...)
	if r.version != "" {
		next.KubernetesVersion = r.version
	}
	changed := next.KubernetesVersion != old.KubernetesVersion || len(next.Conditions) != len(old.Conditions)
	for i := range next.Conditions {
		c := &next.Conditions[i]
		c.LastProbeTime, c.LastTransitionTime = now, &now
		was := find(old.Conditions, c.Type)
		if was == nil {
			changed = true
			continue
		}
		if was.Status == c.Status && was.LastTransitionTime != nil {
			c.LastTransitionTime = was.LastTransitionTime
		}
		if was.Status != c.Status || value(was.Reason) != value(c.Reason) || value(was.Message) != value(c.Message) {
			changed = true
		}
	}
	return next, changed
}

func find(conditions []kubefedv1beta1.ClusterCondition, kind common.ClusterConditionType) *kubefedv1beta1.ClusterCondition {
	for i := range conditions {
		if conditions[i].Type == kind {
			return &conditions[i]
		}
	}
	return nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
