package federatedtype

import (
	"context"
	"fmt"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// ReasonInUse of the condition Ended: the FederatedTypeConfig is being deleted, and objects of its type may hold copies.
const ReasonInUse = "InUse"

// A type in use is looked at again after a quarter of the time that it has been waiting to end, within these bounds.
const minInUsePause, maxInUsePause = 500 * time.Millisecond, 15 * time.Second

// end brings a type whose FederatedTypeConfig is being deleted to its end. While objects of it may hold copies, their
// deletion goes on and nothing else; after that its propagation stops. Its CRD and what others have there stays.
func (r *Reconciler) end(ctx context.Context, stored *corev1beta1.FederatedTypeConfig) (time.Duration, error) {
	if !controllerutil.ContainsFinalizer(stored, wellknown.TypeConfigFinalizer) {
		r.Types.Stop(stored.Name)
		return 0, nil
	}
	n, names, err := r.remaining(ctx, stored)
	if err != nil {
		return 0, fmt.Errorf("looking what is left of %s: %w", stored.Name, err)
	}
	if n > 0 {
		ftc := typeschema.WithDefaults(stored)
		if err := r.Types.Start(ctx, typeConfig(ftc)); err != nil {
			return 0, fmt.Errorf("going on with the deletions of %s: %w", stored.Name, err)
		}
		what := "1 object"
		if n > 1 {
			what = fmt.Sprintf("%d objects", n)
		}
		if n > len(names) {
			names = append(names, fmt.Sprintf("and %d more", n-len(names)))
		}
		pause := min(max(time.Since(stored.DeletionTimestamp.Time)/4, minInUsePause), maxInUsePause)
		return pause, r.report(ctx, stored, false, metav1.Condition{Type: corev1beta1.TypeEnded, Status: metav1.ConditionFalse, Reason: ReasonInUse,
			Message: fmt.Sprintf("%s of the type may have copies in members: %s; the FederatedTypeConfig goes when they are deleted", what, strings.Join(names, ", "))})
	}
	r.Types.Stop(stored.Name)
	controllerutil.RemoveFinalizer(stored, wellknown.TypeConfigFinalizer)
	if err := r.Client.Update(ctx, stored); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("removing the finalizer of FederatedTypeConfig %s: %w", stored.Name, err)
	}
	return 0, nil
}

// remaining is what is left of a type that is the plane's own to carry. A type that KubeFed carries, or whose definition
// is not ours, is not.
func (r *Reconciler) remaining(ctx context.Context, stored *corev1beta1.FederatedTypeConfig) (int, []string, error) {
	ftc := typeschema.WithDefaults(stored)
	if r.Remaining == nil || ftc.Spec.Propagator == corev1beta1.PropagatorKubeFed {
		return 0, nil, nil
	}
	t := typeConfig(ftc)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: t.Federated.GroupResource().String()}, crd); err != nil {
		return 0, nil, client.IgnoreNotFound(err)
	}
	if from, ours := typeschema.IsOurs(crd); !ours || from != ftc.Name {
		return 0, nil, nil
	}
	return r.Remaining(ctx, t.Federated)
}
