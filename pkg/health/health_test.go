package health_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/cellfed/cellfed/pkg/health"
)

func read(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		t.Fatalf("%v:\n%s", err, manifest)
	}
	return u
}

// heads are the beginnings of the objects of the table.
var heads = map[string]string{
	"Deployment":  "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, generation: 2}\n",
	"StatefulSet": "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x, generation: 2}\n",
	"DaemonSet":   "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: x, generation: 2}\n",
	"ReplicaSet":  "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: x, generation: 2}\n",
	"Job":         "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x, generation: 1}\n",
	"CronJob":     "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x, generation: 1}\n",
	"Pod":         "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
	"Service":     "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n",
	"PVC":         "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: x}\n",
	"PV":          "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: x}\n",
	"ConfigMap":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
	"Namespace":   "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n",
	"Ingress":     "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x, generation: 1}\n",
	"PDB":         "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x, generation: 1}\n",
	"HPA":         "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: x}\n",
	"CRD":         "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x, generation: 1}\n",
	"APIService":  "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: x}\n",
	"Widget":      "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x, generation: 2}\n",
	"Stranger":    "apiVersion: example.com/v1\nkind: Deployment\nmetadata: {name: x, generation: 2}\n",
}

type sentence struct {
	kind, what, rest string
	want             health.Health
	says             string // part of the message
}

var rollouts = []sentence{
	{"Deployment", "just made", "spec: {replicas: 2}", health.Progressing, "looked at it yet"},
	{"Deployment", "changed, and its status is about what was before", "spec: {replicas: 2}\nstatus: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2}", health.Progressing, "newest spec"},
	{"Deployment", "with all replicas updated and available", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}", health.Healthy, ""},
	{"Deployment", "without a number of replicas, which is one", "status: {observedGeneration: 2}", health.Progressing, "0 of 1 replicas are updated"},
	{"Deployment", "scaled to nothing", "spec: {replicas: 0}\nstatus: {observedGeneration: 2}", health.Healthy, ""},
	{"Deployment", "in the middle of its rollout", "spec: {replicas: 3}\nstatus: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, availableReplicas: 3}", health.Progressing, "1 of 3 replicas are updated"},
	{"Deployment", "whose old replicas are still there", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 3}", health.Progressing, "1 replicas are still to be removed"},
	{"Deployment", "whose new replicas are not available", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1}", health.Progressing, "1 of 2 replicas are available"},
	{"Deployment", "that made no progress for too long", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: stuck}]}", health.Degraded, "ProgressDeadlineExceeded: stuck"},
	{"Deployment", "that had made no progress, and was changed since", "spec: {replicas: 2}\nstatus: {observedGeneration: 1, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}", health.Progressing, "newest spec"},
	{"Deployment", "whose pods a quota forbids", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: exceeded quota}]}", health.Degraded, "exceeded quota"},
	{"Deployment", "paused before its rollout", "spec: {replicas: 2, paused: true}\nstatus: {observedGeneration: 2, replicas: 2, availableReplicas: 2}", health.Progressing, "paused"},
	{"Deployment", "paused when all was rolled out", "spec: {replicas: 2, paused: true}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}", health.Healthy, ""},
	{"Deployment", "that was rolled out and lost all replicas", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, conditions: [{type: Progressing, status: 'True', reason: NewReplicaSetAvailable}, {type: Available, status: 'False'}]}", health.Degraded, "any more"},
	{"Deployment", "that was rolled out and lost one replica", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1, conditions: [{type: Progressing, status: 'True', reason: NewReplicaSetAvailable}, {type: Available, status: 'False'}]}", health.Progressing, "1 of 2"},

	{"StatefulSet", "just made", "spec: {replicas: 2}", health.Progressing, "looked at it yet"},
	{"StatefulSet", "with all replicas updated and ready", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 2}", health.Healthy, ""},
	{"StatefulSet", "in the middle of its rollout", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 1, readyReplicas: 2}", health.Progressing, "1 of 2 replicas are updated"},
	{"StatefulSet", "updated as far as its partition asks", "spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 2}}}\nstatus: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, readyReplicas: 3}", health.Healthy, ""},
	{"StatefulSet", "with a partition beyond its replicas", "spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 9}}}\nstatus: {observedGeneration: 2, replicas: 3, readyReplicas: 3}", health.Healthy, ""},
	{"StatefulSet", "whose pods people replace themselves", "spec: {replicas: 2, updateStrategy: {type: OnDelete}}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 0, readyReplicas: 2}", health.Healthy, ""},
	{"StatefulSet", "with one replica not ready", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 1}", health.Progressing, "1 of 2 replicas are ready"},
	{"StatefulSet", "with a replica too many", "spec: {replicas: 1}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 2}", health.Progressing, "removed"},
	{"StatefulSet", "ready, and not for long enough", "spec: {replicas: 2, minReadySeconds: 5}\nstatus: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 1}", health.Progressing, "available"},

	{"DaemonSet", "just made", "spec: {}", health.Progressing, "looked at it yet"},
	{"DaemonSet", "that no node wants", "status: {observedGeneration: 2}", health.Healthy, ""},
	{"DaemonSet", "on all nodes", "status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 3}", health.Healthy, ""},
	{"DaemonSet", "updated on one node", "status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 1, numberAvailable: 3}", health.Progressing, "1 of 3 nodes are updated"},
	{"DaemonSet", "whose pods people replace themselves", "spec: {updateStrategy: {type: OnDelete}}\nstatus: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 1, numberAvailable: 3}", health.Healthy, ""},
	{"DaemonSet", "not available on one node", "status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 2}", health.Progressing, "2 of 3"},

	{"ReplicaSet", "with all replicas", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, availableReplicas: 2}", health.Healthy, ""},
	{"ReplicaSet", "with one replica missing", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, replicas: 2, availableReplicas: 1}", health.Progressing, "1 of 2"},
	{"ReplicaSet", "whose pods cannot be made", "spec: {replicas: 2}\nstatus: {observedGeneration: 2, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate}]}", health.Degraded, "FailedCreate"},

	{"Job", "just made", "spec: {completions: 2}", health.Progressing, "looked at it yet"},
	{"Job", "running", "spec: {completions: 2}\nstatus: {startTime: x, succeeded: 1, active: 1}", health.Progressing, "1 of 2 completions"},
	{"Job", "running, with work that ends by itself", "spec: {parallelism: 2}\nstatus: {startTime: x, active: 2}", health.Progressing, "running"},
	{"Job", "suspended", "spec: {suspend: true}", health.Progressing, "suspended"},
	{"Job", "done", "spec: {completions: 1}\nstatus: {startTime: x, succeeded: 1, conditions: [{type: Complete, status: 'True'}]}", health.Healthy, ""},
	{"Job", "done, with pods that still end", "spec: {completions: 1}\nstatus: {startTime: x, succeeded: 1, conditions: [{type: SuccessCriteriaMet, status: 'True'}]}", health.Progressing, "ending"},
	{"Job", "failed", "status: {startTime: x, conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: too often}]}", health.Degraded, "BackoffLimitExceeded: too often"},
	{"Job", "about to fail", "status: {startTime: x, conditions: [{type: FailureTarget, status: 'True'}]}", health.Degraded, "failed"},
	{"CronJob", "that is there", "spec: {suspend: true}", health.Healthy, ""},
}

var singles = []sentence{
	{"Pod", "just made", "", health.Progressing, "not ready"},
	{"Pod", "without a node", "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', message: 0/3 nodes}]}", health.Progressing, "no node yet"},
	{"Pod", "ready", "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}", health.Healthy, ""},
	{"Pod", "done", "status: {phase: Succeeded}", health.Healthy, ""},
	{"Pod", "failed", "status: {phase: Failed, reason: Evicted}", health.Degraded, "Evicted"},
	{"Pod", "whose image cannot be pulled", "status: {phase: Pending, containerStatuses: [{name: app, state: {waiting: {reason: ErrImagePull}}}]}", health.Degraded, "container app: its image cannot be pulled"},
	{"Pod", "whose image cannot be pulled, a moment later", "status: {phase: Pending, containerStatuses: [{name: app, state: {waiting: {reason: ImagePullBackOff}}}]}", health.Degraded, "container app: its image cannot be pulled"},
	{"Pod", "whose container crashes", "status: {phase: Running, containerStatuses: [{name: app, state: {waiting: {reason: CrashLoopBackOff}}}]}", health.Degraded, "again and again"},
	{"Pod", "between two crashes", "status: {phase: Running, containerStatuses: [{name: app, ready: false, restartCount: 3, state: {running: {}}, lastState: {terminated: {exitCode: 1}}}]}", health.Degraded, "again and again"},
	{"Pod", "whose first container cannot be started", "status: {phase: Pending, initContainerStatuses: [{name: init, state: {waiting: {reason: CreateContainerConfigError}}}]}", health.Degraded, "container init"},

	{"Service", "inside the cluster", "spec: {type: ClusterIP}\nstatus: {loadBalancer: {}}", health.Healthy, ""},
	{"Service", "without an address of its load balancer", "spec: {type: LoadBalancer}\nstatus: {loadBalancer: {}}", health.Progressing, "no address"},
	{"Service", "with an address of its load balancer", "spec: {type: LoadBalancer}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}", health.Healthy, ""},
	{"PVC", "just made", "", health.Progressing, "not bound"},
	{"PVC", "bound", "status: {phase: Bound}", health.Healthy, ""},
	{"PVC", "whose volume is lost", "status: {phase: Lost}", health.Degraded, "lost"},
	{"PV", "released", "status: {phase: Released}", health.Healthy, ""},
	{"PV", "whose reclaiming failed", "status: {phase: Failed, message: no plugin}", health.Degraded, "no plugin"},
	{"PV", "just made", "", health.Progressing, "available"},
	{"ConfigMap", "that is there", "data: {a: b}", health.Healthy, ""},
	{"Namespace", "that is there", "status: {phase: Active}", health.Healthy, ""},
	{"Ingress", "that no controller has given an address", "status: {loadBalancer: {}}", health.Healthy, ""},
	{"PDB", "just made", "", health.Progressing, "looked at it yet"},
	{"PDB", "that was looked at", "status: {observedGeneration: 1}", health.Healthy, ""},
	{"HPA", "just made", "", health.Progressing, "looked at it yet"},
	{"HPA", "at work", "status: {conditions: [{type: AbleToScale, status: 'True'}, {type: ScalingActive, status: 'True'}]}", health.Healthy, ""},
	{"HPA", "of something scaled to nothing", "status: {conditions: [{type: AbleToScale, status: 'True'}, {type: ScalingActive, status: 'False', reason: ScalingDisabled}]}", health.Healthy, ""},
	{"HPA", "without metrics", "status: {conditions: [{type: AbleToScale, status: 'True'}, {type: ScalingActive, status: 'False', reason: FailedGetResourceMetric}]}", health.Degraded, "FailedGetResourceMetric"},
	{"HPA", "that cannot scale", "status: {conditions: [{type: AbleToScale, status: 'False'}]}", health.Degraded, "cannot scale"},
	{"CRD", "just made", "", health.Progressing, "served"},
	{"CRD", "served", "status: {conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'True'}]}", health.Healthy, ""},
	{"CRD", "whose names are taken", "status: {conditions: [{type: NamesAccepted, status: 'False', reason: PluralConflict}]}", health.Degraded, "PluralConflict"},
	{"APIService", "whose service is away", "status: {conditions: [{type: Available, status: 'False', reason: MissingEndpoints}]}", health.Progressing, "MissingEndpoints"},
	{"APIService", "available", "status: {conditions: [{type: Available, status: 'True'}]}", health.Healthy, ""},

	{"Widget", "without a status", "spec: {}", health.Healthy, ""},
	{"Widget", "whose status is about what was before", "status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}", health.Progressing, "newest spec"},
	{"Widget", "whose Ready is about what was before", "status: {conditions: [{type: Ready, status: 'True', observedGeneration: 1}]}", health.Progressing, "newest spec"},
	{"Widget", "ready", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}", health.Healthy, ""},
	{"Widget", "not ready", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False', reason: Waiting, message: for rain}]}", health.Progressing, "Waiting: for rain"},
	{"Widget", "that may be ready", "status: {conditions: [{type: Ready, status: Unknown}]}", health.Progressing, "not ready"},
	{"Widget", "being reconciled, though ready before", "status: {conditions: [{type: Ready, status: 'True'}, {type: Reconciling, status: 'True', message: soon}]}", health.Progressing, "soon"},
	{"Widget", "stalled", "status: {conditions: [{type: Reconciling, status: 'True'}, {type: Stalled, status: 'True', reason: NoQuota}]}", health.Degraded, "NoQuota"},
	{"Widget", "that was stalled before it was changed", "status: {conditions: [{type: Stalled, status: 'True', observedGeneration: 1}]}", health.Progressing, "newest spec"},
	{"Widget", "not stalled any more", "status: {conditions: [{type: Stalled, status: 'False'}, {type: Ready, status: 'True'}]}", health.Healthy, ""},
	{"Stranger", "of a kind that only sounds like a Deployment", "spec: {replicas: 2}", health.Healthy, ""},
}

func TestAnObjectIsAsHealthyAsItsStatusTells(t *testing.T) {
	for _, s := range append(append([]sentence(nil), rollouts...), singles...) {
		t.Run("a "+s.kind+" "+s.what, func(t *testing.T) {
			v := health.Of(read(t, heads[s.kind]+s.rest))
			if v.Health != s.want || !strings.Contains(v.Message, s.says) {
				t.Errorf("%s (%q), want %s (…%s…)", v.Health, v.Message, s.want, s.says)
			}
			if (v.Message == "") != (v.Health == health.Healthy) {
				t.Errorf("%s says %q: only what is well needs no words", v.Health, v.Message)
			}
		})
	}
}

func TestWhateverIsBeingDeletedIsNotHealthy(t *testing.T) {
	for kind, head := range heads {
		u := read(t, head+"status: {observedGeneration: 2}")
		u.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T10:00:00Z"
		if v := health.Of(u); v.Health != health.Progressing {
			t.Errorf("%s: %s", kind, v.Health)
		}
	}
}

func TestNothingToJudgeIsUnknown(t *testing.T) {
	for _, u := range []*unstructured.Unstructured{nil, {}} {
		if v := health.Of(u); v.Health != health.Unknown {
			t.Errorf("%v: %+v", u, v)
		}
	}
}

// garble replaces one value somewhere in v by one of another kind.
func garble(r *rand.Rand, v any) any {
	wrong := []any{nil, "text", int64(-1), 1.5, true, []any{nil, "x", map[string]any{"type": 1}}, map[string]any{}, int64(1) << 62}
	if r.IntN(6) == 0 {
		return wrong[r.IntN(len(wrong))]
	}
	switch c := v.(type) {
	case map[string]any:
		for k := range c {
			c[k] = garble(r, c[k])
		}
	case []any:
		for i := range c {
			c[i] = garble(r, c[i])
		}
	}
	return v
}

func TestJudgingNeverFailsWhateverAMemberSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	all := append(append([]sentence(nil), rollouts...), singles...)
	for range 20 {
		for _, s := range all {
			u := read(t, heads[s.kind]+s.rest)
			apiVersion, kind := u.GetAPIVersion(), u.GetKind()
			u.Object = map[string]any{"metadata": garble(r, u.Object["metadata"]), "spec": garble(r, u.Object["spec"]),
				"status": garble(r, u.Object["status"]), "apiVersion": apiVersion, "kind": kind}
			switch v := health.Of(u); v.Health {
			case health.Healthy, health.Progressing, health.Degraded, health.Unknown:
			default:
				t.Fatalf("%v: %+v", u.Object, v)
			}
		}
	}
}
