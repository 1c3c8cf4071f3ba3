package settings

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/settings"
)

// Reasons of condition Accepted, and of the event that tells of it.
const (
	ReasonAccepted = "SettingsAccepted"
	ReasonInvalid  = "SettingsInvalid"
)

// retryPause is how long to wait before what failed is tried again.
const retryPause = time.Second

// mostTold bounds how many faults a condition lists, longest how much it and the event say in all. The API server
// refuses events that say more.
const (
	mostTold = 10
	longest  = 1000
)

// Watcher keeps a Live as the KubeFedConfig says.
type Watcher struct {
	live     *Live
	configs  dynamic.ResourceInterface
	informer cache.SharedIndexInformer
	recorder events.EventRecorder
	changed  chan struct{}
	// reported is the version of the config whose status was written; until the watch shows the next one there is no more
	// to say of it.
	reported string
}

// NewWatcher returns a watcher that has not begun.
func NewWatcher(live *Live, client dynamic.Interface, recorder events.EventRecorder) (*Watcher, error) {
	gvr := corev1beta1.GroupVersion.WithResource("kubefedconfigs")
	onlyOurs := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", corev1beta1.KubeFedConfigName).String()
	}
	w := &Watcher{
		live: live, configs: client.Resource(gvr).Namespace(wellknown.FederationNamespace), recorder: recorder,
		informer: dynamicinformer.NewFilteredDynamicInformer(client, gvr, wellknown.FederationNamespace, 0, cache.Indexers{}, onlyOurs).Informer(),
		changed:  make(chan struct{}, 1),
	}
	tell := func(any) {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
	if _, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell, UpdateFunc: func(_, obj any) { tell(obj) }, DeleteFunc: tell,
	}); err != nil {
		return nil, fmt.Errorf("setting up the watch of KubeFedConfig: %w", err)
	}
	return w, nil
}

// Load reads the config once, before anything acts on settings. It goes on trying until ctx ends: settings that nobody
// could read are no reason to act as if there were none.
func (w *Watcher) Load(ctx context.Context) error {
	told := false
	for {
		u, err := w.configs.Get(ctx, corev1beta1.KubeFedConfigName, metav1.GetOptions{})
		switch {
		case err == nil:
			w.read(ctx, u)
			return nil
		case apierrors.IsNotFound(err):
			return nil
		case !told && ctx.Err() == nil:
			told = true
			klog.FromContext(ctx).Error(err, "Reading KubeFedConfig failed; nothing runs before it can be read, trying again")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reading KubeFedConfig %s: %w", corev1beta1.KubeFedConfigName, ctx.Err())
		case <-time.After(retryPause):
		}
	}
}

// Start keeps the settings until ctx ends. It is a manager's runnable.
func (w *Watcher) Start(ctx context.Context) error {
	go w.informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), w.informer.HasSynced) {
		return nil
	}
	w.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
			w.look(ctx)
		}
	}
}

// look brings the settings to what the config says now, and tells the config.
func (w *Watcher) look(ctx context.Context) {
	raw, there, err := w.informer.GetStore().GetByKey(wellknown.FederationNamespace + "/" + corev1beta1.KubeFedConfigName)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Looking up KubeFedConfig in the cache")
		return
	}
	if !there {
		if w.live.set(w.live.base) {
			klog.FromContext(ctx).Info("KubeFedConfig is gone; the process's own configuration is in force again")
		}
		return
	}
	u, ok := raw.(*unstructured.Unstructured)
	if !ok {
		return
	}
	errs := w.read(ctx, u)
	if err := w.report(ctx, u, errs); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).V(1).Info("Writing the status of KubeFedConfig failed; trying again", "err", err)
		time.AfterFunc(retryPause, func() {
			select {
			case w.changed <- struct{}{}:
			default:
			}
		})
	}
}

// read puts in force what can be read.
func (w *Watcher) read(ctx context.Context, u *unstructured.Unstructured) field.ErrorList {
	next, errs := settings.Read(u.Object["spec"], w.live.base, w.live.Current())
	if w.live.set(next) {
		klog.FromContext(ctx).Info("Settings changed", "gates", next.Gates.String(), "adoptByDefault", next.AdoptByDefault,
			"strictNamespaces", next.StrictNamespaces, "workers", next.Workers, "health", next.Health)
	}
	return errs
}

// report says in the config's status, and in an event, how it was read. It writes only what is new.
func (w *Watcher) report(ctx context.Context, u *unstructured.Unstructured, errs field.ErrorList) error {
	condition := accepted(u, errs)
	var status corev1beta1.KubeFedConfigStatus
	if old, ok := u.Object["status"].(map[string]any); ok {
		// A status that cannot be read is written anew.
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(old, &status); err != nil {
			status = corev1beta1.KubeFedConfigStatus{}
		}
	}
	next := *status.DeepCopy()
	next.ObservedGeneration = u.GetGeneration()
	news := meta.SetStatusCondition(&next.Conditions, condition)
	if equality.Semantic.DeepEqual(status, next) || w.reported != "" && w.reported == u.GetResourceVersion() {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": u.GetUID()}, "status": next})
	if err != nil {
		return fmt.Errorf("writing the status of KubeFedConfig: %w", err)
	}
	_, err = w.configs.Patch(ctx, u.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "cellfed-settings"}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil // it is gone, another one, or of KubeFed's own definition, which has no status
	}
	if err == nil {
		w.reported = u.GetResourceVersion()
	}
	if err == nil && news && condition.Status == metav1.ConditionFalse {
		w.recorder.Eventf(u, nil, corev1.EventTypeWarning, condition.Reason, "ReadSettings", "%s", condition.Message)
	}
	return err
}

// accepted is the condition that tells how a config was read.
func accepted(u *unstructured.Unstructured, errs field.ErrorList) metav1.Condition {
	c := metav1.Condition{Type: corev1beta1.ConfigAccepted, ObservedGeneration: u.GetGeneration()}
	if len(errs) == 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, ReasonAccepted, "all settings are in force"
	} else {
		c.Status, c.Reason = metav1.ConditionFalse, ReasonInvalid
		var told []string
		for _, err := range errs[:min(len(errs), mostTold)] {
			told = append(told, err.Error())
		}
		if more := len(errs) - len(told); more > 0 {
			told = append(told, fmt.Sprintf("and %d more", more))
		}
		c.Message = "what was in force in place of these stays in force, correct them: " + strings.Join(told, "; ")
	}
	if idle := settings.WithoutEffect(u.Object["spec"]); len(idle) > 0 {
		c.Message += "; without effect here: " + strings.Join(idle, ", ")
	}
	if len(c.Message) > longest {
		c.Message = strings.ToValidUTF8(c.Message[:longest], "") + "…"
	}
	return c
}
