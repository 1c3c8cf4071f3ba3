package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/test/bench/sight"
	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

const namespace = "bench"

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	federated  = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federatedconfigmaps"}
	// unpropagated is a federated type that nobody carries: the floor's stand-in for the writes on the plane.
	unpropagated = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatedsecrets"}
	revisions    = schema.GroupVersionResource{Group: "propagation.cellfed.io", Version: "v1alpha1", Resource: "revisions"}
)

type bench struct {
	objects, clients, runs, singles int
	write                           string
	tunnel                          bool

	plane   *harness.Plane
	members *harness.MemberSet
	onPlane dynamic.Interface
	inside  []dynamic.Interface
	sights  []*sight.Sight
	agents  *agents // with tunnel
}

// phases are what is measured, in order.
var phases = []string{"create", "update", "delete"}

func (b *bench) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	measure := b.againstFloor
	if b.tunnel {
		measure = b.againstDirect
	}
	text, err := measure(ctx)
	if err != nil {
		return err
	}
	fmt.Print(text)
	if b.write != "" {
		return os.WriteFile(b.write, []byte(text), 0o644)
	}
	return nil
}

// againstFloor measures CellFed and the floor in turns.
func (b *bench) againstFloor(ctx context.Context) (string, error) {
	f := newFigures(b, "CellFed", "floor")
	for run := range b.runs {
		fmt.Printf("run %d of %d\n", run+1, b.runs)
		ours, cpu, err := b.ours(ctx, run)
		if err != nil {
			return "", fmt.Errorf("run %d: %w", run+1, err)
		}
		floor, err := b.floor(ctx, run)
		if err != nil {
			return "", fmt.Errorf("run %d of the floor: %w", run+1, err)
		}
		f.add(ours, floor)
		f.cpu = append(f.cpu, cpu)
	}
	single, err := b.single(ctx, b.singles)
	if err != nil {
		return "", fmt.Errorf("single objects: %w", err)
	}
	plane, err := usage(b.plane.PID())
	if err != nil {
		return "", err
	}
	return f.markdown() + fmt.Sprintf("\nOne object, create → visible in all three members: %s.\n"+
		"The plane used %.1f CPU seconds per run of CellFed (median: create, update and delete of all objects), and %d MiB of memory at its peak.\n",
		tail(single), quantile(f.cpu, 0.5), plane.peak>>20), nil
}

func (b *bench) open(ctx context.Context) (err error) {
	fmt.Println("starting a plane and three members")
	options := harness.PlaneOptions{}
	if b.tunnel {
		port, err := process.FreePort("127.0.0.1")
		if err != nil {
			return err
		}
		options.Args = []string{fmt.Sprintf("--tunnel-port=%d", port)}
	}
	if b.plane, err = harness.StartPlane(ctx, options); err != nil {
		return err
	}
	if b.members, err = harness.StartMembers(ctx, 3); err != nil {
		return err
	}
	if b.onPlane, err = harness.Unbound(b.plane.RestConfig()); err != nil {
		return err
	}
	manifest := setup
	for _, m := range b.members.Members {
		inside, err := harness.Unbound(m.Config)
		if err != nil {
			return err
		}
		b.inside = append(b.inside, inside)
		if err := b.join(ctx, m); err != nil {
			return err
		}
		manifest += fmt.Sprintf(unit, m.Name, m.Name)
		s, err := sight.Watch(ctx, inside, namespace)
		if err != nil {
			return err
		}
		b.sights = append(b.sights, s)
		ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}}}
		if _, err := inside.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(ctx, ns, createOptions); err != nil {
			return err
		}
	}
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"wait", "--for=condition=Ready", "units", "--all", "-n", namespace, "--timeout=30s"},
		{"wait", "--for=condition=Served", "ftc", "--all", "-n", "kube-federation-system", "--timeout=30s"},
	} {
		if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", args...); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) join(ctx context.Context, m *harness.Member) error {
	if b.tunnel {
		return b.joinTunnelled(ctx, m)
	}
	_, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", "cellfed", "join", m.Name, "--member-kubeconfig", m.Kubeconfig)
	return err
}

const setup = `apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: configmaps, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {version: v1, kind: ConfigMap, pluralName: configmaps, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedConfigMap, pluralName: federatedconfigmaps, scope: Namespaced}
---
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: secrets, namespace: kube-federation-system}
spec:
  propagation: Disabled
  targetType: {version: v1, kind: Secret, pluralName: secrets, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedSecret, pluralName: federatedsecrets, scope: Namespaced}
`

const unit = `---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: bench, name: %s}
spec: {cluster: %s}
`

func (b *bench) close() error {
	var errs []error
	if b.agents != nil {
		errs = append(errs, b.agents.close())
	}
	if b.plane != nil {
		errs = append(errs, b.plane.Close())
	}
	if b.members != nil {
		errs = append(errs, b.members.Close())
	}
	return errors.Join(errs...)
}

// each does something for every object, with as many clients as the benchmark has.
func (b *bench) each(ctx context.Context, do func(ctx context.Context, i int) error) error {
	next := make(chan int)
	errs := make([]error, b.clients)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for c := range b.clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				if err := do(ctx, i); err != nil {
					errs[c] = err
					cancel()
					return
				}
			}
		}()
	}
feed:
	for i := range b.objects {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// timed runs a phase and returns its seconds.
func timed(do func() error) (float64, error) {
	began := time.Now()
	err := do()
	return time.Since(began).Seconds(), err
}
