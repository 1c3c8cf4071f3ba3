package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"

	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/placement"
)

// history is the revisions of one federated object, newest first.
type history struct {
	Kind         string `json:"kind"`
	Namespace    string `json:"namespace,omitempty"`
	Name         string `json:"name"`
	TopologyType string `json:"topologyType"`
	Generation   int64  `json:"generation"`
	// Unkept is what is asked for and not kept yet, by revision: it was written nowhere.
	Unkept    map[string][]string `json:"unkept,omitempty"`
	Revisions []keptRevision      `json:"revisions"`
}

// keptRevision is one of them, with the units that run it.
type keptRevision struct {
	Revision string `json:"revision"`
	// Template names the template alone: revisions that differ in overrides only share it.
	Template string `json:"template,omitempty"`
	// Generation is the newest one of the object that asked for the revision, FirstGeneration the oldest.
	Generation      int64        `json:"generation,omitempty"`
	FirstGeneration int64        `json:"firstGeneration,omitempty"`
	Created         *metav1.Time `json:"created,omitempty"`
	// Asked: the object as it is now asks for it in some unit.
	Asked     bool          `json:"asked"`
	Overrides int           `json:"overrides"`
	Units     []runningUnit `json:"units,omitempty"`

	kept *unstructured.Unstructured
}

type runningUnit struct {
	Name string `json:"name"`
	Held bool   `json:"held"`
}

// revisionNamespace is where the plane keeps the revisions of an object.
func (t *target) revisionNamespace() string {
	if t.object.Namespace == "" {
		return wellknown.FederationNamespace
	}
	return t.object.Namespace
}

// revisions reads the object's own revisions, newest first.
func (t *target) revisions(ctx context.Context, plane *cluster) ([]keptRevision, error) {
	options := metav1.ListOptions{Limit: 100, LabelSelector: propagationv1alpha1.RevisionOwnerLabel + "=" + t.object.UID}
	var out []keptRevision
	for {
		page, err := plane.dynamic.Resource(revisions).Namespace(t.revisionNamespace()).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing the revisions of %s: %w", t, err)
		}
		for i := range page.Items {
			out = append(out, readRevision(&page.Items[i]))
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			break
		}
	}
	slices.SortFunc(out, func(a, b keptRevision) int {
		switch {
		case a.Generation != b.Generation:
			return int(b.Generation - a.Generation)
		case !a.Created.Equal(b.Created):
			return b.Created.Compare(a.Created.Time)
		}
		return strings.Compare(a.Revision, b.Revision)
	})
	return out, nil
}

func readRevision(u *unstructured.Unstructured) keptRevision {
	created := u.GetCreationTimestamp()
	r := keptRevision{
		Revision: u.GetLabels()[propagationv1alpha1.RevisionHashLabel],
		Template: u.GetLabels()[propagationv1alpha1.RevisionTemplateLabel],
		Created:  &created, kept: u,
	}
	r.FirstGeneration, _, _ = unstructured.NestedInt64(u.Object, "spec", "generation")
	r.Generation = r.FirstGeneration
	if last, err := strconv.ParseInt(u.GetAnnotations()[propagationv1alpha1.RevisionLastGenerationAnnotation], 10, 64); err == nil {
		r.Generation = last
	}
	overrides, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "overrides")
	if l, ok := overrides.([]any); ok {
		r.Overrides = len(l)
	}
	return r
}

// content is what the revision keeps. It must have the hash that names it: what somebody made or changed by hand is not
// believed, as the plane does not believe it.
func (r *keptRevision) content() (*federated.Content, error) {
	raw, err := json.Marshal(r.kept.Object["spec"])
	if err != nil {
		return nil, fmt.Errorf("reading revision %s: %w", r.Revision, err)
	}
	content := &federated.Content{}
	if err := utiljson.Unmarshal(raw, content); err != nil {
		return nil, fmt.Errorf("reading revision %s: %w", r.Revision, err)
	}
	// A revision always has a template, also that of an object without one.
	for _, candidate := range []federated.Content{*content, {Overrides: content.Overrides}} {
		if hash, err := candidate.Revision(); err == nil && hash == r.Revision {
			return &candidate, nil
		}
	}
	return nil, fmt.Errorf("what %s holds is not what its name says: somebody made it by hand, and the plane does not use it either", r.kept.GetName())
}

// find is the revision of a name or of the beginning of one; an error tells what there is.
func (t *target) find(ctx context.Context, plane *cluster, all []keptRevision, name string) (*keptRevision, error) {
	var found []int
	for i := range all {
		if all[i].Revision == name {
			found = []int{i}
			break
		}
		if len(name) >= shortestRevision && strings.HasPrefix(all[i].Revision, name) {
			found = append(found, i)
		}
	}
	switch {
	case len(found) == 1:
		return &all[found[0]], nil
	case len(found) > 1:
		return nil, fmt.Errorf("several revisions of %s begin with %s: %s", t, name, names(all, found))
	}
	if err := t.formerLife(ctx, plane, name); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no revision %s, nor any other: nothing of it was written yet", t, name)
	}
	if len(name) < shortestRevision {
		return nil, fmt.Errorf("%q is too short for a revision of %s: give at least %d characters of its name", name, t, shortestRevision)
	}
	every := make([]int, len(all))
	for i := range all {
		every[i] = i
	}
	return nil, fmt.Errorf("%s has no revision %s. It has, newest first: %s", t, name, names(all, every))
}

// shortestRevision is the least that a revision may be called by.
const shortestRevision = 4

func names(all []keptRevision, indices []int) string {
	var out []string
	for _, i := range indices {
		out = append(out, all[i].Revision)
	}
	return strings.Join(out, ", ")
}

// formerLife is an error if the revision is one of an object of this kind and name that was deleted since.
func (t *target) formerLife(ctx context.Context, plane *cluster, name string) error {
	if len(validation.IsValidLabelValue(name)) > 0 {
		return nil // no revision is called so
	}
	list, err := plane.dynamic.Resource(revisions).Namespace(t.revisionNamespace()).List(ctx, metav1.ListOptions{
		LabelSelector: propagationv1alpha1.RevisionHashLabel + "=" + name})
	if err != nil {
		return fmt.Errorf("looking for revision %s: %w", name, err)
	}
	for i := range list.Items {
		u := &list.Items[i]
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "of", "kind")
		of, _, _ := unstructured.NestedString(u.Object, "spec", "of", "name")
		owner := u.GetLabels()[propagationv1alpha1.RevisionOwnerLabel]
		if kind == t.object.Kind && of == t.object.Name && owner != t.object.UID {
			return fmt.Errorf("revision %s is of a former %s, which was deleted (UID %s; this one is %s): apply its content instead, if you want it: kubectl get revision %s -n %s -o yaml",
				name, t, owner, t.object.UID, u.GetName(), u.GetNamespace())
		}
	}
	return nil
}

// history puts the history together: what is kept, who runs it, and what is asked for now.
func (t *target) history(ctx context.Context, plane *cluster) (*history, error) {
	all, err := t.revisions(ctx, plane)
	if err != nil {
		return nil, err
	}
	o := t.object
	h := &history{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, TopologyType: o.TopologyType, Generation: o.Generation, Revisions: all}
	known := map[string]int{}
	for i := range h.Revisions {
		known[h.Revisions[i].Revision] = i
	}
	for _, u := range o.Status.Units {
		if u.Revision == "" {
			continue
		}
		i, ok := known[u.Revision]
		if !ok { // it runs, and is not kept
			i = len(h.Revisions)
			known[u.Revision] = i
			h.Revisions = append(h.Revisions, keptRevision{Revision: u.Revision})
		}
		h.Revisions[i].Units = append(h.Revisions[i].Units, runningUnit{Name: t.short(u.Name), Held: u.Held})
	}
	placed, err := t.placed(ctx, plane)
	if err != nil {
		return nil, err
	}
	for _, unit := range placed.Names {
		asked, err := o.ContentFor(unit).Revision()
		if err != nil {
			return nil, fmt.Errorf("naming what is asked for in %s: %w", t.short(unit), err)
		}
		if i, ok := known[asked]; ok {
			h.Revisions[i].Asked = true
			continue
		}
		if h.Unkept == nil {
			h.Unkept = map[string][]string{}
		}
		h.Unkept[asked] = append(h.Unkept[asked], t.short(unit))
	}
	return h, nil
}

// placed are the units that the object is placed in now.
func (t *target) placed(ctx context.Context, plane *cluster) (placement.Selected, error) {
	if t.object.Placement.Named || t.object.Placement.Selector == nil {
		return placement.Resolve(t.object.Placement, nil), nil
	}
	all, err := t.candidates(ctx, plane)
	if apierrors.IsForbidden(err) {
		// Who may not read units sees what status tells of them.
		var reported []string
		for _, u := range t.object.Status.Units {
			reported = append(reported, u.Name)
		}
		return placement.Resolve(federated.Selection{Named: true, Names: reported}, nil), nil
	}
	if err != nil {
		return placement.Selected{}, err
	}
	return placement.Resolve(t.object.Placement, all), nil
}
