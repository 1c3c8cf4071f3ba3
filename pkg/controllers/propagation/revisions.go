package propagation

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
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

// keep makes sure that a content is kept as a Revision, and tells whether it had to be made.
func (k *carrier) keep(ctx context.Context, key objectKey, stored *unstructured.Unstructured, o *federated.Object, revision string, content federated.Content) (bool, error) {
	name := federated.RevisionObjectName(o.Kind, o.Name, o.UID, revision)
	if k.justMade(key, name) {
		return false, nil
	}
	there := RevisionMetadata()
	err := k.opts.Cache.Get(ctx, client.ObjectKey{Namespace: revisionNamespace(o), Name: name}, there)
	if err == nil && there.DeletionTimestamp == nil {
		return false, nil
	}
	r, err := newRevision(stored, o, name, revision, content)
	if err != nil {
		return false, err
	}
	err = k.opts.Client.Create(ctx, r)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("creating %s: %w", name, err)
	}
	k.noteMade(key, name)
	return err == nil, nil
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

// revisions are the revisions of an object, by their metadata.
func (k *carrier) revisions(ctx context.Context, o *federated.Object) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(propagationv1alpha1.GroupVersion.WithKind("RevisionList"))
	if err := k.opts.Cache.List(ctx, list, client.InNamespace(revisionNamespace(o)), client.MatchingFields{OwnerUIDIndex: o.UID}); err != nil {
		return nil, fmt.Errorf("listing the revisions of %s: %w", o.Name, err)
	}
	return list.Items, nil
}

// hasRevisions tells whether a content of the object was ever kept, and so perhaps written.
func (k *carrier) hasRevisions(ctx context.Context, o *federated.Object) (bool, error) {
	all, err := k.revisions(ctx, o)
	return len(all) > 0, err
}

// prune removes the oldest revisions that no unit runs, or is about to run, beyond the history's limit.
func (k *carrier) prune(ctx context.Context, o *federated.Object, p *plan.Plan) error {
	all, err := k.revisions(ctx, o)
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for revision := range p.Record {
		needed[revision] = true
	}
	for i := range p.Steps {
		needed[p.Steps[i].Revision], needed[p.Steps[i].Want] = true, true
	}
	for _, u := range o.Status.Units {
		needed[u.Revision] = true
	}
	var old []metav1.PartialObjectMetadata
	for _, m := range all {
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
		if err := k.opts.Client.Delete(ctx, gone, client.Preconditions{UID: &gone.UID}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing revision %s: %w", gone.Name, err)
		}
	}
	return nil
}

// cacheLag is how long the cache may take to show a revision that was made. After that the cache is believed: what it
// does not have was removed, and is made again.
const cacheLag = 30 * time.Second

func (k *carrier) justMade(key objectKey, name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	made, ok := k.recorded[key][name]
	if ok && k.opts.Now().Sub(made) > cacheLag {
		delete(k.recorded[key], name)
		return false
	}
	return ok
}

func (k *carrier) noteMade(key objectKey, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.recorded[key] == nil {
		k.recorded[key] = map[string]time.Time{}
	}
	k.recorded[key][name] = k.opts.Now()
}
