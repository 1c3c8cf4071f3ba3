package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

var createOptions = metav1.CreateOptions{}

// payload is 1 KiB that names its version.
func payload(version string) map[string]any {
	return map[string]any{"version": version, "filler": strings.Repeat("x", 1024)}
}

func (b *bench) placement() map[string]any {
	var units []any
	for _, m := range b.members.Members {
		units = append(units, map[string]any{"name": m.Name})
	}
	return map[string]any{"topologies": units}
}

func (b *bench) object(name, version string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "types.kubefed.io/v2beta1", "kind": "FederatedConfigMap",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"topologyType": "cell", "placement": b.placement(),
			"template": map[string]any{"data": payload(version)},
		},
	}}
}

// ours measures one run of CellFed: until all members have, or have no more, what was asked. It returns the seconds of each
// phase, and the seconds of processor time that the plane used.
func (b *bench) ours(ctx context.Context, run int) (map[string]float64, float64, error) {
	out := map[string]float64{}
	name := func(i int) string { return fmt.Sprintf("run%d-%d", run, i) }
	resource := b.onPlane.Resource(federated).Namespace(namespace)
	before, err := usage(b.plane.PID())
	if err != nil {
		return nil, 0, err
	}
	steps := map[string]func(ctx context.Context, i int) error{
		"create": func(ctx context.Context, i int) error {
			_, err := resource.Create(ctx, b.object(name(i), "1"), createOptions)
			return err
		},
		"update": func(ctx context.Context, i int) error {
			patch := []byte(`{"spec":{"template":{"data":{"version":"2"}}}}`)
			_, err := resource.Patch(ctx, name(i), types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		},
		"delete": func(ctx context.Context, i int) error {
			return resource.Delete(ctx, name(i), metav1.DeleteOptions{})
		},
	}
	want := map[string]string{"create": "1", "update": "2", "delete": ""}
	for _, phase := range phases {
		out[phase], err = timed(func() error {
			if err := b.each(ctx, steps[phase]); err != nil {
				return err
			}
			return b.await(ctx, name, want[phase])
		})
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", phase, err)
		}
		if err := b.settle(ctx, phase == "delete"); err != nil {
			return nil, 0, fmt.Errorf("after %s: %w", phase, err)
		}
		fmt.Printf("  CellFed %s: %.2fs\n", phase, out[phase])
	}
	after, err := usage(b.plane.PID())
	if err != nil {
		return nil, 0, err
	}
	return out, after.cpu - before.cpu, nil
}

// await waits until every member shows a version of every object; "" = none.
func (b *bench) await(ctx context.Context, name func(int) string, version string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, s := range b.sights {
		for i := range b.objects {
			if err := s.Await(ctx, name(i), version); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle waits, outside what is measured, until the plane has told what it found, or has forgotten the objects: the
// next phase must not pay for this one.
func (b *bench) settle(ctx context.Context, gone bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		list, err := b.onPlane.Resource(federated).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		open := 0
		for i := range list.Items {
			if gone || !told(&list.Items[i]) {
				open++
			}
		}
		if open == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d objects are not told of: %w", open, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func told(u *unstructured.Unstructured) bool {
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		m := c.(map[string]any)
		if m["type"] == "Propagation" && m["status"] == "True" {
			return observed == u.GetGeneration()
		}
	}
	return false
}

// single measures so many objects, one at a time, in milliseconds: create → visible in all members.
func (b *bench) single(ctx context.Context, objects int) (all []float64, err error) {
	resource := b.onPlane.Resource(federated).Namespace(namespace)
	for i := range objects {
		name := fmt.Sprintf("single-%d", i)
		took, err := timed(func() error {
			if _, err := resource.Create(ctx, b.object(name, "1"), createOptions); err != nil {
				return err
			}
			for _, s := range b.sights {
				if err := s.Await(ctx, name, "1"); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, took*1000)
	}
	for i := range objects {
		if err := resource.Delete(ctx, fmt.Sprintf("single-%d", i), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	return all, b.settle(ctx, true)
}
