package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"k8s.io/klog/v2"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	stock "sigs.k8s.io/apiserver-network-proxy/pkg/agent"
	"sigs.k8s.io/apiserver-network-proxy/proto/agent"
	"sigs.k8s.io/apiserver-network-proxy/proto/header"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

// door is a server with its authorities.
type door struct {
	*hub.Hub
	address                  string
	serving, agents, clients *proxytest.Authority
	trusts                   *trusts
	registry                 *prometheus.Registry
	log                      *lines
	stop                     func()
}

// trusts are whom a server trusts now.
type trusts struct {
	mu              sync.Mutex
	agents, clients *x509.CertPool
	err             error
}

// set has the server trust these; an error is that it cannot be read whom.
func (t *trusts) set(agents, clients *x509.CertPool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.agents, t.clients, t.err = agents, clients, err
}

// pool holds some authorities.
func pool(authorities ...*proxytest.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range authorities {
		p.AddCert(a.Certificate)
	}
	return p
}

// lines are what was logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) logger() logr.Logger {
	return funcr.New(func(_, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, args)
	}, funcr.Options{})
}

func (l *lines) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
}

func (l *lines) with(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.all {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// open starts a server that admits some members.
func open(t testing.TB, opts hub.Options, members ...string) *door {
	t.Helper()
	d := &door{serving: proxytest.NewAuthority(t, "serving"), agents: proxytest.NewAuthority(t, "agents"), clients: proxytest.NewAuthority(t, "clients"), registry: prometheus.NewRegistry(), log: &lines{}}
	d.listen(t, opts, "127.0.0.1:0", members...)
	return d
}

// certificate is one that a server shows.
func (d *door) certificate(t testing.TB) tls.Certificate {
	t.Helper()
	return d.serving.Issue(t, pkix.Name{CommonName: "server"}, func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

// listen serves at an address, with the door's authorities.
func (d *door) listen(t testing.TB, opts hub.Options, address string, members ...string) {
	t.Helper()
	opts.Log, opts.Metrics = d.log.logger(), d.registry
	d.trusts = &trusts{agents: d.agents.Pool, clients: d.clients.Pool}
	d.Hub = hub.New(opts)
	for _, m := range members {
		d.Admit(m, proxytest.Enrolment)
	}
	shown := d.certificate(t)
	s := New(Options{Hub: d.Hub,
		Trust: func() (Trust, error) {
			d.trusts.mu.Lock()
			defer d.trusts.mu.Unlock()
			return Trust{Certificate: shown, Agents: d.trusts.agents, Clients: d.trusts.clients}, d.trusts.err
		},
		MayDial: func(client *x509.Certificate, _ string) error {
			if client.Subject.CommonName != "operator" {
				return errors.New("only the operator may")
			}
			return nil
		},
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	d.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	var once sync.Once
	d.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("serving: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("the server does not end")
			}
		})
	}
	t.Cleanup(d.stop)
}

func (d *door) credentials(cert tls.Certificate) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: d.serving.Pool, MinVersion: tls.VersionTLS12})
}

// agent runs an unmodified agent of apiserver-network-proxy until the returned function is called.
func (d *door) agent(t testing.TB, address, id string, cert tls.Certificate, options ...grpc.DialOption) (stop func()) {
	t.Helper()
	drain, end := make(chan struct{}), make(chan struct{})
	config := stock.ClientSetConfig{
		Address: address, AgentID: id, AgentIdentifiers: "default-route=true", SyncInterval: 20 * time.Millisecond, SyncIntervalCap: 100 * time.Millisecond,
		ProbeInterval: 50 * time.Millisecond, XfrChannelSize: 150,
		DialOptions: append(options, grpc.WithTransportCredentials(d.credentials(cert)), grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true})),
	}
	set := config.NewAgentClientSet(drain, end)
	set.SetServerCounter(two{})
	set.Serve()
	var once sync.Once
	stop = func() { once.Do(func() { close(end) }) }
	t.Cleanup(stop)
	return stop
}

// two is what the agent's binary takes from the server's header: that there are two servers.
type two struct{}

func (two) Count() int { return 2 }

// wait waits until a member's agents hold so many streams.
func (d *door) wait(t testing.TB, member string, streams int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the agents of %s hold %d streams", member, streams), func() bool {
		n := 0
		for _, a := range d.Agents(member) {
			n += a.Streams
		}
		return n == streams
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("within 20s it did not come true that %s", what)
}

// value is a metric's.
func (d *door) value(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if matches(m.Label, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func matches(have []*dto.LabelPair, want []string) bool {
	for i := 0; i+1 < len(want); i += 2 {
		ok := false
		for _, l := range have {
			ok = ok || l.GetName() == want[i] && l.GetValue() == want[i+1]
		}
		if !ok {
			return false
		}
	}
	return true
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// bare opens an agent's stream by hand.
func (d *door) bare(t testing.TB, cert tls.Certificate, id, identifiers string) agent.AgentService_ConnectClient {
	t.Helper()
	stream, end := d.brief(t, cert, id, identifiers)
	t.Cleanup(end)
	return stream
}

// try is how somebody with a certificate is answered: nil if he is let in.
func (d *door) try(t testing.TB, cert tls.Certificate) error {
	t.Helper()
	stream, end, err := d.connect(t, cert, "a", "")
	defer end()
	if err != nil {
		return err
	}
	return first(stream)
}

// brief is bare for a stream that is ended before its test.
func (d *door) brief(t testing.TB, cert tls.Certificate, id, identifiers string) (agent.AgentService_ConnectClient, func()) {
	t.Helper()
	stream, end, err := d.connect(t, cert, id, identifiers)
	if err != nil {
		end()
		t.Fatal(err)
	}
	return stream, end
}

func (d *door) connect(t testing.TB, cert tls.Certificate, id, identifiers string) (agent.AgentService_ConnectClient, func(), error) {
	t.Helper()
	conn, err := grpc.NewClient(d.address, grpc.WithTransportCredentials(d.credentials(cert)))
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), header.AgentID, id, header.AgentIdentifiers, identifiers)
	stream, err := agent.NewAgentServiceClient(conn).Connect(ctx)
	return stream, func() { _ = conn.Close() }, err
}

// client dials as an unmodified konnectivity client does.
func (d *door) client(t testing.TB, name, member, address string, by *proxytest.Authority) (net.Conn, error) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), ClusterHeader, member)
	tunnel, err := konnectivity.CreateSingleUseGrpcTunnelWithContext(t.Context(), ctx, d.address, grpc.WithTransportCredentials(d.credentials(by.Issue(t, pkix.Name{CommonName: name}, nil))))
	if err != nil {
		return nil, err
	}
	return tunnel.DialContext(ctx, "tcp", address)
}

// TestMain silences the unmodified agents and clients.
func TestMain(m *testing.M) {
	if os.Getenv(serveAlone) != "" {
		serveAloneAndExit()
	}
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

// long makes the tests of load as long as they are meant to be: go test ./proxy/server -long
var long = flag.Bool("long", false, "run the tests of load in full")

// of is a size in full, or what make test has time for.
func of(full, short int) int {
	if *long {
		return full
	}
	return short
}

func ask(t testing.TB, c net.Conn, word string) {
	t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(word))
	if _, err := io.ReadFull(c, back); err != nil || string(back) != word {
		t.Fatalf("%q came back as %q, %v", word, back, err)
	}
}

// first is how a stream answers: nil if it lets one in.
func first(stream interface {
	Recv() (*wirepb.Packet, error)
}) error {
	got := make(chan error, 1)
	go func() {
		_, err := stream.Recv()
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-time.After(2 * time.Second):
		return nil
	}
}

// relay passes bytes on until it is frozen; then it keeps the connections and passes nothing.
type relay struct {
	address string
	frozen  chan struct{}
}

func newRelay(t *testing.T, to string) *relay {
	r := &relay{frozen: make(chan struct{})}
	ended := t.Context().Done()
	pass := func(dst, src net.Conn) {
		b := make([]byte, 32<<10)
		for {
			n, err := src.Read(b)
			select {
			case <-r.frozen:
				<-ended
				return
			default:
			}
			if n > 0 {
				_, _ = dst.Write(b[:n])
			}
			if err != nil {
				_ = dst.Close()
				return
			}
		}
	}
	r.address = proxytest.Target(t, func(in net.Conn) {
		select {
		case <-r.frozen:
			<-ended
			return
		default:
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer out.Close()
		go pass(in, out)
		pass(out, in)
	})
	return r
}

func (r *relay) freeze() { close(r.frozen) }

// taken is what a process has taken of what there is.
type taken struct{ goroutines, descriptors, memory int }

func takenNow() taken {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd") // none where the system does not tell
	return taken{runtime.NumGoroutine(), len(files), int(m.HeapAlloc)}
}

// settle is what is taken when nothing happens.
func settle(t *testing.T) taken {
	t.Helper()
	var last taken
	eventually(t, "nothing happens", func() bool {
		now := takenNow()
		same := now.goroutines == last.goroutines && now.descriptors == last.descriptors
		last = now
		time.Sleep(100 * time.Millisecond)
		return same
	})
	return last
}

// isBack waits until no more is taken than before, but for what is held as a reserve.
func (before taken) isBack(t *testing.T) {
	t.Helper()
	var now taken
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		now = takenNow()
		if now.goroutines <= before.goroutines+10 && now.descriptors <= before.descriptors+5 && now.memory <= before.memory+2<<20 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("more is taken than before (%+v)", before)
			break
		}
	}
	t.Logf("goroutines %d, descriptors %d, memory %d KiB (before: %d, %d, %d)",
		now.goroutines, now.descriptors, now.memory>>10, before.goroutines, before.descriptors, before.memory>>10)
}
