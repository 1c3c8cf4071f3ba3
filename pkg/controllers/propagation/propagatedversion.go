package propagation

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	kubefedv1alpha1 "sigs.k8s.io/kubefed/pkg/apis/core/v1alpha1"

	corev1alpha1 "github.com/cellfed/cellfed/pkg/apis/core/v1alpha1"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/propagatedversion"
)

// noteVersions keeps KubeFed's PropagatedVersion of an object, for tools that read it, while the gate is on. It comes after
// status, is written only when it changes, and nothing in the plane ever reads it to decide anything.
func (k *carrier) noteVersions(ctx context.Context, key objectKey, stored *unstructured.Unstructured, o *federated.Object,
	p *plan.Plan, results map[string]plan.Result,
) error {
	if o.Deleting || p.Stopped != nil || !k.gates().Enabled(features.PropagatedVersions) {
		return nil
	}
	template, err := propagatedversion.Template(stored.Object)
	if err != nil {
		return err
	}
	overrides, err := propagatedversion.Overrides(stored.Object)
	if err != nil {
		return err
	}
	before, err := k.versionObject(ctx, key, o)
	if err != nil {
		return err
	}
	noted := kubefedv1alpha1.PropagatedVersionStatus{}
	if before != nil {
		// What a tool or a person wrote there is no reason to stop: it is written anew.
		raw, _, _ := unstructured.NestedMap(before.Object, "status")
		if runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &noted) != nil {
			noted = kubefedv1alpha1.PropagatedVersionStatus{}
		}
	}
	var last []kubefedv1alpha1.ClusterObjectVersion
	if noted.TemplateVersion == template && noted.OverrideVersion == overrides {
		last = noted.ClusterVersions
	}
	now := propagatedversion.Status(template, overrides, versionsNow(last, p, results))
	if before != nil && equality.Semantic.DeepEqual(noted, now) {
		return nil
	}
	return k.writeVersions(ctx, key, stored, o, before, now)
}

// versionsNow are the versions by cluster: what the last writes made, and where there was none what is there. Clusters
// that are placed and cannot be asked keep what was noted for the same template and overrides.
func versionsNow(last []kubefedv1alpha1.ClusterObjectVersion, p *plan.Plan, results map[string]plan.Result) map[string]string {
	noted := make(map[string]string, len(last))
	for _, v := range last {
		noted[v.ClusterName] = v.Version
	}
	versions := map[string]string{}
	for i := range p.Steps {
		s := &p.Steps[i]
		before := noted[s.Unit]
		switch r := results[s.Unit]; {
		case !s.Placed:
		case (s.Action == plan.Create || s.Action == plan.Update) && r.Outcome == plan.Done:
			if s.Revision == s.Want {
				versions[s.Unit] = propagatedversion.Of(r.Object)
			}
		case s.Action == plan.Keep && s.Revision == s.Want && !(strings.HasPrefix(before, "rv:") && s.Observed.GetGeneration() == 0):
			versions[s.Unit] = propagatedversion.Of(s.Observed)
		case before != "":
			versions[s.Unit] = before
		}
	}
	return versions
}

// versionResource is where an object's version object is: in its namespace, or nowhere for cluster-scoped ones.
func (k *carrier) versionResource(key objectKey) (resource dynamic.ResourceInterface, kind string) {
	if key.Namespace == "" {
		return k.opts.Dynamic.Resource(corev1alpha1.GroupVersion.WithResource("clusterpropagatedversions")), "ClusterPropagatedVersion"
	}
	return k.opts.Dynamic.Resource(corev1alpha1.GroupVersion.WithResource("propagatedversions")).Namespace(key.Namespace), "PropagatedVersion"
}

// versionObject is the version object as it was last written or read; nil = there is none.
func (k *carrier) versionObject(ctx context.Context, key objectKey, o *federated.Object) (*unstructured.Unstructured, error) {
	k.mu.Lock()
	known := k.versions[key]
	k.mu.Unlock()
	if known != nil {
		return known, nil
	}
	resource, _ := k.versionResource(key)
	u, err := resource.Get(ctx, propagatedversion.Name(k.typ.TargetKind, o.Name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the version object: %w", err)
	}
	for _, owner := range u.GetOwnerReferences() {
		if string(owner.UID) == o.UID {
			return u, nil
		}
	}
	// It is an earlier object's of this name, and would be collected with whatever is written into it.
	uid := u.GetUID()
	err = resource.Delete(ctx, u.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("removing the version object of an earlier %s: %w", o.Name, err)
	}
	return nil, nil
}

func (k *carrier) writeVersions(ctx context.Context, key objectKey, stored *unstructured.Unstructured, o *federated.Object,
	before *unstructured.Unstructured, now kubefedv1alpha1.PropagatedVersionStatus,
) error {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&now)
	if err != nil {
		return fmt.Errorf("encoding the version object: %w", err)
	}
	resource, kind := k.versionResource(key)
	options := metav1.UpdateOptions{FieldManager: fieldManager}
	if before == nil {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion(corev1alpha1.GroupVersion.String())
		u.SetKind(kind)
		u.SetName(propagatedversion.Name(k.typ.TargetKind, o.Name))
		u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: stored.GetAPIVersion(), Kind: stored.GetKind(), Name: stored.GetName(), UID: stored.GetUID()}})
		if before, err = resource.Create(ctx, u, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
			return fmt.Errorf("creating the version object: %w", err)
		}
	}
	u := before.DeepCopy()
	u.Object["status"] = status
	after, err := resource.UpdateStatus(ctx, u, options)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		delete(k.versions, key) // somebody else wrote it, or removed it: it is read again
		return fmt.Errorf("writing the version object: %w", err)
	}
	after.SetManagedFields(nil)
	k.versions[key] = after
	return nil
}
