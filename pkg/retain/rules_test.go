package retain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return whole(raw).(map[string]any)
}

// whole makes whole numbers of numbers, as decoding does for the plane.
func whole(v any) any {
	switch c := v.(type) {
	case map[string]any:
		for k := range c {
			c[k] = whole(c[k])
		}
	case []any:
		for i := range c {
			c[i] = whole(c[i])
		}
	case float64:
		return int64(c)
	}
	return v
}

func pointers(t testing.TB, list ...string) Pointers {
	t.Helper()
	p, errs := Parse(list, field.NewPath("retainedFields"))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	return p
}

type keeps struct {
	kind     schema.GroupKind
	listed   []string
	replicas bool
	desired  string
	observed string
	want     string
	// blind is what is left of the observed object when it is looked at for drift.
	blind string
}

func TestWhatIsTheMembersStaysAndIsNoDrift(t *testing.T) {
	service := schema.GroupKind{Kind: "Service"}
	claim := schema.GroupKind{Kind: "PersistentVolumeClaim"}
	webhook := schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}
	deployment := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	for name, tc := range map[string]keeps{
		"a Service's addresses and node ports": {kind: service,
			desired:  `{spec: {type: NodePort, clusterIP: 10.9.9.9, ports: [{name: b, port: 2}, {name: a, port: 1, nodePort: 30009}, {name: a, port: 1, protocol: UDP}]}}`,
			observed: `{spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], healthCheckNodePort: 30100, ipFamilies: [IPv4], ports: [{name: a, port: 1, protocol: TCP, nodePort: 30001}, {name: b, port: 2, protocol: TCP, nodePort: 30002}]}}`,
			want: `{spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], healthCheckNodePort: 30100, ipFamilies: [IPv4],
				ports: [{name: b, port: 2, nodePort: 30002}, {name: a, port: 1, nodePort: 30001}, {name: a, port: 1, protocol: UDP}]}}`,
			blind: `{spec: {type: NodePort, ipFamilies: [IPv4], ports: [{name: a, port: 1, protocol: TCP}, {name: b, port: 2, protocol: TCP}]}}`},
		"not those of a kind of the same name": {kind: schema.GroupKind{Group: "example.com", Kind: "Service"},
			desired: `{spec: {clusterIP: a}}`, observed: `{spec: {clusterIP: b}}`, want: `{spec: {clusterIP: a}}`, blind: `{spec: {clusterIP: b}}`},
		"a ServiceAccount's secrets, unless the template has some": {kind: schema.GroupKind{Kind: "ServiceAccount"},
			desired: `{secrets: []}`, observed: `{secrets: [{name: token}]}`, want: `{secrets: [{name: token}]}`, blind: `{}`},
		"a ServiceAccount's secrets that the template has": {kind: schema.GroupKind{Kind: "ServiceAccount"},
			desired: `{secrets: [{name: mine}]}`, observed: `{secrets: [{name: token}]}`, want: `{secrets: [{name: mine}]}`, blind: `{secrets: [{name: token}]}`},
		"replicas that the object leaves to members": {kind: deployment, replicas: true,
			desired: `{spec: {replicas: 2}}`, observed: `{spec: {replicas: 9}}`, want: `{spec: {replicas: 9}}`, blind: `{}`},
		"replicas of a template that has none": {kind: deployment, replicas: true,
			desired: `{}`, observed: `{spec: {replicas: 9}}`, want: `{spec: {replicas: 9}}`, blind: `{}`},
		"a Job's selector and labels": {kind: schema.GroupKind{Group: "batch", Kind: "Job"},
			desired:  `{spec: {template: {spec: {restartPolicy: Never}}}}`,
			observed: `{spec: {suspend: true, selector: {matchLabels: {controller-uid: u}}, template: {metadata: {labels: {controller-uid: u, batch.kubernetes.io/job-name: j, other: x}}, spec: {restartPolicy: Never}}}}`,
			want: `{spec: {suspend: true, selector: {matchLabels: {controller-uid: u}},
				template: {metadata: {labels: {controller-uid: u, batch.kubernetes.io/job-name: j}}, spec: {restartPolicy: Never}}}}`,
			blind: `{spec: {selector: {matchLabels: {controller-uid: u}}, template: {metadata: {labels: {controller-uid: u, batch.kubernetes.io/job-name: j, other: x}}, spec: {restartPolicy: Never}}}}`},
		"a claim's volume, class and growth": {kind: claim,
			desired:  `{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`,
			observed: `{spec: {accessModes: [ReadWriteOnce], volumeName: pv-1, storageClassName: fast, volumeMode: Filesystem, resources: {requests: {storage: 2Gi}}}}`,
			want:     `{spec: {accessModes: [ReadWriteOnce], volumeName: pv-1, storageClassName: fast, volumeMode: Filesystem, resources: {requests: {storage: 2Gi}}}}`,
			blind:    `{spec: {accessModes: [ReadWriteOnce], volumeMode: Filesystem}}`},
		"a claim that the template makes grow": {kind: claim,
			desired: `{spec: {storageClassName: slow, resources: {requests: {storage: 3Gi}}}}`, observed: `{spec: {storageClassName: fast, resources: {requests: {storage: 2048Mi}}}}`,
			want: `{spec: {storageClassName: slow, resources: {requests: {storage: 3Gi}}}}`, blind: `{spec: {storageClassName: fast}}`},
		"CA bundles of webhooks whose template has none": {kind: webhook,
			desired:  `{webhooks: [{name: b, clientConfig: {caBundle: Cg==}}, {name: c, clientConfig: {caBundle: Yw==}}, {name: a, clientConfig: {service: {name: s}}}]}`,
			observed: `{webhooks: [{name: a, clientConfig: {service: {name: s}, caBundle: YQ==}}, {name: b, clientConfig: {caBundle: Yg==}}, {name: c, clientConfig: {caBundle: ZHJpZnQ=}}]}`,
			want:     `{webhooks: [{name: b, clientConfig: {caBundle: Yg==}}, {name: c, clientConfig: {caBundle: Yw==}}, {name: a, clientConfig: {service: {name: s}, caBundle: YQ==}}]}`,
			blind:    `{webhooks: [{name: a, clientConfig: {service: {name: s}}}, {name: b}, {name: c, clientConfig: {caBundle: ZHJpZnQ=}}]}`},
		"a CRD's CA bundle": {kind: schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"},
			desired:  `{spec: {conversion: {webhook: {clientConfig: {service: {name: s}}}}}}`,
			observed: `{spec: {conversion: {webhook: {clientConfig: {service: {name: s}, caBundle: YQ==}}}}}`,
			want:     `{spec: {conversion: {webhook: {clientConfig: {service: {name: s}, caBundle: YQ==}}}}}`,
			blind:    `{spec: {conversion: {webhook: {clientConfig: {service: {name: s}}}}}}`},
		"no CA bundle for a CRD that converts no more": {kind: schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"},
			desired: `{spec: {conversion: {strategy: None}}}`, observed: `{spec: {conversion: {webhook: {clientConfig: {caBundle: YQ==}}}}}`,
			want: `{spec: {conversion: {strategy: None}}}`, blind: `{}`},
		"an APIService's CA bundle": {kind: schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"},
			desired: `{spec: {caBundle: ""}}`, observed: `{spec: {caBundle: YQ==}}`, want: `{spec: {caBundle: YQ==}}`, blind: `{}`},
		"a Namespace's finalizers": {kind: schema.GroupKind{Kind: "Namespace"},
			desired: `{}`, observed: `{spec: {finalizers: [kubernetes]}}`, want: `{spec: {finalizers: [kubernetes]}}`, blind: `{}`},
		"a volume's claim": {kind: schema.GroupKind{Kind: "PersistentVolume"},
			desired: `{spec: {claimRef: {name: c}}}`, observed: `{spec: {claimRef: {name: c, uid: u}}}`, want: `{spec: {claimRef: {name: c, uid: u}}}`, blind: `{}`},
		"what admission adds to a Pod": {kind: schema.GroupKind{Kind: "Pod"},
			desired:  `{spec: {containers: [{name: app, volumeMounts: [{name: data, mountPath: /d}]}], volumes: [{name: data}]}}`,
			observed: `{spec: {nodeName: n1, tolerations: [{key: x}], containers: [{name: app, volumeMounts: [{name: data, mountPath: /d}, {name: token, mountPath: /t}]}], volumes: [{name: data, emptyDir: {}}, {name: token}]}}`,
			want:     `{spec: {nodeName: n1, tolerations: [{key: x}], containers: [{name: app, volumeMounts: [{name: data, mountPath: /d}, {name: token, mountPath: /t}]}], volumes: [{name: data}, {name: token}]}}`,
			blind:    `{spec: {containers: [{name: app, volumeMounts: [{name: data, mountPath: /d}, {name: token, mountPath: /t}]}], volumes: [{name: data, emptyDir: {}}, {name: token}]}}`},
		"the rules of a ClusterRole that aggregates": {kind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"},
			desired: `{aggregationRule: {x: y}, rules: []}`, observed: `{aggregationRule: {x: y}, rules: [{verbs: [get]}]}`,
			want: `{aggregationRule: {x: y}, rules: [{verbs: [get]}]}`, blind: `{aggregationRule: {x: y}}`},
		"not the rules of another one": {kind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"},
			desired: `{rules: []}`, observed: `{rules: [{verbs: [get]}]}`, want: `{rules: []}`, blind: `{rules: [{verbs: [get]}]}`},
		"the token of a ServiceAccount": {kind: schema.GroupKind{Kind: "Secret"},
			desired: `{type: kubernetes.io/service-account-token}`, observed: `{type: kubernetes.io/service-account-token, data: {token: x, other: y}}`,
			want: `{type: kubernetes.io/service-account-token, data: {token: x}}`, blind: `{type: kubernetes.io/service-account-token, data: {other: y}}`},
		"what the type lists, by name": {kind: deployment, listed: []string{"/spec/template/spec/containers/*/resources"},
			desired:  `{spec: {template: {spec: {containers: [{name: b, resources: {x: 1}}, {name: a}]}}}}`,
			observed: `{spec: {template: {spec: {containers: [{name: a, resources: {x: 2}}, {name: b}, {name: injected, resources: {x: 3}}]}}}}`,
			want:     `{spec: {template: {spec: {containers: [{name: b, resources: {x: 1}}, {name: a, resources: {x: 2}}]}}}}`,
			blind:    `{spec: {template: {spec: {containers: [{name: a}, {name: b}, {name: injected}]}}}}`},
		"every entry of a list": {kind: deployment, listed: []string{"/spec/template/spec/containers/*"},
			desired:  `{spec: {template: {spec: {containers: [{name: app, image: x}]}}}}`,
			observed: `{spec: {template: {spec: {containers: [{name: proxy, image: p}, {name: app, image: y}]}}}}`,
			want:     `{spec: {template: {spec: {containers: [{name: app, image: y}, {name: proxy, image: p}]}}}}`, blind: `{}`},
		"one entry by name, another list by index": {kind: deployment, listed: []string{"/spec/c/app/image", "/spec/list/0/x"},
			desired:  `{spec: {c: [{name: z, image: 0}, {name: app, image: 1}], list: [{x: 1}, {x: 2}]}}`,
			observed: `{spec: {c: [{name: app, image: 5}, {name: z, image: 6}], list: [{x: 7}, {x: 8}]}}`,
			want:     `{spec: {c: [{name: z, image: 0}, {name: app, image: 5}], list: [{x: 7}, {x: 2}]}}`,
			blind:    `{spec: {c: [{name: app}, {name: z, image: 6}], list: [{}, {x: 8}]}}`},
		"every key of a map": {kind: deployment, listed: []string{"/data/*", "/spec/*/x"},
			desired: `{data: {a: 1, c: 3}, spec: {k: {x: 1, y: 1}}}`, observed: `{data: {a: 2, b: 2}, spec: {k: {x: 2, y: 2}, l: {x: 2}}}`,
			want: `{data: {a: 2, b: 2, c: 3}, spec: {k: {x: 2, y: 1}}}`, blind: `{spec: {k: {y: 2}}}`},
		"a field whose parents the template lacks": {kind: deployment, listed: []string{"/spec/strategy/paused", "/spec/none/here"},
			desired: `{spec: {}}`, observed: `{spec: {strategy: {type: x, paused: true}}}`, want: `{spec: {strategy: {paused: true}}}`, blind: `{spec: {strategy: {type: x}}}`},
		"keys with slashes": {kind: deployment, listed: []string{"/metadata/labels/example.com~1x"},
			desired: `{metadata: {labels: {a: b}}}`, observed: `{metadata: {labels: {example.com/x: y, z: z}}}`,
			want: `{metadata: {labels: {a: b, example.com/x: y}}}`, blind: `{metadata: {labels: {z: z}}}`},
		"nothing of another shape": {kind: deployment, listed: []string{"/spec/a/b", "/spec/l/*/x"},
			desired: `{spec: {a: text, l: {x: 1}}}`, observed: `{spec: {a: {b: 1}, l: [{x: 2}]}}`, want: `{spec: {a: text, l: {x: 1}}}`, blind: `{spec: {l: [{}]}}`},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t) })
	}
}

func (tc keeps) check(t *testing.T) {
	rules := For(tc.kind, pointers(t, tc.listed...), tc.replicas)
	desired, observed := object(t, tc.desired), object(t, tc.observed)
	before := runtime.DeepCopyJSON(observed)
	rules.Apply(desired, observed)
	if diff := cmp.Diff(object(t, tc.want), desired); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, observed); diff != "" {
		t.Errorf("the observed object was changed:\n%s", diff)
	}
	blind := runtime.DeepCopyJSON(observed)
	rules.Strip(blind, object(t, tc.desired))
	if diff := cmp.Diff(object(t, tc.blind), blind); diff != "" {
		t.Errorf("looked at for drift (-want +got):\n%s", diff)
	}
	// What is put in place of the observed object is kept by the next look too.
	again := object(t, tc.desired)
	rules.Apply(again, desired)
	if diff := cmp.Diff(desired, again); diff != "" && len(tc.listed) == 0 {
		t.Errorf("not stable (-first +second):\n%s", diff)
	}
}

func TestRulesAreNamedByWhatIsNoDrift(t *testing.T) {
	deployment := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	if name := For(deployment, Pointers{}, false).String(); name != "" {
		t.Errorf("a kind without rules is named %q: recorded versions would not be valid any more", name)
	}
	if For(schema.GroupKind{Group: "batch", Kind: "Job"}, Pointers{}, false).String() == For(deployment, Pointers{}, false).String() {
		t.Error("rules of two kinds have one name")
	}
	a := For(deployment, pointers(t, "/a", "/b", "/a"), false)
	b := For(deployment, pointers(t, "/b", "/a"), false)
	if a.String() != b.String() || a.String() == For(deployment, pointers(t, "/a"), false).String() {
		t.Errorf("%q and %q", a, b)
	}
	if a.Conditional() || !a.Drifting() || !For(schema.GroupKind{Kind: "PersistentVolumeClaim"}, Pointers{}, false).Conditional() ||
		For(schema.GroupKind{Kind: "Service"}, Pointers{}, false).Conditional() || For(schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}, Pointers{}, false).Drifting() {
		t.Error("what depends on what was asked for")
	}
}

func TestMalformedPointersAreToldWithTheirPath(t *testing.T) {
	for pointer, want := range map[string]string{
		"spec":                                 "JSON pointer",
		"/":                                    "JSON pointer",
		"":                                     "JSON pointer",
		"/spec//x":                             "empty part",
		"/spec/a~2":                            "~0",
		"/spec/a~":                             "~0",
		"/*":                                   "everything",
		"/kind":                                "identity",
		"/metadata":                            "bookkeeping",
		"/metadata/name":                       "bookkeeping",
		"/metadata/finalizers/*":               "bookkeeping",
		"/metadata/annotations/x":              "propagatingAnnotations",
		"/metadata/labels":                     "/metadata/labels/*",
		"/metadata/labels/kubefed.io~1managed": "out of the plane's hands",
		"/status/x":                            "anyway",
	} {
		_, errs := Parse([]string{"/ok", pointer}, field.NewPath("spec", "retainedFields"))
		if len(errs) != 1 || errs[0].Field != "spec.retainedFields[1]" || !strings.Contains(errs[0].Detail, want) {
			t.Errorf("%q: %v, want %q", pointer, errs, want)
		}
	}
}
