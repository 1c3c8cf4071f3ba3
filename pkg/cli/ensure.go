package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"
)

// outcome is what ensure did, in kubectl's words.
type outcome string

const (
	created   outcome = "created"
	updated   outcome = "updated"
	unchanged outcome = "unchanged"
)

// errGoing says that an object of the name is being deleted: what is written into it, or below it, goes with it.
var errGoing = errors.New("it is being deleted")

// ensure makes an artefact, or brings the one that is there to what it should say. It leaves alone what others wrote
// into it, and refuses to touch an object that no join of this member made.
func ensure(ctx context.Context, c *cluster, a artefact) (outcome, error) {
	client := c.dynamic.Resource(a.gvr).Namespace(a.object.GetNamespace())
	result := unchanged
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		current, err := client.Get(ctx, a.object.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = client.Create(ctx, a.object, metav1.CreateOptions{})
			result = created
			return err
		}
		if err != nil {
			return err
		}
		if current.GetDeletionTimestamp() != nil {
			return errGoing
		}
		if a.shared {
			return nil
		}
		if err := mayTakeOver(a, current); err != nil {
			return err
		}
		wanted := current.DeepCopy()
		merge(wanted, a.object)
		if equality.Semantic.DeepEqual(wanted.Object, current.Object) {
			return nil
		}
		result = updated
		if a.gvr == clusterRoleBindings && !equality.Semantic.DeepEqual(wanted.Object["roleRef"], current.Object["roleRef"]) {
			return replace(ctx, client, current, a.object)
		}
		_, err = client.Update(ctx, wanted, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("making %s: %w", a, err)
	}
	return result, nil
}

// mayTakeOver refuses objects that only happen to have the name. KubeFedClusters are guarded by the member's identity
// instead: users also write them by hand, and KubeFed's join made them without marks.
func mayTakeOver(a artefact, current *unstructured.Unstructured) error {
	want, have := a.object.GetLabels(), current.GetLabels()
	switch {
	case a.gvr == kubeFedClusters:
		return nil
	case have[madeByLabel] != madeByJoin && a.gvr == clusterRoles:
		return fmt.Errorf("it is there and was not made by join: use it as it is with --member-role=%s, or remove it", current.GetName())
	case have[joinedAsLabel] != want[joinedAsLabel]:
		return fmt.Errorf("it is there and was not made by joining %q: remove it or join under another name", want[joinedAsLabel])
	case have[planeLabel] != "" && want[planeLabel] != "" && have[planeLabel] != want[planeLabel]:
		return fmt.Errorf("another plane (%s) has joined this member under the same name: join under another name", have[planeLabel])
	}
	return nil
}

// merge writes into current what wanted says: labels and annotations key by key, a spec field by field, all other
// fields whole.
func merge(current, wanted *unstructured.Unstructured) {
	current.SetLabels(union(current.GetLabels(), wanted.GetLabels()))
	current.SetAnnotations(union(current.GetAnnotations(), wanted.GetAnnotations()))
	for field, value := range wanted.Object {
		switch field {
		case "apiVersion", "kind", "metadata", "status":
		case "spec":
			spec, _, _ := unstructured.NestedMap(current.Object, "spec")
			if spec == nil {
				spec = map[string]any{}
			}
			maps.Copy(spec, value.(map[string]any))
			if wanted.GetKind() == "KubeFedCluster" {
				leaveFormerWay(spec, value.(map[string]any))
			}
			current.Object["spec"] = spec
		default:
			current.Object[field] = value
		}
	}
}

// leaveFormerWay takes away what belongs to another way of reaching a member than the wanted one.
func leaveFormerWay(spec, wanted map[string]any) {
	_, was := spec["tunnel"]
	_, is := wanted["tunnel"]
	if !is {
		delete(spec, "tunnel")
	}
	if is || was {
		for _, field := range []string{"proxyURL", "caBundle", "disabledTLSValidations"} {
			if _, said := wanted[field]; !said {
				delete(spec, field)
			}
		}
	}
}

func union(have, want map[string]string) map[string]string {
	if len(have)+len(want) == 0 {
		return nil
	}
	out := maps.Clone(want)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range have {
		if _, said := want[k]; !said {
			out[k] = v
		}
	}
	return out
}

// replace deletes and makes anew, for fields that cannot be changed.
func replace(ctx context.Context, client dynamic.ResourceInterface, current, wanted *unstructured.Unstructured) error {
	uid := current.GetUID()
	if err := client.Delete(ctx, current.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil {
		return err
	}
	_, err := client.Create(ctx, wanted, metav1.CreateOptions{})
	return err
}
