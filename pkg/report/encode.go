package report

import (
	"fmt"
	"strconv"

	"github.com/cellfed/cellfed/pkg/federated"
)

// encode writes a status in cluster form. What is empty is left out, so that equal findings are equal bytes.
func encode(generation int64, units []federated.UnitStatus, conditions []any, t tally) map[string]any {
	summary := map[string]any{
		"units": fmt.Sprintf("%d/%d", t.asAsked, t.placed),
		"held":  strconv.Itoa(t.held),
	}
	if t.judged {
		summary["healthy"] = fmt.Sprintf("%d/%d", t.healthy, t.placed)
	}
	status := map[string]any{"observedGeneration": generation, "summary": summary}
	var entries []any
	for _, u := range units {
		entries = append(entries, encodeUnit(u))
	}
	if entries != nil {
		status["clusters"] = entries
	}
	if conditions != nil {
		status["conditions"] = conditions
	}
	return status
}

func encodeUnit(u federated.UnitStatus) map[string]any {
	m := map[string]any{"name": u.Name}
	text(m, "status", u.Code)
	text(m, "message", u.Message)
	text(m, "revision", u.Revision)
	text(m, "version", u.Version)
	if u.Generation != 0 {
		m["generation"] = u.Generation
	}
	if u.Held {
		m["held"] = true
	}
	if u.Inventory {
		m["inventory"] = true
		text(m, "cluster", u.Cluster)
		text(m, "memberNamespace", u.MemberNamespace)
		text(m, "clusterID", u.ClusterID)
	}
	if u.Behind != 0 {
		m["behind"] = u.Behind
	}
	text(m, "health", u.Health)
	text(m, "healthMessage", u.HealthMessage)
	text(m, "healthyRevision", u.HealthyRevision)
	if u.RemoteStatus != nil {
		m["remoteStatus"] = u.RemoteStatus
	}
	text(m, "remoteStatusOmitted", u.RemoteStatusOmitted)
	return m
}

func encodeConditions(conditions []federated.Condition) []any {
	var list []any
	for _, c := range conditions {
		m := map[string]any{"type": c.Type, "status": c.Status}
		text(m, "reason", c.Reason)
		text(m, "message", c.Message)
		text(m, "lastUpdateTime", c.LastUpdateTime)
		text(m, "lastTransitionTime", c.LastTransitionTime)
		if c.ObservedGeneration != 0 {
			m["observedGeneration"] = c.ObservedGeneration
		}
		list = append(list, m)
	}
	return list
}

func text(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}
