package membership

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/component-base/metrics/legacyregistry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/member/membertest"
	"github.com/cellfed/cellfed/pkg/metrics"
)

// plane runs the controller against a fake plane and any number of members.
type plane struct {
	*testing.T
	client.Client
	ctl    *Controller
	fleet  *member.Fleet
	events *events.FakeRecorder
	writes atomic.Int64
}

func newPlane(t *testing.T) *plane { return newPlaneWith(t, nil, nil) }

// newPlaneWith is a plane that serves tunnels.
func newPlaneWith(t *testing.T, tunnels Tunnels, dial member.TunnelFunc) *plane {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, corev1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	p := &plane{T: t, events: events.NewFakeRecorder(100)}
	p.Client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&corev1beta1.KubeFedCluster{}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				p.writes.Add(1)
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
		}).Build()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	p.fleet = member.NewFleet(ctx, member.Options{Tunnel: dial})
	p.ctl = New(p.Client, p.fleet, p.events, Options{
		Period: 200 * time.Millisecond, Timeout: 5 * time.Second, // a busy machine is no sick member
		SuspicionPeriod: 10 * time.Millisecond, RecoveryPeriod: 20 * time.Millisecond,
		Tunnels: tunnels, Member: member.Options{Tunnel: dial},
	})
	go func() {
		for {
			select {
			case ev := <-p.ctl.changed:
				p.reconcile(ctx, ev.Object.GetName())
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

func (p *plane) reconcile(ctx context.Context, name string) {
	key := types.NamespacedName{Namespace: wellknown.FederationNamespace, Name: name}
	if _, err := p.ctl.Reconcile(ctx, reconcile.Request{NamespacedName: key}); err != nil && ctx.Err() == nil {
		p.Errorf("reconciling %s: %v", name, err)
	}
}

func (p *plane) register(name, endpoint string, ca []byte, token string) {
	p.Helper()
	meta := metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: name}
	cluster := &corev1beta1.KubeFedCluster{ObjectMeta: meta}
	cluster.Spec.APIEndpoint, cluster.Spec.CABundle, cluster.Spec.SecretRef.Name = endpoint, ca, name
	for _, o := range []client.Object{cluster, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"token": []byte(token)}}} {
		if err := p.Create(p.Context(), o); err != nil {
			p.Fatal(err)
		}
	}
	p.reconcile(p.Context(), name)
}

func (p *plane) status(name string) corev1beta1.KubeFedCluster {
	p.Helper()
	var c corev1beta1.KubeFedCluster
	if err := p.Get(p.Context(), types.NamespacedName{Namespace: wellknown.FederationNamespace, Name: name}, &c); err != nil {
		p.Fatal(err)
	}
	return c
}

func (p *plane) eventually(what string, ok func() bool) {
	p.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	p.Fatalf("within 10s it did not come true that %s", what)
}

func (p *plane) becomes(name, conditions string) {
	p.Helper()
	p.eventually(name+" is "+conditions, func() bool { return say(p.status(name).Status.Conditions) == conditions })
}

const (
	isReady   = "Ready=True ClusterReady"
	isOffline = "Ready=False ClusterNotReachable, Offline=True ClusterNotReachable"
)

func TestAHealthyMemberIsReadyAndConnectedAndThenNothingIsWritten(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	if settled, err := p.ctl.Settled(t.Context()); err != nil || !settled {
		t.Fatalf("a plane without members is settled: %v, %v", settled, err)
	}
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	if v := p.status("a").Status.KubernetesVersion; v != "v1.36.3" {
		t.Fatalf("the version is %q", v)
	}
	if _, err := p.fleet.Member("a"); err != nil {
		t.Fatal(err)
	}
	if settled, err := p.ctl.Settled(t.Context()); err != nil || !settled {
		t.Fatalf("settled: %v, %v", settled, err)
	}
	if ev := <-p.events.Events; !strings.Contains(ev, "Normal ClusterReady") {
		t.Fatalf("the event is %q", ev)
	}
	writes, asked := p.writes.Load(), s.Requests("/healthz")
	p.eventually("the member is asked again and again", func() bool { return s.Requests("/healthz") > asked+3 })
	if n := p.writes.Load(); n != writes || n != 1 {
		t.Fatalf("an idle member was written %d times, %d of them when idle", n, n-writes)
	}
}

func TestALostMemberIsNoticedLongBeforeItsPeriodAndItsReturnToo(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	p.ctl.opts.Load().Period, p.ctl.opts.Load().Timeout = time.Hour, 500*time.Millisecond
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	s.Freeze()
	p.fleet.Suspect("a")
	p.becomes("a", isOffline)
	if m := *find(p.status("a").Status.Conditions, "Ready").Message; !strings.Contains(m, "no answer within 500ms") {
		t.Fatalf("the message is %q", m)
	}
	var not *member.NotConnectedError
	if _, err := p.fleet.Member("a"); !errors.As(err, &not) || not.Reason != ReasonNotReachable {
		t.Fatalf("the fleet says %v", err)
	}
	s.Thaw()
	p.becomes("a", isReady)
	p.eventually("the fleet is connected with it", func() bool { _, err := p.fleet.Member("a"); return err == nil })
}

func TestFailuresBelowTheThresholdAreNotTold(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	p.ctl.opts.Load().FailureThreshold = 1000
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	asked := s.Requests("/healthz")
	s.SetHealth("not today")
	p.eventually("it has failed some times", func() bool { return s.Requests("/healthz") > asked+5 })
	if got := say(p.status("a").Status.Conditions); got != isReady {
		t.Fatalf("below the threshold it is %s", got)
	}
	if _, err := p.fleet.Member("a"); err != nil {
		t.Fatal(err)
	}
}

func TestEachFaultOfAMemberHasItsReason(t *testing.T) {
	good, other := membertest.New(t), membertest.New(t)
	ill := membertest.New(t)
	ill.SetHealth("[-]etcd failed")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	anotherCA := func() []byte { // httptest's servers share one certificate
		return otherCA(t)
	}
	p := newPlane(t)
	for name, c := range map[string]struct {
		endpoint   string
		ca         []byte
		token      string
		conditions string
		message    string
	}{
		"expired":   {good.URL, good.CA(), "expired", "Ready=False Unauthorized, Offline=True Unauthorized", "does not accept the plane's credentials"},
		"wrong-ca":  {other.URL, anotherCA(), membertest.Token, "Ready=False CertificateNotTrusted, Offline=True CertificateNotTrusted", "unknown authority"},
		"ill":       {ill.URL, ill.CA(), membertest.Token, "Ready=False ClusterNotReady, Offline=False ClusterReachable", "/healthz responded without ok"},
		"closed":    {"https://" + closed.Addr().String(), nil, "t", isOffline, "connection refused"},
		"malformed": {"ftp://x", nil, "t", "Ready=False ClusterConfigMalformed, ConfigMalformed=True ClusterConfigMalformed", `"ftp"`},
		"no-token":  {good.URL, nil, "", "Ready=False ClusterConfigMalformed, ConfigMalformed=True ClusterConfigMalformed", "holds no credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			p.register(name, c.endpoint, c.ca, c.token)
			p.becomes(name, c.conditions)
			if m := *find(p.status(name).Status.Conditions, "Ready").Message; !strings.Contains(m, c.message) {
				t.Fatalf("the message is %q", m)
			}
			var not *member.NotConnectedError
			if _, err := p.fleet.Member(name); !errors.As(err, &not) || not.Reason == member.ReasonConnecting {
				t.Fatalf("the fleet says %v", err)
			}
		})
	}
}

func TestASecretThatChangesHealsTheMember(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	p.register("a", s.URL, s.CA(), "expired")
	p.becomes("a", "Ready=False Unauthorized, Offline=True Unauthorized")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "a"}}
	if got := p.ctl.clustersOf(t.Context(), secret); len(got) != 1 || got[0].Name != "a" {
		t.Fatalf("the secret belongs to %v", got)
	}
	secret.Data = map[string][]byte{"token": []byte(membertest.Token)}
	if err := p.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	p.reconcile(t.Context(), "a")
	p.becomes("a", isReady)
}

func TestAMemberThatIsDeletedIsForgotten(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	cluster := p.status("a")
	if err := p.Delete(t.Context(), &cluster); err != nil {
		t.Fatal(err)
	}
	p.reconcile(t.Context(), "a")
	if _, err := p.fleet.Member("a"); !errors.Is(err, member.ErrUnknown) {
		t.Fatalf("the fleet says %v", err)
	}
	asked := s.Requests("/healthz")
	time.Sleep(500 * time.Millisecond)
	if n := s.Requests("/healthz"); n > asked+1 {
		t.Fatalf("a deleted member was asked %d times", n-asked)
	}
}

func TestAControllerThatHasEndedTellsNoStateOfAMember(t *testing.T) {
	p := newPlane(t)
	told := func() bool {
		families, err := legacyregistry.DefaultGatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "kubefedcluster_total" && strings.Contains(m.String(), "straggler") {
					return true
				}
			}
		}
		return false
	}
	metrics.Register()
	defer metrics.MemberGone("straggler")
	cluster := &corev1beta1.KubeFedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "straggler"}}
	if err := p.Create(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tc := range []struct {
		ctx  context.Context
		want bool
	}{{ended, false}, {t.Context(), true}} {
		if _, err := p.ctl.write(tc.ctx, cluster, result{ok: true}, ""); err != nil && tc.want {
			t.Fatal(err)
		}
		if told() != tc.want {
			t.Errorf("it is told: %t, want %t", !tc.want, tc.want)
		}
	}
}

func TestHowMembersAreWatchedOverChangesWithoutARestart(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	rarely := Health{Period: time.Hour, Timeout: 5 * time.Second, FailureThreshold: 1, SuccessThreshold: 1}
	p.ctl.SetHealth(rarely)
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	asked := s.Requests("/healthz")
	time.Sleep(300 * time.Millisecond)
	if n := s.Requests("/healthz"); n != asked {
		t.Fatalf("a member that is asked once an hour was asked %d times more", n-asked)
	}
	often := rarely
	often.Period = 20 * time.Millisecond
	p.ctl.SetHealth(often)
	p.eventually("the member is asked often, though its pause was an hour", func() bool { return s.Requests("/healthz") > asked+5 })
	s.Close()
	p.becomes("a", isOffline)
}
