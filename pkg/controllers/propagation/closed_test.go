package propagation

import (
	"errors"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/apply"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/tenancy"
)

var watchedConfigMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// fleetOf is a fleet of members that nothing answers for.
func fleetOf(t *testing.T, names ...string) *member.Fleet {
	t.Helper()
	f := member.NewFleet(t.Context(), member.Options{})
	for _, name := range names {
		f.Engage(name, member.Config{REST: &rest.Config{Host: "http://127.0.0.1:1"}})
		f.SetReachable(name, true, "", "")
	}
	return f
}

func watches(t *testing.T, f *member.Fleet, name string) bool {
	t.Helper()
	m, err := f.Member(name)
	if err != nil {
		t.Fatal(err)
	}
	_, open := m.Opened(watchedConfigMaps)
	return open
}

func openView(t *testing.T, f *member.Fleet, name string) {
	t.Helper()
	m, err := f.Member(name)
	if err != nil {
		t.Fatal(err)
	}
	m.View(watchedConfigMaps)
}

// Law 9: the last news of a watch that was closed because nobody may look there any more must not begin it anew.
func TestLateNewsOfAMemberDoNotOpenItsWatchAgain(t *testing.T) {
	f := fleetOf(t, "m")
	k := &carrier{Controller: &Controller{opts: Options{Fleet: f}, ledger: apply.NewLedger()}, typ: Type{Name: "configmaps", Target: watchedConfigMaps},
		informer: cache.NewSharedIndexInformer(&cache.ListWatch{}, &unstructured.Unstructured{}, 0, cache.Indexers{}),
		queue:    workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[objectKey]())}
	t.Cleanup(k.queue.ShutDown)
	k.memberEvent(member.Event{Member: "m", GVR: watchedConfigMaps, Namespace: "acme", Name: "web"})
	if watches(t, f, "m") {
		t.Error("an event opened a watch")
	}
}

// Law 9, with gate RequireTenantGrants: members that it closes are not watched any longer, others are as before.
func TestRequiringGrantsClosesWatchesInMembersThatSayNothing(t *testing.T) {
	f := fleetOf(t, "silent", "owned", "granting")
	required := false
	c := New(Options{Fleet: f, RequireGrants: func() bool { return required }})
	for name, change := range map[string]func(*corev1beta1.KubeFedCluster){
		"silent":   func(*corev1beta1.KubeFedCluster) {},
		"owned":    func(m *corev1beta1.KubeFedCluster) { m.Labels = owned("acme", "prod") },
		"granting": func(m *corev1beta1.KubeFedCluster) { m.Spec.Grants = []corev1beta1.TenantGrant{{Tenant: "acme"}} },
	} {
		m := &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
		change(m)
		c.MemberChanged(m)
		openView(t, f, name)
	}
	c.SettingsChanged()
	if !watches(t, f, "silent") {
		t.Error("settings that say nothing of grants ended a watch")
	}
	required = true
	c.SettingsChanged()
	if watches(t, f, "silent") || !watches(t, f, "owned") || !watches(t, f, "granting") {
		t.Errorf("watched: silent %v, owned %v, granting %v; want only the silent one closed", watches(t, f, "silent"), watches(t, f, "owned"), watches(t, f, "granting"))
	}
}

// Law 9: who began to look before a grant was withdrawn, and looks after all watches were closed, leaves none open.
func TestALookThatAWithdrawalOvertakesLeavesNoWatchOpen(t *testing.T) {
	k := estate(t)
	f := fleetOf(t, "acmes", "shared")
	k.opts.Fleet, k.opts.Now = f, time.Now
	k.accesses, k.ledger = map[string]tenancy.Access{}, apply.NewLedger()
	k.typ = Type{Name: "namespaces", Target: watchedConfigMaps, Namespaced: true}
	shared := &corev1beta1.KubeFedCluster{}
	if err := k.opts.Client.Get(t.Context(), client.ObjectKey{Namespace: wellknown.FederationNamespace, Name: "shared"}, shared); err != nil {
		t.Fatal(err)
	}
	k.MemberChanged(shared.DeepCopy())
	withdraw := sync.OnceFunc(func() {
		shared.Spec.Grants[0].Tenant = "rival"
		if err := k.opts.Client.Update(t.Context(), shared); err != nil {
			t.Error(err)
		}
		k.MemberChanged(shared)
	})
	k.opts.Gates = func() features.Gates { withdraw(); return features.Gates{} } // asked after who may look, and before the look
	_, err := k.gather(t.Context(), &federated.Object{Namespace: "acme", Name: "web", TopologyType: "cell"})
	if !errors.Is(err, errAgain) {
		t.Errorf("%v, want another look", err)
	}
	if watches(t, f, "shared") {
		t.Error("a member that is not granted any more is watched")
	}
	if !watches(t, f, "acmes") {
		t.Error("a member that is granted still is not watched any more")
	}
	if _, err := k.gather(t.Context(), &federated.Object{Namespace: "acme", Name: "web", TopologyType: "cell"}); err != nil || watches(t, f, "shared") {
		t.Errorf("the next look: %v, watched %v", err, watches(t, f, "shared"))
	}
}
