package report

import "github.com/cellfed/cellfed/pkg/federated"

// touch moves the time at which Propagation was last updated when a unit came, went, was written or fares otherwise, also
// where the condition itself says what it said. KubeFed moves it with every change of a member's own status too; here it
// tells of propagation alone. It never makes a status worth writing that was not.
func touch(conditions []any, entries []federated.UnitStatus, in Input) {
	before := in.Object.Status.Units
	changed := len(entries) != len(before)
	for i := 0; !changed && i < len(entries); i++ {
		a, b := &entries[i], &before[i]
		changed = a.Name != b.Name || a.Code != b.Code || a.Revision != b.Revision || a.Generation != b.Generation || a.Held != b.Held
	}
	if !changed {
		return
	}
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == Propagation {
			m["lastUpdateTime"] = in.Now
		}
	}
}
