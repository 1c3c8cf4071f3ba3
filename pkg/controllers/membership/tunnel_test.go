package membership

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member/membertest"
)

// tunnels are those of one member, which has an agent or none.
type tunnels struct {
	mu      sync.Mutex
	agents  int
	ends    time.Time
	changed func(string)
	dialled map[string]bool // member and address
	leadTo  string
}

func (t *tunnels) Agents(string) (int, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.agents, t.ends
}

func (t *tunnels) Subscribe(_ context.Context, changed func(string)) { t.changed = changed }

func (t *tunnels) become(agents int, ends time.Time) {
	t.mu.Lock()
	t.agents, t.ends = agents, ends
	t.mu.Unlock()
	t.changed("a")
}

func (t *tunnels) dial(ctx context.Context, member, address string) (net.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dialled[member+" "+address] = true
	if t.agents == 0 {
		return nil, errors.New("no agent is connected")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", t.leadTo)
}

func TestAMemberBehindATunnelIsReachedByItsNameAndShowsItsAgents(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // of the plane's network, and no business of a tunnel's
	s := membertest.New(t)
	ends := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	way := &tunnels{dialled: map[string]bool{}, leadTo: s.Listener.Addr().String()}
	p := newPlaneWith(t, way, way.dial)
	meta := metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "a"}
	cluster := &corev1beta1.KubeFedCluster{ObjectMeta: meta}
	// The name is in the test server's certificate, and leads nowhere from here.
	cluster.Spec.APIEndpoint, cluster.Spec.CABundle, cluster.Spec.SecretRef.Name = "https://example.com:443", s.CA(), "a"
	cluster.Spec.Tunnel = &corev1beta1.ClusterTunnel{Enrolment: "abcd1234"}
	for _, o := range []client.Object{cluster, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"token": []byte(membertest.Token)}}} {
		if err := p.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	p.reconcile(t.Context(), "a")
	p.becomes("a", isOffline)
	if got := p.status("a").Status.Tunnel; got == nil || got.Agents != 0 || got.CertificateExpirationTime != nil {
		t.Fatalf("without an agent the tunnel is %+v", got)
	}
	way.become(1, ends)
	p.becomes("a", isReady)
	p.eventually("the agent and the end of its certificate are shown", func() bool {
		got := p.status("a").Status.Tunnel
		return got != nil && got.Agents == 1 && got.CertificateExpirationTime != nil && got.CertificateExpirationTime.Time.Equal(ends.Truncate(time.Second))
	})
	way.mu.Lock()
	if len(way.dialled) != 1 || !way.dialled["a example.com:443"] {
		t.Errorf("dialled were %v", way.dialled)
	}
	way.mu.Unlock()
	writes, asked := p.writes.Load(), s.Requests("/healthz")
	p.eventually("the member is asked again and again", func() bool { return s.Requests("/healthz") > asked+3 })
	if n := p.writes.Load(); n != writes {
		t.Errorf("an idle member was written %d times", n-writes)
	}
	way.become(2, ends.Add(time.Hour))
	p.eventually("the second agent is shown", func() bool { return p.status("a").Status.Tunnel.Agents == 2 })
}

func TestAMemberBehindATunnelIsNotReachedByAProcessThatHasNone(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	c := p.status("a")
	c.Spec.Tunnel = &corev1beta1.ClusterTunnel{}
	if err := p.Update(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	p.reconcile(t.Context(), "a")
	p.eventually("the member is offline and it is said why", func() bool {
		conditions := p.status("a").Status.Conditions
		return say(conditions) == isOffline && conditions[0].Message != nil &&
			*conditions[0].Message == "cluster is not reachable: the KubeFedCluster has spec.tunnel, and this plane serves no tunnels: start it with --tunnel-port, or remove spec.tunnel"
	})
}
