package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/test/harness"
)

const namespace = "bench"

var (
	widgets   = schema.GroupVersionResource{Group: "bench.example.com", Version: "v1", Resource: "widgets"}
	federated = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatedwidgets"}
)

const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.bench.example.com}
spec:
  group: bench.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

const setup = `apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: widgets.bench.example.com, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {group: bench.example.com, version: v1, kind: Widget, pluralName: widgets, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedWidget, pluralName: federatedwidgets, scope: Namespaced}
---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: bench, name: member-1}
spec: {cluster: member-1}
---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: bench, name: member-2}
spec: {cluster: member-2}
`

func (b *bench) open(ctx context.Context) (err error) {
	fmt.Println("starting a plane and two members")
	if b.plane, err = harness.StartPlane(ctx, harness.PlaneOptions{}); err != nil {
		return err
	}
	if b.members, err = harness.StartMembers(ctx, 2); err != nil {
		return err
	}
	if b.onPlane, err = harness.Unbound(b.plane.RestConfig()); err != nil {
		return err
	}
	for _, m := range b.members.Members {
		inside, err := harness.Unbound(m.Config)
		if err != nil {
			return err
		}
		b.inside = append(b.inside, inside)
		if _, err := harness.Kubectl(ctx, m.Kubeconfig, definition, "apply", "-f", "-"); err != nil {
			return err
		}
		if _, err := harness.Kubectl(ctx, m.Kubeconfig, "", "wait", "--for=condition=Established", "crd/widgets.bench.example.com", "--timeout=30s"); err != nil {
			return err
		}
		if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", "cellfed", "join", m.Name, "--member-kubeconfig", m.Kubeconfig); err != nil {
			return err
		}
	}
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, setup, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"wait", "--for=condition=Ready", "units", "--all", "-n", namespace, "--timeout=60s"},
		{"wait", "--for=condition=Served", "ftc", "--all", "-n", "kube-federation-system", "--timeout=60s"},
	} {
		if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", args...); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) close() error {
	var errs []error
	if b.plane != nil {
		errs = append(errs, b.plane.Close())
	}
	if b.members != nil {
		errs = append(errs, b.members.Close())
	}
	return errors.Join(errs...)
}

// fill makes the federated objects, each in the unit of one of the members, and waits until all are told of.
func (b *bench) fill(ctx context.Context) error {
	fmt.Printf("making %d federated objects\n", b.objects)
	began := time.Now()
	const clients = 16
	next, errs := make(chan int), make(chan error, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				if _, err := b.onPlane.Resource(federated).Namespace(namespace).Create(ctx, b.object(i), metav1.CreateOptions{}); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	for i := range b.objects {
		select {
		case next <- i:
		case err := <-errs:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	close(next)
	wg.Wait()
	if err := b.sight.await(ctx, b.objects); err != nil {
		return err
	}
	fmt.Printf("they are in the members after %.0f s\n", time.Since(began).Seconds())
	return nil
}

func name(i int) string { return fmt.Sprintf("w-%d", i) }

func (b *bench) memberOf(i int) int { return i % len(b.inside) }

func (b *bench) object(i int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedWidget",
		"metadata": map[string]any{"namespace": namespace, "name": name(i)},
		"spec": map[string]any{
			"topologyType": "cell",
			"placement":    map[string]any{"clusters": []any{map[string]any{"name": b.members.Members[b.memberOf(i)].Name + ".bench.cell"}}},
			"template":     map[string]any{"spec": map[string]any{"filler": strings.Repeat("x", 512)}},
		},
	}}
}
