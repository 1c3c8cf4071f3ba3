package federatedtype

import (
	"context"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// AddTo adds the controller to a manager.
func (r *Reconciler) AddTo(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("federatedtype").
		For(&corev1beta1.FederatedTypeConfig{}).
		Watches(&apiextensionsv1.CustomResourceDefinition{}, handler.EnqueueRequestsFromMapFunc(ofDefinition)).
		WatchesRawSource(source.Func(r.watchMembers)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2}).
		Complete(r)
}

// ofDefinition maps a CRD to the FederatedTypeConfig that it was made from.
func ofDefinition(_ context.Context, o client.Object) []reconcile.Request {
	name, ours := typeschema.IsOurs(o)
	if !ours {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: wellknown.FederationNamespace, Name: name}}}
}

// watchMembers enqueues the types that a change in a member concerns: all when the member came or went, those of the
// kind when a view of it did.
func (r *Reconciler) watchMembers(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	cancel := r.Fleet.Subscribe(func(e member.Event) {
		if e.Name != "" {
			return
		}
		r.answers.forget(e)
		for _, req := range r.concerned(ctx, e) {
			queue.Add(req)
		}
	})
	context.AfterFunc(ctx, cancel)
	return nil
}

func (r *Reconciler) concerned(ctx context.Context, e member.Event) []reconcile.Request {
	list := &corev1beta1.FederatedTypeConfigList{}
	if err := r.Client.List(ctx, list, client.InNamespace(wellknown.FederationNamespace)); err != nil {
		if ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "Listing federated types failed; they look at their members at their next change")
		}
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if e.GVR.Empty() || typeConfig(typeschema.WithDefaults(&list.Items[i])).Target == e.GVR {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}
