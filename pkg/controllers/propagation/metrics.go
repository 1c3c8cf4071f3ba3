package propagation

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/metrics"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/report"
)

// meter counts what a carrier does. KubeFed's name for the controller of a type is its federated kind in lower case.
type meter struct {
	controller *metrics.Controller
	objects    *metrics.Type
}

func newMeter(t Type, opts Options) meter {
	m := meter{controller: metrics.NewController(strings.ToLower(t.FederatedKind)), objects: metrics.NewType(t.Name, opts.Now)}
	m.controller.Workers(opts.Workers())
	return m
}

func (m meter) end() {
	m.controller.End()
	m.objects.End()
}

// resultOf is how a look at an object ended, in KubeFed's words.
func resultOf(again bool, err error) metrics.Result {
	switch {
	case err != nil && transient(err), err == nil && again:
		return metrics.NeedsRecheck
	case err != nil:
		return metrics.Failed
	}
	return metrics.Success
}

// changed notes that an object asks for something that its status does not tell of yet.
func (m meter) changed(key objectKey, u *unstructured.Unstructured) {
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if observed != u.GetGeneration() {
		m.objects.Changed(key.String())
	}
}

// told counts what an object's status says.
func (m meter) told(key objectKey, o *federated.Object, p *plan.Plan, status map[string]any) {
	out := metrics.Object{State: stateOf(o, p, status), Units: map[string]int{}}
	list, _ := status["clusters"].([]any)
	for _, e := range list {
		entry, _ := e.(map[string]any)
		code, _ := entry["status"].(string)
		out.Units[code]++
		if held, _ := entry["held"].(bool); held {
			out.Held++
		}
		if behind, _ := entry["behind"].(int64); behind > 0 {
			out.Behind++
		}
	}
	if out.State != metrics.AsAsked {
		m.objects.Changed(key.String())
	}
	m.objects.Set(key.String(), out)
}

func stateOf(o *federated.Object, p *plan.Plan, status map[string]any) metrics.ObjectState {
	switch {
	case o.Deleting:
		return metrics.Deleting
	case p.Stopped != nil:
		return metrics.OnHold
	}
	conditions, _ := status["conditions"].([]any)
	for _, c := range conditions {
		if m, _ := c.(map[string]any); m["type"] == report.Propagation && m["status"] == "True" {
			return metrics.AsAsked
		}
	}
	return metrics.NotAsAsked
}

// written counts a call to a member.
func written(member string, action plan.Action, result plan.Outcome, took time.Duration) {
	if action.Writes() {
		metrics.Written(member, string(action), string(result), took)
	}
}
