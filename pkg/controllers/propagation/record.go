package propagation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/report"
)

// record makes durable what a plan needs before its first write: the finalizer, the contents of its revisions, and the
// units that may hold a copy from now on. It returns the object as it is afterwards, and whether revisions were made.
func (k *carrier) record(ctx context.Context, key objectKey, stored *unstructured.Unstructured, object *federated.Object, p *plan.Plan,
) (*unstructured.Unstructured, bool, error) {
	made := false
	if p.AddFinalizer {
		var err error
		if stored, err = k.setFinalizers(ctx, key, stored, append(stored.GetFinalizers(), wellknown.SyncFinalizer)); err != nil {
			return nil, false, fmt.Errorf("adding the finalizer: %w", err)
		}
	}
	for revision, content := range p.Record {
		created, err := k.keep(ctx, key, stored, object, revision, content)
		if err != nil {
			return nil, false, fmt.Errorf("keeping revision %s: %w", revision, err)
		}
		made = made || created
	}
	if len(p.Intent) == 0 {
		return stored, made, nil
	}
	in := report.Input{Object: object, Plan: p, Now: k.now(), Health: k.judgesHealth()}
	after, err := k.writeStatus(ctx, key, stored, report.Intent(in))
	if err != nil {
		return nil, false, fmt.Errorf("recording the units: %w", err)
	}
	if e, admitted := report.Admitted(in); admitted {
		k.tell(stored, e)
	}
	return after, made, k.still(ctx, object, p)
}

// still looks once more at the units that were just recorded. One that began to go while it was being recorded may not
// be written: it was told that nobody needs it. Nor may one of the same name that was made anew elsewhere meanwhile: where
// the former was may be somebody else's by now.
func (k *carrier) still(ctx context.Context, o *federated.Object, p *plan.Plan) error {
	now, _, err := k.candidates(ctx, o)
	if err != nil {
		return err
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if slices.Contains(p.Intent, s.Unit) && !slices.ContainsFunc(now, func(u plan.Unit) bool {
			return u.Name == s.Unit && u.Problem == nil && u.NotYours == nil && u.Member == s.Member && u.MemberNamespace == s.MemberNamespace
		}) {
			return errAgain
		}
	}
	return nil
}

// release ends the plane's part in an object of which nothing is left.
func (k *carrier) release(ctx context.Context, key objectKey, stored *unstructured.Unstructured) error {
	var rest []string
	for _, f := range stored.GetFinalizers() {
		if f != wellknown.SyncFinalizer {
			rest = append(rest, f)
		}
	}
	_, err := k.setFinalizers(ctx, key, stored, rest)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("removing the finalizer: %w", err)
	}
	k.forget(key)
	return nil
}

func (k *carrier) setFinalizers(ctx context.Context, key objectKey, stored *unstructured.Unstructured, finalizers []string) (*unstructured.Unstructured, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": stored.GetResourceVersion(), "uid": stored.GetUID(), "finalizers": finalizers}})
	if err != nil {
		return nil, err
	}
	after, err := k.resource(key.Namespace).Patch(ctx, key.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return nil, err
	}
	k.wrote(key, after)
	return after, nil
}

// fieldManager names the plane's own controller in managedFields.
const fieldManager = "cellfed-propagation"

// writeStatus is the one place that writes status. A conflict means that the object is not what was planned for.
func (k *carrier) writeStatus(ctx context.Context, key objectKey, stored *unstructured.Unstructured, status map[string]any) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{Object: make(map[string]any, len(stored.Object))}
	for field, value := range stored.Object {
		u.Object[field] = value
	}
	u.Object["status"] = status
	after, err := k.resource(key.Namespace).UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil, errAgain
	}
	if err != nil {
		return nil, fmt.Errorf("writing status: %w", err)
	}
	k.wrote(key, after)
	return after, nil
}

func same(before any, after map[string]any) bool {
	m, _ := before.(map[string]any)
	return equality.Semantic.DeepEqual(m, after)
}

func (k *carrier) tell(u *unstructured.Unstructured, e report.Event) {
	if k.opts.Recorder == nil {
		return
	}
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	k.opts.Recorder.Eventf(u, nil, kind, e.Reason, "Propagate", "%s", e.Message)
}

// forget drops what is remembered of an object that is gone.
func (k *carrier) forget(key objectKey) {
	k.ledger.Forget(k.ledgerKey(key))
	k.meter.objects.Forget(key.String())
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.recorded, key)
	delete(k.written, key)
	delete(k.waiting, key)
	delete(k.versions, key)
}
