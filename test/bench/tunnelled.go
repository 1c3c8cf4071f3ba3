package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

const federation = "kube-federation-system"

var clusters = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedclusters"}

// agents are those of the members, with what spec.tunnel says of each.
type agents struct {
	dir     string
	running []*process.Process
	tunnels map[string]any // by member
}

// joinTunnelled joins a member through a tunnel and starts its agent, in a process of its own.
func (b *bench) joinTunnelled(ctx context.Context, m *harness.Member) error {
	if b.agents == nil {
		dir, err := os.MkdirTemp("", "cellfed-agents-")
		if err != nil {
			return fmt.Errorf("making a directory for agents: %w", err)
		}
		b.agents = &agents{dir: dir, tunnels: map[string]any{}}
	}
	command, err := b.plane.JoinTunnelled(ctx, m, filepath.Join(b.agents.dir, m.Name))
	if err != nil {
		return err
	}
	agent, err := m.Run("cellfed-agent", filepath.Join(b.agents.dir, m.Name+".log"), command...)
	if err != nil {
		return err
	}
	b.agents.running = append(b.agents.running, agent)
	cluster, err := b.onPlane.Resource(clusters).Namespace(federation).Get(ctx, m.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	tunnel, found, err := unstructured.NestedMap(cluster.Object, "spec", "tunnel")
	if err != nil || !found {
		return fmt.Errorf("member %s was joined without spec.tunnel", m.Name)
	}
	b.agents.tunnels[m.Name] = tunnel
	return nil
}

// cpu is how many seconds of processor time the agents have used.
func (a *agents) cpu() (sum float64, err error) {
	for _, p := range a.running {
		u, err := usage(p.PID())
		if err != nil {
			return 0, err
		}
		sum += u.cpu
	}
	return sum, nil
}

func (a *agents) close() error {
	var errs []error
	for _, p := range a.running {
		errs = append(errs, p.End(syscall.SIGTERM, 30*time.Second))
	}
	return errors.Join(append(errs, os.RemoveAll(a.dir))...)
}

// reach has the plane reach all members through their tunnels, or directly, and returns when it does.
func (b *bench) reach(ctx context.Context, tunnelled bool) error {
	resource := b.onPlane.Resource(clusters).Namespace(federation)
	for _, m := range b.members.Members {
		var tunnel any
		if tunnelled {
			tunnel = b.agents.tunnels[m.Name]
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"tunnel": tunnel}})
		if err != nil {
			return fmt.Errorf("changing how %s is reached: %w", m.Name, err)
		}
		if _, err := resource.Patch(ctx, m.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, m := range b.members.Members {
		for {
			cluster, err := resource.Get(ctx, m.Name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("waiting for %s to be reached: %w", m.Name, err)
			}
			if reached(cluster, tunnelled) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// reached tells whether a member is ready, and has an agent or none.
func reached(cluster *unstructured.Unstructured, tunnelled bool) bool {
	agents, _, _ := unstructured.NestedInt64(cluster.Object, "status", "tunnel", "agents")
	conditions, _, _ := unstructured.NestedSlice(cluster.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		if m["type"] == "Ready" {
			return m["status"] == "True" && (agents > 0) == tunnelled
		}
	}
	return false
}

// way is one way to the members, with what was measured of it.
type way struct {
	name        string
	tunnelled   bool
	phases      map[string]float64 // of the last run
	cpu, agents []float64
	single      []float64
}

// againstDirect measures members behind tunnels and the same members reached directly, in turns. Which is first is another
// in each pair, because a plane remembers more with each run.
func (b *bench) againstDirect(ctx context.Context) (string, error) {
	direct, tunnel := &way{name: "direct"}, &way{name: "tunnel", tunnelled: true}
	f := newFigures(b, "tunnel", "direct")
	for run := range b.runs {
		pair := []*way{direct, tunnel}
		if run%2 == 1 {
			pair = []*way{tunnel, direct}
		}
		for i, w := range pair {
			fmt.Printf("run %d of %d: %s\n", run+1, b.runs, w.name)
			if err := b.oneWay(ctx, w, 2*run+i); err != nil {
				return "", fmt.Errorf("run %d, %s: %w", run+1, w.name, err)
			}
		}
		f.add(tunnel.phases, direct.phases)
	}
	text := f.markdown() + "\n"
	for _, w := range []*way{direct, tunnel} {
		text += fmt.Sprintf("One object, create → visible in all three members, %s: %s.\n", w.name, tail(w.single))
	}
	return text + fmt.Sprintf("CPU seconds per run (median): the plane %.1f directly and %.1f through tunnels, the three agents together %.1f.\n",
		quantile(direct.cpu, 0.5), quantile(tunnel.cpu, 0.5), quantile(tunnel.agents, 0.5)), nil
}

// oneWay takes one run of one way.
func (b *bench) oneWay(ctx context.Context, w *way, run int) error {
	if err := b.reach(ctx, w.tunnelled); err != nil {
		return err
	}
	if _, err := b.single(ctx, 20); err != nil { // until every watch is open again
		return fmt.Errorf("objects before the run: %w", err)
	}
	before, err := b.agents.cpu()
	if err != nil {
		return err
	}
	phases, cpu, err := b.ours(ctx, run)
	if err != nil {
		return err
	}
	after, err := b.agents.cpu()
	if err != nil {
		return err
	}
	single, err := b.single(ctx, b.singles)
	if err != nil {
		return fmt.Errorf("single objects: %w", err)
	}
	w.phases, w.cpu, w.agents, w.single = phases, append(w.cpu, cpu), append(w.agents, after-before), append(w.single, single...)
	return nil
}
