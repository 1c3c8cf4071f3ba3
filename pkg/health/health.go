package health

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Health is how a member's object is.
type Health string

// What an object's health may be.
const (
	// Healthy: it is as its spec asks, and works as far as its status tells.
	Healthy Health = "Healthy"
	// Progressing: it is not yet, or not any more, as its spec asks; waiting may help.
	Progressing Health = "Progressing"
	// Degraded: the member says that it cannot become what its spec asks, or that nothing of it works.
	Degraded Health = "Degraded"
	// Unknown: nobody can tell.
	Unknown Health = "Unknown"
)

// Verdict is a health and, unless that is Healthy, why, in words for people.
type Verdict struct {
	Health  Health
	Message string
}

var healthy = Verdict{Health: Healthy}

func progressing(message string) Verdict { return Verdict{Progressing, message} }
func degraded(message string) Verdict    { return Verdict{Degraded, message} }

// rule judges an object of a kind that it knows.
type rule func(object) Verdict

// rules are by group and kind. Other kinds are judged by the conventions.
var rules = map[schema.GroupKind]rule{
	{Group: "apps", Kind: "Deployment"}:                               deployment,
	{Group: "apps", Kind: "StatefulSet"}:                              statefulSet,
	{Group: "apps", Kind: "DaemonSet"}:                                daemonSet,
	{Group: "apps", Kind: "ReplicaSet"}:                               replicaSet,
	{Kind: "ReplicationController"}:                                   replicaSet,
	{Group: "batch", Kind: "Job"}:                                     job,
	{Kind: "Pod"}:                                                     pod,
	{Kind: "Service"}:                                                 service,
	{Kind: "PersistentVolumeClaim"}:                                   claim,
	{Kind: "PersistentVolume"}:                                        volume,
	{Kind: "Namespace"}:                                               there,
	{Group: "batch", Kind: "CronJob"}:                                 there,
	{Group: "networking.k8s.io", Kind: "Ingress"}:                     there,
	{Group: "policy", Kind: "PodDisruptionBudget"}:                    observed(there),
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:           autoscaler,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: definition,
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:             apiService,
}

// Of judges an object as its member holds it, status included.
func Of(u *unstructured.Unstructured) Verdict {
	if u == nil || u.Object == nil {
		return Verdict{Unknown, "there is no object to judge"}
	}
	o := object(u.Object)
	if o.text("metadata", "deletionTimestamp") != "" {
		return progressing("it is being deleted")
	}
	if judge, known := rules[u.GroupVersionKind().GroupKind()]; known {
		return judge(o)
	}
	return conventions(o)
}

// there is for kinds that are as they should be as soon as they are there. An Ingress is one of them because many
// ingress controllers never write its status, a CronJob because its jobs are others' business.
func there(object) Verdict { return healthy }
