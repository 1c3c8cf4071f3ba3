package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/test/harness"
)

var cells = []cell{
	{"rz00a", "hz-1", "acme-prod-a"},
	{"rz01a", "sh-1", "acme-prod"},
	{"rz02a", "sz-1", "acme-prod"},
	{"rz00b", "hz-1", "acme-prod-b"},
}

// firewalled is the member that the plane cannot reach.
const firewalled = "sh-1"

// play walks the story and stops at the first step that does not show what it should.
func play(ctx context.Context, st *stage) error {
	for _, step := range []func(context.Context, *stage) error{
		join, topology, place, gray, widen, disaster, comeBack, rollBack, remove,
	} {
		if err := step(ctx, st); err != nil {
			return err
		}
	}
	st.chapter("Cells × revisions, step by step")
	st.table()
	return nil
}

func join(ctx context.Context, st *stage) error {
	st.chapter("1. Three members join the plane")
	for _, m := range st.members.Members {
		if m.Firewall != "" {
			continue
		}
		if err := st.kubectl(ctx, "cellfed", "join", m.Name, "--member-kubeconfig", m.Kubeconfig); err != nil {
			return err
		}
	}
	if err := dialOut(ctx, st, st.members.Named(firewalled)); err != nil {
		return err
	}
	return st.kubectl(ctx, "get", "kubefedclusters", "-n", "kube-federation-system", "-o", "wide")
}

// dialOut joins a member that the plane cannot reach, through a tunnel that an agent in the member holds open.
func dialOut(ctx context.Context, st *stage, m *harness.Member) error {
	switch m.Firewall {
	case playground.NetworkNamespace:
		st.say("%s can only dial out: it is in a network namespace of its own, into which no way leads.", m.Name)
	case playground.Doorkeeper:
		st.say("%s can only dial out. No network namespace can be made here (root can, or unshare --map-root-user make demo),\n"+
			"so a doorkeeper at its port sends away whoever does not come from inside.", m.Name)
	default:
		st.say("%s has joined like the others: a member that can only dial out needs Linux.", m.Name)
		return nil
	}
	if err := st.kubectl(ctx, "cellfed", "join", m.Name, "--member-kubeconfig", m.Kubeconfig); err == nil {
		return fmt.Errorf("member %s was reached from outside its firewall", m.Name)
	}
	st.right("from outside it cannot be reached")
	st.say("So it joins with a tunnel, from inside, where both the member and the plane can be reached. An agent there dials out.")
	out, err := st.inMember(ctx, m, st.plane.Kubeconfig, "kubectl", "cellfed", "join", m.Name, "--tunnel", "--member-kubeconfig", m.Kubeconfig,
		"--member-endpoint", m.Config.Host, "--agent-dir", filepath.Join(filepath.Dir(m.Kubeconfig), "agent"))
	if err != nil {
		return err
	}
	_, line, found := strings.Cut(out, "\ncellfed-agent ")
	if !found {
		return errors.New("join printed no command line of an agent")
	}
	if err := st.startAgent(m, "cellfed-agent "+line); err != nil {
		return err
	}
	if err := st.kubectl(ctx, "wait", "--for=condition=Ready", "kfc/"+m.Name, "-n", "kube-federation-system", "--timeout=60s"); err != nil {
		return fmt.Errorf("%w; its agent said:\n%s", err, st.agent.LogTail())
	}
	st.right("through its tunnel the plane reaches it")
	return nil
}

func topology(ctx context.Context, st *stage) error {
	st.chapter("2. A tenant's namespace, a federated type, and four cells on three members")
	st.say("rz00a and rz00b live on the same member, each in a namespace of its own.")
	manifest := `apiVersion: v1
kind: Namespace
metadata:
  name: acme-prod
  labels: {tenancy.cellfed.io/tenant: acme, tenancy.cellfed.io/workspace: prod}
---
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: deployments.apps, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {group: apps, version: v1, kind: Deployment, pluralName: deployments, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedDeployment, pluralName: federateddeployments, scope: Namespaced}
`
	for _, c := range cells {
		manifest += fmt.Sprintf(`---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: acme-prod, name: %s}
spec: {cluster: %s, memberNamespace: %s}
`, c.name, c.member, c.memberNamespace)
	}
	if err := st.apply(ctx, manifest); err != nil {
		return err
	}
	for _, wait := range [][]string{
		{"wait", "--for=condition=Ready", "cells", "--all", "-n", "acme-prod", "--timeout=30s"},
		{"wait", "--for=condition=Served", "ftc/deployments.apps", "-n", "kube-federation-system", "--timeout=30s"},
		{"get", "cells", "-n", "acme-prod"},
	} {
		if err := st.kubectl(ctx, wait...); err != nil {
			return err
		}
	}
	return nil
}

// web is the FederatedDeployment with an image, under a mask (nil = none).
func web(image string, mask []string) string {
	m := ""
	if mask != nil {
		m = "  placementMask:\n    topologies: [" + names(mask) + "]\n"
	}
	return fmt.Sprintf(`apiVersion: types.kubefed.io/v2beta1
kind: FederatedDeployment
metadata: {namespace: acme-prod, name: web}
spec:
  topologyType: cell
  placement:
    topologies: [{name: rz00a}, {name: rz01a}, {name: rz02a}, {name: rz00b}]
%s  template:
    metadata: {labels: {app: web}}
    spec:
      replicas: 2
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec: {containers: [{name: web, image: "%s"}]}
  overrides:
  - topologyName: rz00a
    topologyOverrides: [{path: /spec/replicas, value: 3}]
`, m, image)
}

func names(list []string) string {
	var out []string
	for _, n := range list {
		out = append(out, "{name: "+n+"}")
	}
	return strings.Join(out, ", ")
}

// release applies a version and waits with stock kubectl until every writable cell is as asked.
func release(ctx context.Context, st *stage, image string, mask []string) error {
	if err := st.apply(ctx, web(image, mask)); err != nil {
		return err
	}
	return st.kubectl(ctx, "wait", "--for=condition=Propagation", "fdeploy/web", "-n", "acme-prod", "--timeout=30s")
}

func show(ctx context.Context, st *stage) error {
	return st.kubectl(ctx, "cellfed", "status", "fdeploy/web", "-n", "acme-prod")
}

// expect checks in the members themselves which image and generation each cell has.
func expect(ctx context.Context, st *stage, want map[string]string, generations map[string]int64) error {
	for _, c := range cells {
		image, checked := want[c.name]
		if !checked {
			continue
		}
		if err := eventually(ctx, 20*time.Second, "the Deployment of "+c.name, func() error {
			u, err := st.deployment(ctx, c)
			if err != nil {
				return err
			}
			if u == nil {
				return fmt.Errorf("member %s has none", c.member)
			}
			if got := imageOf(u); got != image {
				return fmt.Errorf("it runs %s, want %s", got, image)
			}
			if g := generations[c.name]; g != 0 && u.GetGeneration() != g {
				return fmt.Errorf("it is at generation %d, want %d", u.GetGeneration(), g)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func imageOf(u *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if len(containers) == 0 {
		return ""
	}
	image, _ := containers[0].(map[string]any)["image"].(string)
	return image
}

func place(ctx context.Context, st *stage) error {
	st.chapter("3. The application is placed in all four cells")
	if err := release(ctx, st, "shop/web:1", nil); err != nil {
		return err
	}
	if err := expect(ctx, st, all("shop/web:1"), generations(1, 1, 1, 1)); err != nil {
		return err
	}
	for _, name := range []string{"hz-1", firewalled} {
		m := st.members.Named(name)
		if _, err := st.inMember(ctx, m, m.Kubeconfig, "kubectl", "get", "deployments", "-A", "-l", "kubefed.io/managed=true"); err != nil {
			return err
		}
	}
	st.right("each cell has its Deployment, at generation 1")
	if err := show(ctx, st); err != nil {
		return err
	}
	return st.remember(ctx, "placed")
}

func all(image string) map[string]string {
	return map[string]string{"rz00a": image, "rz01a": image, "rz02a": image, "rz00b": image}
}

func generations(a, b, c, d int64) map[string]int64 {
	return map[string]int64{"rz00a": a, "rz01a": b, "rz02a": c, "rz00b": d}
}

func gray(ctx context.Context, st *stage) error {
	st.chapter("4. Gray release: a new template, under a mask of rz00a only")
	if err := release(ctx, st, "shop/web:2", []string{"rz00a"}); err != nil {
		return err
	}
	want := all("shop/web:1")
	want["rz00a"] = "shop/web:2"
	if err := expect(ctx, st, want, generations(2, 1, 1, 1)); err != nil {
		return err
	}
	if err := show(ctx, st); err != nil {
		return err
	}
	st.right("rz00a's Deployment is at generation 2, the others are at 1: also rz00b's, on the same member")
	return st.remember(ctx, "gray")
}

func widen(ctx context.Context, st *stage) error {
	st.chapter("5. The mask is widened to rz01a")
	if err := release(ctx, st, "shop/web:2", []string{"rz00a", "rz01a"}); err != nil {
		return err
	}
	want := all("shop/web:1")
	want["rz00a"], want["rz01a"] = "shop/web:2", "shop/web:2"
	if err := expect(ctx, st, want, generations(2, 2, 1, 1)); err != nil {
		return err
	}
	if err := show(ctx, st); err != nil {
		return err
	}
	st.right("exactly rz01a was added")
	return st.remember(ctx, "widened")
}

func disaster(ctx context.Context, st *stage) error {
	st.chapter("6. Disaster: member sz-1 is lost, and the release goes on elsewhere")
	if err := st.progress("stopping member sz-1", func() error {
		return st.members.Named("sz-1").Do(ctx, playground.ActionStop)
	}); err != nil {
		return err
	}
	began := time.Now()
	if err := release(ctx, st, "shop/web:3", []string{"rz00a", "rz01a", "rz00b"}); err != nil {
		return err
	}
	took := time.Since(began)
	want := map[string]string{"rz00a": "shop/web:3", "rz01a": "shop/web:3", "rz00b": "shop/web:3"}
	if err := expect(ctx, st, want, map[string]int64{"rz00a": 3, "rz01a": 3, "rz00b": 2}); err != nil {
		return err
	}
	if err := st.kubectl(ctx, "wait", "--for=condition=Offline", "kfc/sz-1", "-n", "kube-federation-system", "--timeout=30s"); err != nil {
		return err
	}
	if err := show(ctx, st); err != nil {
		return err
	}
	const patience = 10 * time.Second
	if took > patience {
		return fmt.Errorf("the release took %s with a member lost: somebody waited for it", took)
	}
	st.right("nobody waited for sz-1: released to the three others in %.1fs", took.Seconds())
	return st.remember(ctx, "disaster")
}

func comeBack(ctx context.Context, st *stage) error {
	st.chapter("7. Member sz-1 is back: unchanged, until the mask admits rz02a")
	if err := st.progress("starting member sz-1", func() error {
		return st.members.Named("sz-1").Do(ctx, playground.ActionStart)
	}); err != nil {
		return err
	}
	if err := st.kubectl(ctx, "wait", "--for=condition=Ready", "kfc/sz-1", "-n", "kube-federation-system", "--timeout=60s"); err != nil {
		return err
	}
	if err := stays(ctx, 3*time.Second, func() error {
		return expect(ctx, st, map[string]string{"rz02a": "shop/web:1"}, map[string]int64{"rz02a": 1})
	}); err != nil {
		return err
	}
	if err := show(ctx, st); err != nil {
		return err
	}
	st.right("rz02a is as it was before the disaster")
	if err := st.remember(ctx, "returned"); err != nil {
		return err
	}
	st.say("Now the mask admits it.")
	if err := release(ctx, st, "shop/web:3", []string{"rz00a", "rz01a", "rz00b", "rz02a"}); err != nil {
		return err
	}
	if err := expect(ctx, st, all("shop/web:3"), generations(3, 3, 2, 2)); err != nil {
		return err
	}
	st.right("rz02a caught up; no other cell was written")
	return st.remember(ctx, "admitted")
}

// stays checks that something holds, again and again for a while.
func stays(ctx context.Context, long time.Duration, holds func() error) error {
	deadline := time.Now().Add(long)
	for time.Now().Before(deadline) {
		if err := holds(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
	return nil
}

func rollBack(ctx context.Context, st *stage) error {
	st.chapter("8. Back to the old template, in rz00a only")
	if err := release(ctx, st, "shop/web:1", []string{"rz00a"}); err != nil {
		return err
	}
	want := all("shop/web:3")
	want["rz00a"] = "shop/web:1"
	if err := expect(ctx, st, want, generations(4, 3, 2, 2)); err != nil {
		return err
	}
	if err := st.remember(ctx, "back"); err != nil {
		return err
	}
	if first, now := st.seen["rz00a"][0], st.seen["rz00a"][len(st.seen["rz00a"])-1]; first != now {
		return fmt.Errorf("rz00a runs revision %s, not its first, %s: equal content must be one revision", now, first)
	}
	if err := show(ctx, st); err != nil {
		return err
	}
	st.right("rz00a runs its first revision again, by the same name")
	return nil
}

func remove(ctx context.Context, st *stage) error {
	st.chapter("9. The application is deleted; the mask does not matter any more")
	if err := st.kubectl(ctx, "delete", "fdeploy/web", "-n", "acme-prod", "--timeout=30s"); err != nil {
		return err
	}
	for _, c := range cells {
		u, err := st.deployment(ctx, c)
		if err != nil {
			return err
		}
		if u != nil {
			return fmt.Errorf("cell %s still has its Deployment", c.name)
		}
	}
	for _, m := range st.members.Members {
		if _, err := st.inMember(ctx, m, m.Kubeconfig, "kubectl", "get", "deployments", "-A", "-l", "kubefed.io/managed=true"); err != nil {
			return err
		}
	}
	st.right("nothing is left in any member")
	return st.remember(ctx, "deleted")
}
