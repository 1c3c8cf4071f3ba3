package federatedtype

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/member/membertest"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

var (
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	crdKey      = client.ObjectKey{Name: "federateddeployments.types.kubefed.io"}
	ftcKey      = client.ObjectKey{Namespace: wellknown.FederationNamespace, Name: "deployments.apps"}
)

// started is propagation, as far as types see it.
type started map[string]TypeConfig

func (s started) Start(_ context.Context, t TypeConfig) error { s[t.Name] = t; return nil }
func (s started) Stop(name string)                            { delete(s, name) }
func (s started) Running(name string) bool                    { _, ok := s[name]; return ok }

type plane struct {
	*testing.T
	client.Client
	r      *Reconciler
	types  started
	writes atomic.Int64
}

func newPlane(t *testing.T) *plane {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apiextensionsv1.AddToScheme, corev1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	p := &plane{T: t, types: started{}}
	p.Client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&corev1beta1.FederatedTypeConfig{}, &apiextensionsv1.CustomResourceDefinition{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				p.writes.Add(1)
				return c.Update(ctx, o, opts...)
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				p.writes.Add(1)
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
		}).Build()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	p.r = &Reconciler{Client: p.Client, Fleet: member.NewFleet(ctx, member.Options{}), Types: p.types, Conversion: typeschema.InProcess()}
	return p
}

func (p *plane) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plane) make(change func(*corev1beta1.FederatedTypeConfig)) {
	p.Helper()
	ftc := &corev1beta1.FederatedTypeConfig{ObjectMeta: metav1.ObjectMeta{Namespace: ftcKey.Namespace, Name: ftcKey.Name, Generation: 1}}
	ftc.Spec.TargetType = kubefedv1beta1.APIResource{Group: "apps", Version: "v1", Kind: "Deployment", Scope: apiextensionsv1.NamespaceScoped}
	ftc.Spec.FederatedType = kubefedv1beta1.APIResource{Kind: "FederatedDeployment"}
	ftc.Spec.Propagation = kubefedv1beta1.PropagationEnabled
	if change != nil {
		change(ftc)
	}
	p.must(p.Create(p.Context(), ftc))
}

func (p *plane) reconcile() reconcile.Result {
	p.Helper()
	result, err := p.r.Reconcile(p.Context(), reconcile.Request{NamespacedName: ftcKey})
	p.must(err)
	return result
}

func (p *plane) ftc() *corev1beta1.FederatedTypeConfig {
	p.Helper()
	ftc := &corev1beta1.FederatedTypeConfig{}
	p.must(p.Get(p.Context(), ftcKey, ftc))
	return ftc
}

func (p *plane) crd() *apiextensionsv1.CustomResourceDefinition {
	p.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	p.must(p.Get(p.Context(), crdKey, crd))
	return crd
}

// establish does what the plane's API server does with a definition.
func (p *plane) establish() {
	p.Helper()
	crd := p.crd()
	crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	p.must(p.Status().Update(p.Context(), crd))
}

func (p *plane) says(condition, reason, message string) {
	p.Helper()
	c := meta.FindStatusCondition(p.ftc().Status.Conditions, condition)
	if c == nil || c.Reason != reason || !strings.Contains(c.Message, message) {
		p.Fatalf("condition %s is %+v, want %s %q", condition, c, reason, message)
	}
}

func (p *plane) running(want kubefedv1beta1.ControllerStatus) {
	p.Helper()
	status := p.ftc().Status
	if status.PropagationController != want || p.types.Running(ftcKey.Name) != (want == kubefedv1beta1.ControllerStatusRunning) {
		p.Fatalf("status says %s; running: %v", status.PropagationController, p.types.Running(ftcKey.Name))
	}
}

func (p *plane) served() {
	p.Helper()
	p.make(nil)
	p.reconcile()
	p.establish()
	p.reconcile()
}

func (p *plane) member(name string, kinds ...schema.GroupVersionResource) *membertest.Server {
	s := membertest.New(p.T)
	s.Serve(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}, "StatefulSet")
	for _, gvr := range kinds {
		s.Serve(gvr, "Deployment")
	}
	p.r.Fleet.Engage(name, member.Config{REST: &rest.Config{
		Host: s.URL, BearerToken: membertest.Token, TLSClientConfig: rest.TLSClientConfig{CAData: s.CA()},
	}})
	p.r.Fleet.SetReachable(name, true, "", "")
	return s
}

func TestATypeIsServedAndPropagatedOnceItsDefinitionIsEstablished(t *testing.T) {
	p := newPlane(t)
	p.make(nil)
	if after := p.reconcile().RequeueAfter; after == 0 {
		t.Fatal("it does not look again for its definition")
	}
	p.says(corev1beta1.TypeServed, ReasonNotYet, "")
	p.running(kubefedv1beta1.ControllerStatusNotRunning)
	p.establish()
	p.reconcile()
	p.says(corev1beta1.TypeServed, ReasonServed, crdKey.Name)
	p.running(kubefedv1beta1.ControllerStatusRunning)
	want := TypeConfig{
		Name: "deployments.apps", FederatedKind: "FederatedDeployment", Target: deployments, TargetKind: "Deployment",
		Federated:  schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federateddeployments"},
		Namespaced: true, FederatedNamespaced: true, CollectStatus: true,
	}
	if diff := cmp.Diff(want, p.types[ftcKey.Name]); diff != "" {
		t.Fatalf("started (-want +got):\n%s", diff)
	}
	writes := p.writes.Load()
	p.reconcile()
	if n := p.writes.Load() - writes; n != 0 {
		t.Fatalf("an idle type was written %d times", n)
	}
}

func TestTheFederatedObjectOfANamespaceIsNamespaced(t *testing.T) {
	ftc := &corev1beta1.FederatedTypeConfig{ObjectMeta: metav1.ObjectMeta{Name: "namespaces"}}
	ftc.Spec.TargetType = kubefedv1beta1.APIResource{Version: "v1", Kind: "Namespace", Scope: apiextensionsv1.ClusterScoped}
	ftc.Spec.FederatedType = kubefedv1beta1.APIResource{Kind: "FederatedNamespace"}
	if got := typeConfig(typeschema.WithDefaults(ftc)); got.Namespaced || !got.FederatedNamespaced {
		t.Fatalf("got %+v", got)
	}
}

func TestTheDefinitionIsKeptAndWhatOthersPutOnItStays(t *testing.T) {
	p := newPlane(t)
	p.served()
	crd := p.crd()
	crd.Spec.Versions = crd.Spec.Versions[:1]
	crd.Annotations["theirs"] = "yes"
	p.must(p.Update(t.Context(), crd))
	p.reconcile()
	crd = p.crd()
	if len(crd.Spec.Versions) != 2 || crd.Annotations["theirs"] != "yes" {
		t.Fatalf("%d versions, annotations %v", len(crd.Spec.Versions), crd.Annotations)
	}
	p.running(kubefedv1beta1.ControllerStatusRunning)
}

func TestADefinitionOfSomebodyElseIsLeftAlone(t *testing.T) {
	p := newPlane(t)
	theirs := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: crdKey.Name}}
	theirs.Spec.Group = "theirs"
	p.must(p.Create(t.Context(), theirs))
	p.make(nil)
	p.reconcile()
	p.says(corev1beta1.TypeServed, ReasonNotOurs, crdKey.Name)
	p.running(kubefedv1beta1.ControllerStatusNotRunning)
	if p.crd().Spec.Group != "theirs" {
		t.Fatal("it was taken over")
	}
}

func TestATypeThatCannotBeIsToldWhy(t *testing.T) {
	p := newPlane(t)
	p.make(func(ftc *corev1beta1.FederatedTypeConfig) { ftc.Spec.FederatedType.Group = "nodots" })
	p.reconcile()
	p.says(corev1beta1.TypeServed, ReasonInvalid, "spec.federatedType.group")
}

func TestThereIsNeverMoreThanOnePropagator(t *testing.T) {
	for name, change := range map[string]func(*corev1beta1.FederatedTypeConfig){
		"propagation disabled":      func(f *corev1beta1.FederatedTypeConfig) { f.Spec.Propagation = kubefedv1beta1.PropagationDisabled },
		"KubeFed is the propagator": func(f *corev1beta1.FederatedTypeConfig) { f.Spec.Propagator = corev1beta1.PropagatorKubeFed },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.served()
			p.running(kubefedv1beta1.ControllerStatusRunning)
			ftc := p.ftc()
			change(ftc)
			p.must(p.Update(t.Context(), ftc))
			crd := p.crd() // also while the definition is not as it should be
			crd.Status.Conditions = nil
			p.must(p.Status().Update(t.Context(), crd))
			p.reconcile()
			p.running(kubefedv1beta1.ControllerStatusNotRunning)
		})
	}
}

func TestObjectsOfADisabledTypeAreStillBroughtToTheirEndButNotKubeFeds(t *testing.T) {
	p := newPlane(t)
	p.served()
	ftc := p.ftc()
	ftc.Spec.Propagation = kubefedv1beta1.PropagationDisabled
	p.must(p.Update(t.Context(), ftc))
	p.reconcile()
	if got, there := p.types[ftcKey.Name]; !there || !got.OnlyDeletions {
		t.Errorf("carried: %v, %+v, want deletions only", there, got)
	}
	if got := p.ftc().Status.PropagationController; got != kubefedv1beta1.ControllerStatusNotRunning {
		t.Errorf("status says %s", got)
	}
	ftc = p.ftc()
	ftc.Spec.Propagator = corev1beta1.PropagatorKubeFed
	p.must(p.Update(t.Context(), ftc))
	p.reconcile()
	p.running(kubefedv1beta1.ControllerStatusNotRunning)
	ftc = p.ftc()
	ftc.Spec.Propagation, ftc.Spec.Propagator = kubefedv1beta1.PropagationEnabled, ""
	p.must(p.Update(t.Context(), ftc))
	p.reconcile()
	p.running(kubefedv1beta1.ControllerStatusRunning)
	if p.types[ftcKey.Name].OnlyDeletions {
		t.Error("an enabled type is carried for deletions only")
	}
}

func TestADeletedTypeStopsAndLeavesItsDefinition(t *testing.T) {
	p := newPlane(t)
	p.served()
	p.must(p.Delete(t.Context(), p.ftc()))
	p.reconcile()
	if p.types.Running(ftcKey.Name) {
		t.Fatal("it is propagated still")
	}
	p.crd()
	if err := p.Get(t.Context(), ftcKey, &corev1beta1.FederatedTypeConfig{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Fatalf("the type is still there: %v", err)
	}
}

func TestMembersThatLackTheKindAreNamed(t *testing.T) {
	p := newPlane(t)
	p.served()
	p.says(corev1beta1.TypeInMembers, ReasonNoMember, "")
	lacks := p.member("b")
	p.reconcile()
	p.says(corev1beta1.TypeInMembers, ReasonNowhere, "deployments.apps v1: b")
	p.running(kubefedv1beta1.ControllerStatusRunning)
	p.member("a", deployments)
	if after := p.reconcile().RequeueAfter; after == 0 {
		t.Fatal("it does not look again for the kind")
	}
	p.says(corev1beta1.TypeInMembers, ReasonLacking, "1 of 2 members that answer: b")
	lacks.Serve(deployments, "Deployment")
	p.reconcile()
	p.says(corev1beta1.TypeInMembers, ReasonEverywhere, "")
	p.r.Fleet.SetReachable("a", false, "ClusterNotReachable", "")
	p.reconcile()
	p.says(corev1beta1.TypeInMembers, ReasonEverywhere, "")
	p.r.Fleet.SetReachable("b", false, "ClusterNotReachable", "")
	p.reconcile()
	p.says(corev1beta1.TypeInMembers, ReasonNotAnswered, "")
}

func TestAMemberIsAskedForAKindOnceUntilSomethingIsHeardOfIt(t *testing.T) {
	p := newPlane(t)
	p.served()
	s := p.member("a", deployments)
	asked := func() int { return s.Requests("/apis/apps/v1") }
	for range 3 {
		p.reconcile()
	}
	if n := asked(); n != 1 {
		t.Fatalf("asked %d times", n)
	}
	p.r.answers.forget(member.Event{Member: "a", GVR: deployments})
	p.reconcile()
	p.r.answers.forget(member.Event{Member: "a"})
	p.reconcile()
	if n := asked(); n != 3 {
		t.Fatalf("asked %d times", n)
	}
	p.r.Fleet.SetReachable("a", false, "x", "")
	p.r.Fleet.SetReachable("a", true, "", "")
	p.reconcile()
	if n := asked(); n != 4 {
		t.Fatalf("over a new connection it was asked %d times", n)
	}
}

func TestAMemberThatDoesNotAnswerHoldsUpNoOther(t *testing.T) {
	p := newPlane(t)
	p.served()
	for _, name := range []string{"a", "b", "c"} {
		s := p.member(name, deployments)
		s.Freeze()
	}
	p.member("d")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	got := p.r.answers.ask(ctx, p.r.Fleet, deployments)
	if took := time.Since(begun); took > 2*time.Second || len(got.silent) != 3 || len(got.without) != 1 {
		t.Fatalf("after %s: %+v", took, got)
	}
}

func TestAnEventOfAMemberConcernsTheTypesOfItsKind(t *testing.T) {
	p := newPlane(t)
	p.make(nil)
	other := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	for _, c := range []struct {
		event member.Event
		want  int
	}{
		{member.Event{Member: "a"}, 1},
		{member.Event{Member: "a", GVR: deployments}, 1},
		{member.Event{Member: "a", GVR: other}, 0},
	} {
		if got := p.r.concerned(t.Context(), c.event); len(got) != c.want {
			t.Errorf("%+v concerns %v", c.event, got)
		}
	}
}
