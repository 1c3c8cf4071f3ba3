package member

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// viewStore is how the reflector fills a view. It is a type of its own so that a View's users cannot.
type viewStore struct{ v *View }

var _ cache.TransformingStore = viewStore{}

// Add implements cache.ReflectorStore.
func (s viewStore) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s viewStore) Update(obj any) error {
	u, err := stripped(obj)
	if err != nil {
		return err
	}
	s.v.mu.Lock()
	s.v.objects[keyOf(u)] = u
	s.v.mu.Unlock()
	s.v.emit(u.GetNamespace(), u.GetName())
	return nil
}

// Delete implements cache.ReflectorStore.
func (s viewStore) Delete(obj any) error {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("the watch gave a %T", obj)
	}
	s.v.mu.Lock()
	delete(s.v.objects, keyOf(u))
	s.v.mu.Unlock()
	s.v.emit(u.GetNamespace(), u.GetName())
	return nil
}

// Replace implements cache.ReflectorStore: a complete list is there. What differs from what the view held is told.
func (s viewStore) Replace(list []any, _ string) error {
	fresh := make(map[types.NamespacedName]*unstructured.Unstructured, len(list))
	for _, obj := range list {
		u, err := stripped(obj)
		if err != nil {
			return err
		}
		fresh[keyOf(u)] = u
	}
	v := s.v
	v.mu.Lock()
	old, was := v.objects, v.synced
	v.objects, v.synced, v.err, v.failures = fresh, true, nil, 0
	v.listed++
	v.mu.Unlock()
	if !was {
		v.emit("", "")
		return nil
	}
	for key, u := range fresh {
		if before := old[key]; before == nil || before.GetResourceVersion() != u.GetResourceVersion() || before.GetUID() != u.GetUID() {
			v.emit(key.Namespace, key.Name)
		}
	}
	for key := range old {
		if fresh[key] == nil {
			v.emit(key.Namespace, key.Name)
		}
	}
	return nil
}

// Transformer implements cache.TransformingStore, so that a first list is not held in full.
func (s viewStore) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return stripped(obj) }
}

// Resync implements cache.ReflectorStore. Nothing is resynced: events are complete.
func (s viewStore) Resync() error { return nil }

func keyOf(u *unstructured.Unstructured) types.NamespacedName {
	return types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}
}

// stripped drops what nobody in the plane reads and what is often the larger half of an object.
func stripped(obj any) (*unstructured.Unstructured, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("the watch gave a %T", obj)
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	return u, nil
}
