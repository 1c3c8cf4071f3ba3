package objects

import "fmt"

// Units is an object that says something about n cells in every place: placement, mask, overrides and a status with the
// members' own. It is what conversion is measured with.
func Units(n int, form Form) map[string]any {
	var placement, mask, overrides, status []any
	for i := range n {
		name := fmt.Sprintf("rz%02da", i)
		if form == Cluster {
			name += ".acme-prod.cell"
		}
		placement = append(placement, map[string]any{"name": name})
		mask = append(mask, map[string]any{"name": name})
		overrides = append(overrides, map[string]any{
			form.own: name, form.overrides: []any{map[string]any{"path": "/spec/replicas", "value": int64(i)}},
		})
		status = append(status, map[string]any{
			"name": name, "generation": int64(2), "revision": "7f3c00112233aabb", "version": "gen:2",
			"remoteStatus": map[string]any{
				"availableReplicas": int64(3), "observedGeneration": int64(2), "readyReplicas": int64(3),
				"replicas": int64(3), "updatedReplicas": int64(3),
			},
		})
	}
	return map[string]any{
		"apiVersion": "types.kubefed.io/" + form.Version, "kind": "FederatedDeployment",
		"metadata": map[string]any{
			"namespace": "acme-prod", "name": "web", "uid": "0f8e1b1c-8c38-4a4e-9d2a-5a9f0a3c1d11", "generation": int64(4),
			"labels": map[string]any{"app": "web"}, "finalizers": []any{"kubefed.io/sync-controller"},
		},
		"spec": map[string]any{
			"topologyType": "cell", "placement": map[string]any{form.list: placement},
			"placementMask": map[string]any{form.list: mask}, "overrides": overrides,
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
				"spec": map[string]any{
					"replicas": int64(3), "selector": map[string]any{"matchLabels": map[string]any{"app": "web"}},
					"template": map[string]any{
						"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
						"spec":     map[string]any{"containers": []any{map[string]any{"name": "web", "image": "registry.example.com/web:1.27"}}},
					},
				},
			},
		},
		"status": map[string]any{
			"observedGeneration": int64(4), "summary": map[string]any{"units": "64/64", "held": "0"},
			"conditions": []any{map[string]any{"type": "Propagation", "status": "True"}}, form.list: status,
		},
	}
}
