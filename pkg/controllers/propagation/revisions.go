package propagation

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
)

// OwnerUIDIndex is the name of the cache index of revisions by their federated object's UID.
const OwnerUIDIndex = "propagation.cellfed.io/owner-uid"

// RevisionMetadata is the kind under which the cache has revisions: their contents are read when they are needed.
func RevisionMetadata() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(propagationv1alpha1.GroupVersion.WithKind("Revision"))
	return m
}

// IndexOwnerUID is the index function of OwnerUIDIndex.
func IndexOwnerUID(o client.Object) []string {
	return []string{o.GetLabels()[propagationv1alpha1.RevisionOwnerLabel]}
}

// revisionNamespace is where the revisions of a federated object live.
func revisionNamespace(o *federated.Object) string {
	if o.Namespace == "" {
		return wellknown.FederationNamespace
	}
	return o.Namespace
}

// keep makes sure that a content is kept as a Revision.
func (k *carrier) keep(ctx context.Context, stored *unstructured.Unstructured, o *federated.Object, revision string, content federated.Content) error {
	if k.isRecorded(o.UID, revision) {
		return nil
	}
	name := federated.RevisionObjectName(o.Kind, o.Name, o.UID, revision)
	there := RevisionMetadata()
	err := k.opts.Cache.Get(ctx, client.ObjectKey{Namespace: revisionNamespace(o), Name: name}, there)
	if err == nil && there.DeletionTimestamp == nil {
		k.noteRecorded(o.UID, revision)
		return nil
	}
	r, err := newRevision(stored, o, name, revision, content)
	if err != nil {
		return err
	}
	err = k.opts.Client.Create(ctx, r)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	k.noteRecorded(o.UID, revision)
	return k.prune(ctx, o, revision)
}

func newRevision(stored *unstructured.Unstructured, o *federated.Object, name, revision string, content federated.Content) (*propagationv1alpha1.Revision, error) {
	template := content.Template
	if template == nil {
		template = map[string]any{}
	}
	raw, err := json.Marshal(template)
	if err != nil {
		return nil, fmt.Errorf("encoding the template: %w", err)
	}
	isController := true
	r := &propagationv1alpha1.Revision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: revisionNamespace(o), Name: name,
			Labels: map[string]string{
				propagationv1alpha1.RevisionOwnerLabel: o.UID,
				propagationv1alpha1.RevisionHashLabel:  revision,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: stored.GetAPIVersion(), Kind: stored.GetKind(), Name: o.Name, UID: stored.GetUID(), Controller: &isController,
			}},
		},
		Spec: propagationv1alpha1.RevisionSpec{
			Of:         propagationv1alpha1.RevisionOf{Kind: o.Kind, Name: o.Name},
			Generation: o.Generation,
			Template:   runtime.RawExtension{Raw: raw},
		},
	}
	if len(content.Overrides) > 0 {
		raw, err := json.Marshal(content.Overrides)
		if err != nil {
			return nil, fmt.Errorf("encoding the overrides: %w", err)
		}
		r.Spec.Overrides = &runtime.RawExtension{Raw: raw}
	}
	return r, nil
}

// content reads a revision's content; nil = nobody has it. What is read must have the name's hash: a revision that
// somebody made by hand is not believed.
func (k *carrier) content(ctx context.Context, o *federated.Object, revision string) (*federated.Content, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(propagationv1alpha1.GroupVersion.WithKind("Revision"))
	name := federated.RevisionObjectName(o.Kind, o.Name, o.UID, revision)
	resource := k.opts.Dynamic.Resource(propagationv1alpha1.GroupVersion.WithResource("revisions")).Namespace(revisionNamespace(o))
	u, err := resource.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading revision %s: %w", name, err)
	}
	raw, err := json.Marshal(u.Object["spec"])
	if err != nil {
		return nil, fmt.Errorf("reading revision %s: %w", name, err)
	}
	content := &federated.Content{}
	if err := utiljson.Unmarshal(raw, content); err != nil {
		return nil, fmt.Errorf("reading revision %s: %w", name, err)
	}
	for _, candidate := range []federated.Content{*content, {Overrides: content.Overrides}} {
		if hash, err := candidate.Revision(); err == nil && hash == revision {
			return &candidate, nil
		}
	}
	return nil, nil
}

// prune removes the oldest revisions that no unit runs, beyond the history's limit.
func (k *carrier) prune(ctx context.Context, o *federated.Object, latest string) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(propagationv1alpha1.GroupVersion.WithKind("RevisionList"))
	if err := k.opts.Cache.List(ctx, list, client.InNamespace(revisionNamespace(o)), client.MatchingFields{OwnerUIDIndex: o.UID}); err != nil {
		return fmt.Errorf("listing the revisions of %s: %w", o.Name, err)
	}
	needed := map[string]bool{latest: true}
	for _, u := range o.Status.Units {
		needed[u.Revision] = true
		if hash, err := o.ContentFor(u.Name).Revision(); err == nil {
			needed[hash] = true
		}
	}
	var old []metav1.PartialObjectMetadata
	for _, m := range list.Items {
		if !needed[m.Labels[propagationv1alpha1.RevisionHashLabel]] {
			old = append(old, m)
		}
	}
	if len(old) <= k.opts.HistoryLimit {
		return nil
	}
	sort.Slice(old, func(i, j int) bool { return old[i].CreationTimestamp.Before(&old[j].CreationTimestamp) })
	for i := range old[:len(old)-k.opts.HistoryLimit] {
		gone := &old[i]
		gone.SetGroupVersionKind(propagationv1alpha1.GroupVersion.WithKind("Revision"))
		k.dropRecorded(o.UID, gone.Labels[propagationv1alpha1.RevisionHashLabel])
		if err := k.opts.Client.Delete(ctx, gone, client.Preconditions{UID: &gone.UID}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing revision %s: %w", gone.Name, err)
		}
	}
	return nil
}

func (k *carrier) isRecorded(uid, revision string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.recorded[uid][revision]
}

func (k *carrier) noteRecorded(uid, revision string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.recorded[uid] == nil {
		k.recorded[uid] = map[string]bool{}
	}
	k.recorded[uid][revision] = true
}

func (k *carrier) dropRecorded(uid, revision string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.recorded[uid], revision)
}
