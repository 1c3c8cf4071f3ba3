package propagation

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
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

// keep makes sure that a content is kept as a Revision and is the newest of the object's history, and tells whether
// anything had to be written for it.
func (k *carrier) keep(ctx context.Context, key objectKey, stored *unstructured.Unstructured, o *federated.Object, revision string, content federated.Content) (bool, error) {
	name := federated.RevisionObjectName(o.Kind, o.Name, o.UID, revision)
	there := RevisionMetadata()
	err := k.opts.Cache.Get(ctx, client.ObjectKey{Namespace: revisionNamespace(o), Name: name}, there)
	known := err == nil && there.DeletionTimestamp == nil
	last, just := k.justMade(key, name)
	if known || just {
		if known {
			last.Release = newer(last.Release, released(there))
		}
		return k.renew(ctx, key, o, name, last)
	}
	r, err := newRevision(stored, o, name, revision, content)
	if err != nil {
		return false, err
	}
	err = k.opts.Client.Create(ctx, r)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("creating %s: %w", name, err)
	}
	k.noteMade(key, name, made{at: k.opts.Now(), Release: plan.Release{
		Revision: revision, Template: r.Labels[propagationv1alpha1.RevisionTemplateLabel], Generation: o.Generation}})
	return err == nil, nil
}

// renew makes a revision that is asked for again the newest one of the history. One that no other release came after is
// left as it is: most edits change the mask only.
func (k *carrier) renew(ctx context.Context, key objectKey, o *federated.Object, name string, last made) (bool, error) {
	if last.Generation >= o.Generation {
		return false, nil
	}
	superseded, err := k.superseded(ctx, key, o, last)
	if err != nil || !superseded {
		return false, err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		propagationv1alpha1.RevisionLastGenerationAnnotation: strconv.FormatInt(o.Generation, 10)}}})
	if err != nil {
		return false, fmt.Errorf("encoding a patch: %w", err)
	}
	again := RevisionMetadata()
	again.Namespace, again.Name = revisionNamespace(o), name
	if err := k.opts.Client.Patch(ctx, again, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("renewing %s: %w", name, err)
	}
	last.at, last.Generation = k.opts.Now(), o.Generation
	k.noteMade(key, name, last)
	return true, nil
}

// superseded tells whether another release came after a revision was last asked for.
func (k *carrier) superseded(ctx context.Context, key objectKey, o *federated.Object, last made) (bool, error) {
	all, err := k.revisions(ctx, o)
	if err != nil {
		return false, err
	}
	for i := range all {
		if lastGeneration(&all[i]) > last.Generation && all[i].Labels[propagationv1alpha1.RevisionTemplateLabel] != last.Template {
			return true, nil
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.recorded[key] {
		if m.Generation > last.Generation && m.Template != last.Template {
			return true, nil
		}
	}
	return false, nil
}

// lastGeneration is the newest generation that asked for a revision; for one that does not say, 0.
func lastGeneration(m *metav1.PartialObjectMetadata) int64 {
	generation, err := strconv.ParseInt(m.Annotations[propagationv1alpha1.RevisionLastGenerationAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return generation
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
	shared, err := federated.Content{Template: content.Template}.Revision()
	if err != nil {
		return nil, err
	}
	isController := true
	r := &propagationv1alpha1.Revision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: revisionNamespace(o), Name: name,
			Labels: map[string]string{
				propagationv1alpha1.RevisionOwnerLabel:    o.UID,
				propagationv1alpha1.RevisionHashLabel:     revision,
				propagationv1alpha1.RevisionTemplateLabel: shared,
			},
			Annotations: map[string]string{propagationv1alpha1.RevisionLastGenerationAnnotation: strconv.FormatInt(o.Generation, 10)},
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

// revisions are the revisions of an object, by their metadata. Their maps are the cache's own: read only.
func (k *carrier) revisions(ctx context.Context, o *federated.Object) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(propagationv1alpha1.GroupVersion.WithKind("RevisionList"))
	if err := k.opts.Cache.List(ctx, list, client.InNamespace(revisionNamespace(o)), client.MatchingFields{OwnerUIDIndex: o.UID},
		client.UnsafeDisableDeepCopy); err != nil {
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
	old := surplus(all, needed, k.opts.HistoryLimit)
	for i := range old {
		gone := &old[i]
		gone.SetGroupVersionKind(propagationv1alpha1.GroupVersion.WithKind("Revision"))
		if err := k.opts.Client.Delete(ctx, gone, client.Preconditions{UID: &gone.UID}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing revision %s: %w", gone.Name, err)
		}
	}
	return nil
}

// surplus are the oldest revisions that nobody needs, beyond the history's limit.
func surplus(all []metav1.PartialObjectMetadata, needed map[string]bool, limit int) []metav1.PartialObjectMetadata {
	var old []metav1.PartialObjectMetadata
	for _, m := range all {
		if !needed[m.Labels[propagationv1alpha1.RevisionHashLabel]] {
			old = append(old, m)
		}
	}
	if len(old) <= limit {
		return nil
	}
	sort.Slice(old, func(i, j int) bool {
		if a, b := lastGeneration(&old[i]), lastGeneration(&old[j]); a != b {
			return a < b
		}
		return old[i].CreationTimestamp.Before(&old[j].CreationTimestamp)
	})
	return old[:len(old)-limit]
}

// cacheLag is how long the cache may take to show a revision that was made. After that the cache is believed: what it
// does not have was removed, and is made again.
const cacheLag = 30 * time.Second

// made is what is remembered of a revision that was written just now.
type made struct {
	plan.Release
	at time.Time
}

func (k *carrier) justMade(key objectKey, name string) (made, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := k.recorded[key][name]
	if ok && k.opts.Now().Sub(m.at) > cacheLag {
		delete(k.recorded[key], name)
		return made{}, false
	}
	return m, ok
}

func (k *carrier) noteMade(key objectKey, name string, m made) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.recorded[key] == nil {
		k.recorded[key] = map[string]made{}
	}
	for old, was := range k.recorded[key] {
		if m.at.Sub(was.at) > cacheLag { // the cache has it, and nobody may ask for it again
			delete(k.recorded[key], old)
		}
	}
	k.recorded[key][name] = m
}
