package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// fieldManager names the plane in the members' managedFields.
const fieldManager = "cellfed"

// performSafely turns a panic into a failure of the one step that caused it.
func performSafely(ctx context.Context, gvr schema.GroupVersionResource, step *plan.Step, conn Connection) (result plan.Result) {
	defer func() {
		if p := recover(); p != nil {
			result = failure(fmt.Errorf("panic: %v", p), plan.CodeComputeResourceFailed, plan.CodeComputeResourceFailed, step)
		}
	}()
	return perform(ctx, gvr, step, conn)
}

// perform makes the one call that a step asks for.
func perform(ctx context.Context, gvr schema.GroupVersionResource, step *plan.Step, conn Connection) plan.Result {
	resource := dynamic.ResourceInterface(conn.Dynamic().Resource(gvr))
	if step.Namespace != "" {
		resource = conn.Dynamic().Resource(gvr).Namespace(step.Namespace)
	}
	switch step.Action {
	case plan.Create:
		return create(ctx, step, conn, resource)
	case plan.Update:
		return update(ctx, step, resource)
	case plan.Delete:
		return remove(ctx, gvr, step, conn)
	case plan.Orphan:
		return orphan(ctx, step, resource)
	case plan.Confirm:
		return confirm(ctx, step, resource)
	default:
		return plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: plan.CodeComputeResourceFailed, Message: "no such action: " + string(step.Action)}}
	}
}

func create(ctx context.Context, step *plan.Step, conn Connection, resource dynamic.ResourceInterface) plan.Result {
	options := metav1.CreateOptions{FieldManager: fieldManager}
	made, err := resource.Create(ctx, step.Object, options)
	if apierrors.IsNotFound(err) && step.Namespace != "" {
		var failed *plan.Result
		if failed = ensureNamespace(ctx, step, conn); failed != nil {
			return *failed
		}
		made, err = resource.Create(ctx, step.Object, options)
	}
	switch {
	case err == nil:
		return plan.Result{Outcome: plan.Done, Object: strip(made)}
	case apierrors.IsAlreadyExists(err):
		r := look(ctx, step, resource)
		if r.Outcome == plan.Stale { // gone by now, or never there: a member that says both for ever must not be asked for ever
			r.Why = failure(err, plan.CodeCreationFailed, plan.CodeCreationTimedOut, step).Why
		}
		return r
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		err = fmt.Errorf("namespace %s is being deleted there; the copy is made again when that has ended: %w", step.Namespace, err)
	}
	return failure(err, plan.CodeCreationFailed, plan.CodeCreationTimedOut, step)
}

// ensureNamespace makes the member namespace of a unit, and says on it for whom: a FederatedNamespace that means this
// very place takes it over. Nothing else ever removes it: others may have moved in.
func ensureNamespace(ctx context.Context, step *plan.Step, conn Connection) *plan.Result {
	name := step.Namespace
	ns := &unstructured.Unstructured{}
	ns.SetAPIVersion("v1")
	ns.SetKind("Namespace")
	ns.SetName(name)
	ns.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "cellfed"})
	if maker, ok := federated.ReadOwner(step.Object.GetAnnotations()[wellknown.OwnerAnnotation]); ok {
		maker.Revision = ""
		ns.SetAnnotations(map[string]string{wellknown.MadeForAnnotation: maker.String()})
	}
	namespaces := conn.Dynamic().Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	_, err := namespaces.Create(ctx, ns, metav1.CreateOptions{FieldManager: fieldManager})
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	r := failure(fmt.Errorf("making namespace %s: %w", name, err), plan.CodeCreationFailed, plan.CodeCreationTimedOut, nil)
	return &r
}

// update puts the object in place of the one that was seen. What changed meanwhile is written again only as far as it
// is the plane's.
func update(ctx context.Context, step *plan.Step, resource dynamic.ResourceInterface) plan.Result {
	made, err := resource.Update(ctx, step.Object, metav1.UpdateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		return plan.Result{Outcome: plan.Done, Object: strip(made)}
	case apierrors.IsConflict(err):
		return rebase(ctx, step, resource, err)
	case apierrors.IsNotFound(err):
		return lookInstead(ctx, step, resource, err)
	}
	return failure(err, plan.CodeUpdateFailed, plan.CodeUpdateTimedOut, step)
}

// rebases is how often a write is made anew of a copy that keeps changing before the next plan judges it.
const rebases = 5

// rebase makes the write anew of the copy as it is now, as a patch of the differences: somebody who writes a hundred
// times a second would let no PUT through. A patch that finds the copy changed again in what matters fails as a whole.
func rebase(ctx context.Context, step *plan.Step, resource dynamic.ResourceInterface, conflict error) plan.Result {
	for range rebases {
		fresh, err := resource.Get(ctx, step.Name, metav1.GetOptions{})
		if err != nil {
			break
		}
		ops, still, err := step.Rebase(strip(fresh))
		if err != nil || !still {
			break
		}
		if len(ops) == 0 { // somebody wrote just that
			return plan.Result{Outcome: plan.Done, Object: fresh}
		}
		body, err := json.Marshal(ops)
		if err != nil {
			return failure(err, plan.CodeUpdateFailed, plan.CodeUpdateTimedOut, step)
		}
		made, err := resource.Patch(ctx, step.Name, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
		switch {
		case err == nil:
			return plan.Result{Outcome: plan.Done, Object: strip(made)}
		case apierrors.IsConflict(err), doesNotApply(err):
			conflict = err
		case apierrors.IsNotFound(err):
			return plan.Result{Outcome: plan.Stale}
		default:
			return failure(err, plan.CodeUpdateFailed, plan.CodeUpdateTimedOut, step)
		}
	}
	return lookInstead(ctx, step, resource, conflict)
}

// doesNotApply tells a patch that found another object than it was made for, one of its tests failing, from one whose
// result the member refuses: that one names the fields.
func doesNotApply(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		return false
	}
	details := status.Status().Details
	return details == nil || !slices.ContainsFunc(details.Causes, func(c metav1.StatusCause) bool { return c.Field != "" })
}

// lookInstead fetches what is there after a write did not get through.
func lookInstead(ctx context.Context, step *plan.Step, resource dynamic.ResourceInterface, err error) plan.Result {
	r := look(ctx, step, resource)
	if r.Outcome != plan.Failed {
		r.Why = failure(err, plan.CodeUpdateFailed, plan.CodeUpdateTimedOut, step).Why
	}
	return r
}

// look fetches what is there instead of what was expected, for the next plan to judge.
func look(ctx context.Context, step *plan.Step, resource dynamic.ResourceInterface) plan.Result {
	there, err := resource.Get(ctx, step.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		return plan.Result{Outcome: plan.Found, Object: strip(there)}
	case apierrors.IsNotFound(err):
		return plan.Result{Outcome: plan.Stale}
	}
	return failure(err, plan.CodeRetrievalFailed, plan.CodeRetrievalFailed, step)
}

func confirm(ctx context.Context, step *plan.Step, resource dynamic.ResourceInterface) plan.Result {
	r := look(ctx, step, resource)
	if r.Outcome == plan.Stale {
		r.Outcome = plan.Gone
	}
	return r
}

// remove deletes by UID: what has been made anew under the name since it was seen is another's.
func remove(ctx context.Context, gvr schema.GroupVersionResource, step *plan.Step, conn Connection) plan.Result {
	uid := step.Observed.GetUID()
	options, err := deleteOptions(step.DeleteOptions, uid)
	if err != nil {
		return failure(err, plan.CodeDeletionFailed, plan.CodeDeletionTimedOut, step)
	}
	body, err := json.Marshal(options)
	if err != nil {
		return failure(err, plan.CodeDeletionFailed, plan.CodeDeletionTimedOut, step)
	}
	client, err := conn.REST()
	if err != nil {
		return failure(err, plan.CodeDeletionFailed, plan.CodeDeletionTimedOut, step)
	}
	raw, err := client.Delete().AbsPath(path(gvr, step.Namespace, step.Name)...).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	switch {
	case apierrors.IsNotFound(err):
		return plan.Result{Outcome: plan.Gone}
	case apierrors.IsConflict(err):
		return plan.Result{Outcome: plan.Stale, Why: failure(err, plan.CodeDeletionFailed, plan.CodeDeletionTimedOut, step).Why}
	case err != nil:
		return failure(err, plan.CodeDeletionFailed, plan.CodeDeletionTimedOut, step)
	}
	return goneOrGoing(raw, string(uid))
}

// deleteOptions are the options that the object's author asks for, bound to the UID that was seen. An author who binds
// them to another one means another object.
func deleteOptions(raw string, uid types.UID) (metav1.DeleteOptions, error) {
	var options metav1.DeleteOptions
	if raw != "" {
		var err error
		if options, err = federated.ReadDeleteOptions(raw); err != nil {
			return options, fmt.Errorf("annotation %s: %w", wellknown.DeleteOptionAnnotation, err)
		}
	}
	options.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	if asked := options.Preconditions.UID; asked != nil && *asked != uid {
		return options, fmt.Errorf("annotation %s asks to delete only UID %s, and the copy has UID %s",
			wellknown.DeleteOptionAnnotation, *asked, uid)
	}
	options.Preconditions.UID = &uid
	return options, nil
}

// goneOrGoing reads the answer to a deletion: a Status that says success means that the object is gone; the object
// itself with a deletion timestamp means that it is going. Kinds that answer with the object they removed are asked
// again by the next plan.
func goneOrGoing(raw []byte, uid string) plan.Result {
	answer := &unstructured.Unstructured{}
	// Whole numbers must stay whole numbers: status is compared with what is stored.
	if err := utiljson.Unmarshal(raw, &answer.Object); err != nil || answer.Object == nil {
		return failure(errors.New("it answers a deletion with something that is no object"), plan.CodeDeletionFailed, plan.CodeDeletionTimedOut, nil)
	}
	if answer.GetKind() == "Status" && answer.GetAPIVersion() == "v1" && string(answer.GetUID()) == "" {
		if status, _, _ := unstructured.NestedString(answer.Object, "status"); status == metav1.StatusSuccess {
			return plan.Result{Outcome: plan.Gone}
		}
		return plan.Result{Outcome: plan.Stale}
	}
	if string(answer.GetUID()) == uid && answer.GetDeletionTimestamp() != nil {
		return plan.Result{Outcome: plan.Done, Object: strip(answer)}
	}
	return plan.Result{Outcome: plan.Stale}
}

func path(gvr schema.GroupVersionResource, namespace, name string) []string {
	segments := []string{"/apis", gvr.Group, gvr.Version}
	if gvr.Group == "" {
		segments = []string{"/api", gvr.Version}
	}
	if namespace != "" {
		segments = append(segments, "namespaces", namespace)
	}
	return append(segments, gvr.Resource, name)
}

// orphan takes the plane's marks off, so that nobody takes the object for a copy any more.
func orphan(ctx context.Context, step *plan.Step, resource dynamic.ResourceInterface) plan.Result {
	patch, err := json.Marshal(unmarking(step.Observed))
	if err != nil {
		return failure(err, plan.CodeLabelRemovalFailed, plan.CodeLabelRemovalTimedOut, step)
	}
	_, err = resource.Patch(ctx, step.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return plan.Result{Outcome: plan.Gone}
	case apierrors.IsConflict(err), doesNotApply(err):
		// With its reason: a member that refuses in such words for ever must not be asked for ever without a pause.
		return plan.Result{Outcome: plan.Stale, Why: failure(err, plan.CodeLabelRemovalFailed, plan.CodeLabelRemovalTimedOut, step).Why}
	}
	return failure(err, plan.CodeLabelRemovalFailed, plan.CodeLabelRemovalTimedOut, step)
}

// unmarking takes the marks off that were seen, and no others: one that somebody has put in their place meanwhile says
// whose the object is now.
func unmarking(seen *unstructured.Unstructured) []map[string]any {
	ops := []map[string]any{{"op": "test", "path": "/metadata/uid", "value": seen.GetUID()}}
	for _, mark := range []struct {
		of         map[string]string
		field, key string
	}{{seen.GetLabels(), "labels", wellknown.ManagedLabel}, {seen.GetAnnotations(), "annotations", wellknown.OwnerAnnotation}} {
		path := "/metadata/" + mark.field + "/" + strings.ReplaceAll(mark.key, "/", "~1")
		value, there := mark.of[mark.key]
		switch {
		case there:
			ops = append(ops, map[string]any{"op": "test", "path": path, "value": value}, map[string]any{"op": "remove", "path": path})
		case mark.of != nil:
			ops = append(ops, map[string]any{"op": "test", "path": path, "value": nil})
		default:
			ops = append(ops, map[string]any{"op": "test", "path": "/metadata/" + mark.field, "value": nil})
		}
	}
	return ops
}

// failure words an error for people; programs have the code.
func failure(err error, code, timedOut string, step *plan.Step) plan.Result {
	if errors.Is(err, context.DeadlineExceeded) {
		code = timedOut
	}
	message := err.Error()
	if step != nil && step.Member != "" {
		message = fmt.Sprintf("member %s: %s", step.Member, message)
	}
	const limit = 1024        // status has room for hundreds of units
	if len(message) > limit { // between characters: half a character is stored as another one
		message = strings.ToValidUTF8(message[:limit], "") + "…"
	}
	return plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: code, Message: message}}
}

// strip drops what nobody here reads and every copy in memory would carry.
func strip(u *unstructured.Unstructured) *unstructured.Unstructured {
	u.SetManagedFields(nil)
	return u
}
