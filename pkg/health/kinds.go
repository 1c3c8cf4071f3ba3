package health

func service(o object) Verdict {
	if o.text("spec", "type") == "LoadBalancer" && len(o.list("status", "loadBalancer", "ingress")) == 0 {
		return progressing("it has no address of a load balancer yet")
	}
	return healthy
}

func claim(o object) Verdict {
	switch o.text("status", "phase") {
	case "Bound":
		return healthy
	case "Lost":
		return degraded("its volume is lost")
	}
	return progressing("it is not bound to a volume yet")
}

func volume(o object) Verdict {
	switch o.text("status", "phase") {
	case "Failed":
		return degraded(condition{reason: o.text("status", "reason"), message: o.text("status", "message")}.words("its reclaiming failed"))
	case "Available", "Bound", "Released":
		return healthy
	}
	return progressing("it is not available yet")
}

func autoscaler(o object) Verdict {
	if c := o.condition("AbleToScale"); c.is("False") {
		return degraded(c.words("it cannot scale"))
	}
	if c := o.condition("ScalingActive"); c.is("False") && c.reason != "ScalingDisabled" { // disabled is asked for: no replicas
		return degraded(c.words("it cannot tell how far to scale"))
	}
	if !o.condition("AbleToScale").is("True") {
		return progressing(notObserved)
	}
	return healthy
}

func definition(o object) Verdict {
	if c := o.condition("NamesAccepted"); c.is("False") {
		return degraded(c.words("its names are taken"))
	}
	if c := o.condition("Established"); !c.is("True") {
		return progressing(c.words("it is not served yet"))
	}
	return healthy
}

func apiService(o object) Verdict {
	if c := o.condition("Available"); !c.is("True") {
		return progressing(c.words("it is not available yet"))
	}
	return healthy
}

// conventions judge a kind by what its controller's author wrote into status for such readers. A kind that says
// nothing is healthy when it is there: nobody can tell one without a controller from one whose controller is silent.
func conventions(o object) Verdict {
	generation := o.number(0, "metadata", "generation")
	if seen := o.status("observedGeneration"); seen != 0 && seen != generation {
		return progressing(stale)
	}
	stalled, reconciling, ready := o.condition("Stalled"), o.condition("Reconciling"), o.condition("Ready")
	for _, c := range []condition{stalled, reconciling, ready} {
		if c.generation != 0 && c.generation < generation {
			return progressing(stale)
		}
	}
	switch {
	case stalled.is("True"):
		return degraded(stalled.words("its controller says that it is stalled"))
	case reconciling.is("True"):
		return progressing(reconciling.words("its controller is still at it"))
	case ready.is("False"), ready.is("Unknown"):
		return progressing(ready.words("it is not ready"))
	}
	return healthy
}
