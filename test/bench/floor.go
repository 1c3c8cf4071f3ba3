package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// finalizer stands for the plane's own.
const finalizer = "bench.cellfed.io/floor"

// floor measures one run of plain client-go that makes the writes that CellFed makes.
func (b *bench) floor(ctx context.Context, run int) (map[string]float64, error) {
	out := map[string]float64{}
	name := func(i int) string { return fmt.Sprintf("floor%d-%d", run, i) }
	steps := map[string]func(context.Context, string) error{"create": b.floorCreate, "update": b.floorUpdate, "delete": b.floorDelete}
	for _, phase := range phases {
		var err error
		out[phase], err = timed(func() error {
			return b.each(ctx, func(ctx context.Context, i int) error { return steps[phase](ctx, name(i)) })
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", phase, err)
		}
		fmt.Printf("  floor   %s: %.2fs\n", phase, out[phase])
	}
	// What stands for revisions is removed outside what is measured: CellFed leaves that to the garbage collector.
	return out, b.onPlane.Resource(revisions).Namespace(namespace).DeleteCollection(ctx, metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: "bench.cellfed.io/floor=true"})
}

func (b *bench) floorCreate(ctx context.Context, name string) error {
	plane := b.onPlane.Resource(unpropagated).Namespace(namespace)
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedSecret",
		"metadata": map[string]any{"namespace": namespace, "name": name, "finalizers": []any{finalizer}},
		"spec":     map[string]any{"template": map[string]any{"data": payload("1")}, "placement": map[string]any{"clusters": []any{}}},
	}}
	made, err := plane.Create(ctx, u, createOptions)
	if err != nil {
		return err
	}
	if err := b.floorRevision(ctx, name+"-1"); err != nil {
		return err
	}
	if made, err = b.floorStatus(ctx, made, 1); err != nil { // the record of units
		return err
	}
	if err := b.inMembers(func(m int) error {
		_, err := b.inside[m].Resource(configMaps).Namespace(namespace).Create(ctx, copyOf(name, "1"), createOptions)
		return err
	}); err != nil {
		return err
	}
	_, err = b.floorStatus(ctx, made, 2)
	return err
}

func (b *bench) floorUpdate(ctx context.Context, name string) error {
	plane := b.onPlane.Resource(unpropagated).Namespace(namespace)
	changed, err := plane.Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"template":{"data":{"version":"2"}}}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if err := b.floorRevision(ctx, name+"-2"); err != nil {
		return err
	}
	if err := b.inMembers(func(m int) error {
		_, err := b.inside[m].Resource(configMaps).Namespace(namespace).Update(ctx, copyOf(name, "2"), metav1.UpdateOptions{})
		return err
	}); err != nil {
		return err
	}
	_, err = b.floorStatus(ctx, changed, 3)
	return err
}

func (b *bench) floorDelete(ctx context.Context, name string) error {
	plane := b.onPlane.Resource(unpropagated).Namespace(namespace)
	if err := plane.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := b.inMembers(func(m int) error {
		return b.inside[m].Resource(configMaps).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}); err != nil {
		return err
	}
	_, err := plane.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	return err
}

// floorStatus writes a status of the size of ours.
func (b *bench) floorStatus(ctx context.Context, u *unstructured.Unstructured, version int64) (*unstructured.Unstructured, error) {
	var entries []any
	for _, m := range b.members.Members {
		entries = append(entries, map[string]any{"name": m.Name + ".bench.cell", "revision": "0123456789abcdef", "version": "0123456789abcdef",
			"generation": version, "inventory": true})
	}
	u = u.DeepCopy()
	u.Object["status"] = map[string]any{"observedGeneration": version, "clusters": entries, "conditions": []any{
		map[string]any{"type": "Propagation", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"},
		map[string]any{"type": "Held", "status": "False", "reason": "NothingHeld", "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"},
	}}
	return b.onPlane.Resource(unpropagated).Namespace(namespace).UpdateStatus(ctx, u, metav1.UpdateOptions{})
}

func (b *bench) floorRevision(ctx context.Context, name string) error {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "propagation.cellfed.io/v1alpha1", "kind": "Revision",
		"metadata": map[string]any{"namespace": namespace, "name": name, "labels": map[string]any{"bench.cellfed.io/floor": "true"}},
		"spec":     map[string]any{"of": map[string]any{"kind": "FederatedSecret", "name": name}, "template": map[string]any{"data": payload("1")}},
	}}
	_, err := b.onPlane.Resource(revisions).Namespace(namespace).Create(ctx, u, createOptions)
	return err
}

// copyOf is a member's object of the size of ours.
func copyOf(name, version string) *unstructured.Unstructured {
	owner, _ := json.Marshal(map[string]string{"plane": "00000000-0000-0000-0000-000000000000", "uid": "00000000-0000-0000-0000-000000000000",
		"unit": "member-1.bench.cell", "revision": "0123456789abcdef"})
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": namespace, "name": name, "labels": map[string]any{"floor": "true"},
			"annotations": map[string]any{"cellfed.io/floor": string(owner)}},
		"data": payload(version),
	}}
}

// inMembers does something in all members at once.
func (b *bench) inMembers(do func(member int) error) error {
	errs := make(chan error, len(b.inside))
	for m := range b.inside {
		go func() { errs <- do(m) }()
	}
	var all error
	for range b.inside {
		all = errors.Join(all, <-errs)
	}
	return all
}
