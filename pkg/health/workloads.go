package health

import "fmt"

func deployment(o object) Verdict { return observed(deploymentAsSeen)(o) }

func deploymentAsSeen(o object) Verdict {
	if c := o.condition("Progressing"); c.is("False") && c.reason == "ProgressDeadlineExceeded" {
		return degraded(c.words("the rollout has made no progress for too long"))
	}
	if c := o.condition("ReplicaFailure"); c.is("True") {
		return degraded(c.words("its pods cannot be created"))
	}
	want := o.number(1, "spec", "replicas")
	updated, available := o.status("updatedReplicas"), o.status("availableReplicas")
	switch {
	case updated < want && o.flag("spec", "paused"):
		return progressing("it is paused, and the rollout waits")
	case updated < want:
		return of(updated, want, "replicas are updated")
	case o.status("replicas") > updated:
		return progressing(fmt.Sprintf("%d replicas are still to be removed", o.status("replicas")-updated))
	case available == 0 && want > 0 && o.condition("Progressing").reason == "NewReplicaSetAvailable" && o.condition("Available").is("False"):
		return degraded("it was rolled out, and none of its replicas is available any more")
	case available < want:
		return of(available, want, "replicas are available")
	}
	return healthy
}

func statefulSet(o object) Verdict { return observed(statefulSetAsSeen)(o) }

func statefulSetAsSeen(o object) Verdict {
	want, ready := o.number(1, "spec", "replicas"), o.status("readyReplicas")
	if o.text("spec", "updateStrategy", "type") != "OnDelete" { // there, people replace the pods when they like
		updated := max(want-o.number(0, "spec", "updateStrategy", "rollingUpdate", "partition"), 0)
		if n := o.status("updatedReplicas"); n < updated {
			return of(n, updated, "replicas are updated")
		}
	}
	switch {
	case o.status("replicas") > want:
		return progressing(fmt.Sprintf("%d replicas are still to be removed", o.status("replicas")-want))
	case ready < want:
		return of(ready, want, "replicas are ready")
	case o.number(0, "spec", "minReadySeconds") > 0 && o.status("availableReplicas") < want:
		return of(o.status("availableReplicas"), want, "replicas are available")
	}
	return healthy
}

func daemonSet(o object) Verdict { return observed(daemonSetAsSeen)(o) }

func daemonSetAsSeen(o object) Verdict {
	want := o.status("desiredNumberScheduled")
	if o.text("spec", "updateStrategy", "type") != "OnDelete" {
		if n := o.status("updatedNumberScheduled"); n < want {
			return of(n, want, "nodes are updated")
		}
	}
	if n := o.status("numberAvailable"); n < want {
		return of(n, want, "nodes have it available")
	}
	return healthy
}

func replicaSet(o object) Verdict { return observed(replicaSetAsSeen)(o) }

func replicaSetAsSeen(o object) Verdict {
	if c := o.condition("ReplicaFailure"); c.is("True") {
		return degraded(c.words("its pods cannot be created"))
	}
	want := o.number(1, "spec", "replicas")
	switch {
	case o.status("replicas") > want:
		return progressing(fmt.Sprintf("%d replicas are still to be removed", o.status("replicas")-want))
	case o.status("availableReplicas") < want:
		return of(o.status("availableReplicas"), want, "replicas are available")
	}
	return healthy
}

// job is healthy when it is done: whoever waits for a release that has a job in it waits for what the job does.
func job(o object) Verdict {
	for _, failed := range []string{"Failed", "FailureTarget"} {
		if c := o.condition(failed); c.is("True") {
			return degraded(c.words("the job failed"))
		}
	}
	switch {
	case o.condition("Complete").is("True"):
		return healthy
	case o.flag("spec", "suspend"):
		return progressing("it is suspended")
	case o.text("status", "startTime") == "":
		return progressing(notObserved)
	case o.condition("SuccessCriteriaMet").is("True"):
		return progressing("it has succeeded, and its last pods are ending")
	}
	done := o.status("succeeded")
	if total := o.number(0, "spec", "completions"); total > 0 {
		return of(done, total, "completions")
	}
	return progressing("it is running")
}

func pod(o object) Verdict {
	switch o.text("status", "phase") {
	case "Succeeded":
		return healthy
	case "Failed":
		return degraded(condition{reason: o.text("status", "reason"), message: o.text("status", "message")}.words("it has failed"))
	}
	if o.condition("Ready").is("True") {
		return healthy
	}
	for _, kind := range []string{"initContainerStatuses", "containerStatuses"} {
		for _, e := range o.list("status", kind) {
			m, _ := e.(map[string]any)
			if why := stuck(object(m)); why != "" {
				return degraded(fmt.Sprintf("container %s: %s", object(m).text("name"), why))
			}
		}
	}
	if c := o.condition("PodScheduled"); c.is("False") {
		return progressing("it has no node yet")
	}
	return progressing("it is not ready yet")
}

// stuck tells why a container will not run by waiting; "" = it may. A kubelet alternates between two words for the same
// trouble, and counts: neither is told, or status would change for ever.
func stuck(c object) string {
	switch c.text("state", "waiting", "reason") {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
		return "its image cannot be pulled"
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return "it cannot be started"
	case "CrashLoopBackOff":
		return "it ends again and again"
	}
	if !c.flag("ready") && c.number(0, "lastState", "terminated", "exitCode") != 0 && c.number(0, "restartCount") > 1 {
		return "it ends again and again" // between two crashes
	}
	return ""
}
