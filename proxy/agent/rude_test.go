package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	agentproto "sigs.k8s.io/apiserver-network-proxy/proto/agent"
)

func (p *pki) rude(t *testing.T, r *rude) string {
	t.Helper()
	_, at := p.serve(t, "127.0.0.1:0", func(g *grpc.Server) { agentproto.RegisterAgentServiceServer(g, r) })
	return at
}

func TestAnAddressThatIsNotAllowedIsRefusedAndToldOnce(t *testing.T) {
	p, r := newPKI(), newRude()
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{"api.example:443"}})
	s := r.stream(t)
	for i := range 3 {
		s.say(t, dialReq(int64(i+1), "169.254.169.254:80"))
		if got := s.next(t).GetDialResponse(); got.GetConnectID() != 0 || !strings.Contains(got.GetError(), "not among the addresses allowed") || got.GetRandom() != int64(i+1) {
			t.Errorf("the answer is %v", got)
		}
	}
	if n := strings.Count(a.logs.String(), "169.254.169.254:80"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
	if got := a.metric(`dials_total{result="refused"}`); got != "3" {
		t.Errorf("%s are counted", got)
	}
}

func TestTheListOfAddresses(t *testing.T) {
	l := newAllowlist([]string{"Kubernetes.default.svc:443", "[::1]:6443", "10.0.0.1:6443"})
	for _, yes := range []string{"kubernetes.default.svc:443", "KUBERNETES.default.svc:443", "[0:0:0:0:0:0:0:1]:6443", "10.0.0.1:6443"} {
		if !l.has("tcp", yes) {
			t.Errorf("%s is refused", yes)
		}
	}
	for _, no := range []string{"", "kubernetes.default.svc", "kubernetes.default.svc:80", "kubernetes.default.svc.:443", "kubernetes.default.svc:443 ", "x.kubernetes.default.svc:443",
		"10.0.0.1:64430", "127.0.0.1:6443", "[::1]:443", "unix:/x", "::1:6443"} {
		if l.has("tcp", no) {
			t.Errorf("%q is allowed", no)
		}
	}
	if l.has("udp", "10.0.0.1:6443") || l.has("unix", "10.0.0.1:6443") {
		t.Error("another protocol is allowed")
	}
}

func TestAConnectionThatTakesNoBytesEndsAloneAndHoldsUpTheOthersForAMoment(t *testing.T) {
	p, r := newPKI(), newRude()
	slow, quick := deaf(t), target(t, echo)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{slow, quick}})
	s := r.stream(t)
	stuck, fine := s.connect(t, 1, slow), s.connect(t, 2, quick)
	// More than the queue and the buffers of the kernel take.
	chunk := bytes.Repeat([]byte("x"), 32<<10)
	for range 512 {
		s.say(t, data(stuck, chunk))
	}
	begun := time.Now()
	s.say(t, data(fine, []byte("ping")))
	var ended, answered bool
	for !ended || !answered {
		switch got := s.next(t); {
		case got.GetData().GetConnectID() == fine:
			answered = true
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("the other connection waited for %s", took)
			}
		case got.GetCloseResponse().GetConnectID() == stuck:
			if strings.Contains(got.GetCloseResponse().GetError(), "does not take the bytes") {
				ended = true
			} else if got.GetCloseResponse().GetError() != "unknown connection" {
				t.Errorf("it ended with %v", got)
			}
		}
	}
	if got := a.metric("stalled_connections_total"); got != "1" {
		t.Errorf("%s are counted", got)
	}
}

func TestAConnectionThatTakesBytesSlowlyLives(t *testing.T) {
	p, r := newPKI(), newRude()
	const all = 3 << 20
	got := make(chan int64, 1)
	slow := target(t, func(c net.Conn) {
		var n int64
		for n < all {
			m, err := io.CopyN(io.Discard, c, 64<<10)
			n += m
			if err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		got <- n
	})
	p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{slow}})
	s := r.stream(t)
	id := s.connect(t, 1, slow)
	for range all / (32 << 10) {
		s.say(t, data(id, make([]byte, 32<<10)))
	}
	select {
	case n := <-got:
		if n != all {
			t.Errorf("%d of %d bytes arrived", n, all)
		}
	case <-time.After(soon):
		t.Error("not all arrives")
	}
}

func TestAConnectionThatCatchesUpMayHoldUpItsStreamAgain(t *testing.T) {
	p, r := newPKI(), newRude()
	here, there := net.Pipe() // which buffers nothing
	defer func() { _ = there.Close() }()
	dial := func(context.Context, string, string) (net.Conn, error) { return here, nil }
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{"a:1"}, dial: dial, QueueBytes: 64 << 10, StallBudget: 500 * time.Millisecond})
	s := r.stream(t)
	id := s.connect(t, 1, "a:1")
	for round := range 5 {
		for range 4 {
			s.say(t, data(id, make([]byte, 32<<10)))
		}
		time.Sleep(200 * time.Millisecond) // of which the stream is held up for nearly all
		if n, err := io.CopyN(io.Discard, there, 128<<10); err != nil {
			t.Fatalf("in round %d, after %d bytes: %v", round, n, err)
		}
		eventually(t, "nothing waits", func() bool { return a.queued.Load() == 0 })
	}
}

func TestWhenAllHoldTooMuchAConnectionWithLittleGoesOn(t *testing.T) {
	p, r := newPKI(), newRude()
	quick := target(t, echo)
	here, there := net.Pipe() // which buffers nothing
	defer func() { _ = there.Close() }()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "a:1" {
			return here, nil
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	const all = 256 << 10
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{"a:1", quick}, dial: dial, QueueBytes: all, TotalQueueBytes: all})
	s := r.stream(t)
	stuck, fine := s.connect(t, 1, "a:1"), s.connect(t, 2, quick)
	for range all / (32 << 10) {
		s.say(t, data(stuck, make([]byte, 32<<10)))
	}
	eventually(t, "no more may wait", func() bool { return a.queued.Load() == all })
	for range 10 {
		s.say(t, data(fine, []byte("ping")))
		if got := s.next(t); got.GetData().GetConnectID() != fine || string(got.GetData().GetData()) != "ping" {
			t.Fatalf("it is answered with %v", got)
		}
	}
}

func TestWhatWaitsIsWrittenBeforeAConnectionIsClosed(t *testing.T) {
	p, r := newPKI(), newRude()
	got := make(chan []byte, 1)
	at := target(t, func(c net.Conn) {
		time.Sleep(100 * time.Millisecond)
		all, _ := io.ReadAll(c)
		got <- all
	})
	p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}})
	s := r.stream(t)
	id := s.connect(t, 1, at)
	sent := bytes.Repeat([]byte("y"), 512<<10)
	s.say(t, data(id, sent))
	s.say(t, closeReq(id))
	if !bytes.Equal(<-got, sent) {
		t.Error("something is missing")
	}
	if c := s.next(t).GetCloseResponse(); c.GetConnectID() != id || c.GetError() != "" {
		t.Errorf("the answer is %v", c)
	}
}

func TestTheEndOfTheOtherSideIsTold(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, func(c net.Conn) { _, _ = c.Write([]byte("bye")); _ = c.Close() })
	p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}})
	s := r.stream(t)
	id := s.connect(t, 1, at)
	if d := s.next(t).GetData(); string(d.GetData()) != "bye" || d.GetConnectID() != id {
		t.Errorf("got %v", d)
	}
	if c := s.next(t).GetCloseResponse(); c.GetConnectID() != id || c.GetError() != "" {
		t.Errorf("got %v", c)
	}
}

func TestPiecesAreNotLargerThanTheyMayBe(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, func(c net.Conn) { _, _ = c.Write(make([]byte, 4<<20)); _ = c.Close() })
	p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}})
	s := r.stream(t)
	s.connect(t, 1, at)
	all, most := 0, 0
	for {
		got := s.next(t)
		if got.GetType() == client.PacketType_CLOSE_RSP {
			break
		}
		all, most = all+len(got.GetData().GetData()), max(most, len(got.GetData().GetData()))
	}
	if all != 4<<20 || most > 32<<10 || most < 16<<10 {
		t.Errorf("%d bytes came, in pieces of up to %d", all, most)
	}
}

// never is a dial that ends with its context only.
func never(cancelled chan<- struct{}) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		cancelled <- struct{}{}
		return nil, ctx.Err()
	}
}

func TestAnAttemptThatTheServerGivesUpIsCancelled(t *testing.T) {
	p, r := newPKI(), newRude()
	cancelled := make(chan struct{}, 1)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{"a:1"}, DialTimeout: time.Hour, dial: never(cancelled)})
	s := r.stream(t)
	s.say(t, dialReq(7, "a:1"))
	eventually(t, "the attempt begins", func() bool { return a.counts.connections.Load() == 1 })
	s.say(t, &client.Packet{Type: client.PacketType_DIAL_CLS, Payload: &client.Packet_CloseDial{CloseDial: &client.CloseDial{Random: 7}}})
	select {
	case <-cancelled:
	case <-time.After(soon):
		t.Fatal("it goes on")
	}
	eventually(t, "it is counted", func() bool { return a.metric(`dials_total{result="cancelled"}`) == "1" })
	select {
	case got := <-s.got:
		t.Errorf("it is answered: %v", got)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestAnAttemptThatTakesTooLongFails(t *testing.T) {
	p, r := newPKI(), newRude()
	p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{"a:1"}, DialTimeout: 50 * time.Millisecond, dial: never(make(chan struct{}, 1))})
	s := r.stream(t)
	s.say(t, dialReq(7, "a:1"))
	if got := s.next(t).GetDialResponse(); got.GetRandom() != 7 || !strings.Contains(got.GetError(), "deadline exceeded") {
		t.Errorf("the answer is %v", got)
	}
}

func TestNothingThatAServerSaysEndsTheAgent(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, echo)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}})
	s := r.stream(t)
	nonsense := []*client.Packet{
		{}, {Type: 99}, {Type: client.PacketType_DRAIN}, {Type: client.PacketType_DATA}, {Type: client.PacketType_CLOSE_REQ}, {Type: client.PacketType_DIAL_CLS},
		{Type: client.PacketType_DIAL_RSP}, {Type: client.PacketType_CLOSE_RSP}, {Type: client.PacketType_DATA, Payload: &client.Packet_Drain{}},
		{Type: client.PacketType_DIAL_REQ, Payload: &client.Packet_DialRequest{}}, data(0, []byte("x")), data(-1, nil), closeReq(1 << 62), data(4711, []byte("x")),
	}
	for _, n := range nonsense {
		s.say(t, n)
	}
	var refused []int64
	for len(refused) < 3 {
		if c := s.next(t).GetCloseResponse(); c != nil {
			refused = append(refused, c.GetConnectID())
		}
	}
	slices.Sort(refused)
	if !slices.Equal(refused, []int64{-1, 4711, 1 << 62}) {
		t.Errorf("these connections are said to be unknown: %v", refused)
	}
	id := s.connect(t, 1, at)
	s.say(t, data(id, []byte("still here")))
	if got := string(s.next(t).GetData().GetData()); got != "still here" {
		t.Errorf("got %q", got)
	}
	if a.metric("protocol_violations_total") == "0" {
		t.Error("nothing is counted")
	}
}

func TestAnAttemptOfTheSameNameIsNoSecondAttempt(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, echo)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}})
	s := r.stream(t)
	id := s.connect(t, 1, at)
	s.say(t, dialReq(1, at))
	s.say(t, data(id, []byte("x")))
	if got := s.next(t); string(got.GetData().GetData()) != "x" {
		t.Errorf("got %v", got)
	}
	if n := a.counts.connections.Load(); n != 1 {
		t.Errorf("there are %d connections", n)
	}
}

func TestThereIsALimitToConnections(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, echo)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}, MaxConnections: 2})
	s := r.stream(t)
	s.connect(t, 1, at)
	id := s.connect(t, 2, at)
	s.say(t, dialReq(3, at))
	if got := s.next(t).GetDialResponse(); !strings.Contains(got.GetError(), "as many connections as it may have") {
		t.Errorf("the answer is %v", got)
	}
	s.say(t, closeReq(id))
	s.next(t)
	eventually(t, "there is room again", func() bool { return a.counts.connections.Load() == 1 })
	s.connect(t, 4, at)
}

func TestAnAgentThatEndsSaysSoAndLetsConnectionsGoOnForAWhile(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, echo)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}, Drain: 500 * time.Millisecond})
	s := r.stream(t)
	id := s.connect(t, 1, at)
	a.stop()
	if got := s.next(t); got.GetType() != client.PacketType_DRAIN {
		t.Fatalf("it says %v", got)
	}
	if a.Connected() == nil {
		t.Error("it is still ready")
	}
	s.say(t, data(id, []byte("x")))
	if got := s.next(t); string(got.GetData().GetData()) != "x" {
		t.Fatalf("it says %v", got)
	}
	s.say(t, dialReq(2, at))
	if got := s.next(t).GetDialResponse(); got.GetError() == "" {
		t.Errorf("it takes a new connection: %v", got)
	}
	if got := s.next(t).GetCloseResponse(); got.GetConnectID() != id || got.GetError() == "" {
		t.Errorf("it says %v", got)
	}
	select {
	case <-a.ended:
	case <-time.After(soon):
		t.Error("it does not end")
	}
}

func TestAnAgentWithoutConnectionsEndsAtOnce(t *testing.T) {
	p, r := newPKI(), newRude()
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Drain: time.Hour})
	r.stream(t)
	begun := time.Now()
	a.stop()
	<-a.ended
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestAServerThatEndsEachStreamAtOnceIsNotAskedWithoutAPause(t *testing.T) {
	p, r := newPKI(), newRude()
	r.refuse = true
	p.agent(t, Options{Servers: []string{p.rude(t, r)}})
	time.Sleep(2 * time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opens < 2 || r.opens > 25 {
		t.Errorf("it was asked %d times in two seconds", r.opens)
	}
}

func TestPausesGrowAndAreOfAnyLength(t *testing.T) {
	b := backoff{least: 100 * time.Millisecond, most: 15 * time.Second}
	for i := range 100 {
		bound := 15 * time.Second
		if i < 8 {
			bound = min(bound, 100*time.Millisecond<<i)
		}
		if d := b.next(); d < 10*time.Millisecond || d > bound+10*time.Millisecond {
			t.Errorf("pause %d is %s", i, d)
		}
	}
	b.reset()
	if d := b.next(); d > 110*time.Millisecond {
		t.Errorf("the first pause after a reset is %s", d)
	}
}

// It takes half a minute: gRPC asks no more often than every ten seconds.
func TestAServerThatIsAskedTooOftenIsAskedLessOften(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Parallel()
	p, r := newPKI(), newRude()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{*p.issue("server", time.Hour)}, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert})),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 15 * time.Second, PermitWithoutStream: true}))
	agentproto.RegisterAgentServiceServer(g, r)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	a := p.agent(t, Options{Servers: []string{l.Addr().String()}, MaxBackoff: 200 * time.Millisecond})
	if !await(70*time.Second, func() bool { return a.keepers[0].silence() == 20*time.Second }) {
		t.Fatalf("it is asked after %s still", a.keepers[0].silence())
	}
	eventually(t, "it is connected again", func() bool { return a.Connected() == nil })
}

func TestAStreamIsReplacedWhenThereIsANewCertificate(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, echo)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}})
	first := r.stream(t)
	id := first.connect(t, 1, at)
	a.creds.set(p.issue("agent", 2*time.Hour))
	second := r.stream(t)
	if got := first.next(t); got.GetType() != client.PacketType_DRAIN {
		t.Fatalf("the first is told %v", got)
	}
	other := second.connect(t, 1, at)
	if other == id {
		t.Error("two streams use one name")
	}
	first.say(t, data(id, []byte("x")))
	if got := first.next(t); string(got.GetData().GetData()) != "x" {
		t.Fatalf("the connection of the first stream did not go on: %v", got)
	}
	first.say(t, closeReq(id))
	first.next(t)
	eventually(t, "the first stream ends when it carries nothing more", func() bool { return a.counts.streams.Load() == 1 })
	second.say(t, data(other, []byte("y")))
	if got := second.next(t); string(got.GetData().GetData()) != "y" {
		t.Errorf("got %v", got)
	}
}

func TestAStreamEndsBeforeItsCertificateDoes(t *testing.T) {
	p, r := newPKI(), newRude()
	at := target(t, echo)
	short := p.issue("agent", 3*time.Second)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Allow: []string{at}, Credentials: &held{current: short}})
	s := r.stream(t)
	s.connect(t, 1, at)
	for range s.got { // until the stream ends
	}
	if !time.Now().Before(short.Leaf.NotAfter.Add(time.Second)) {
		t.Errorf("it ended %s after its certificate", time.Since(short.Leaf.NotAfter))
	}
	eventually(t, "it is not ready", func() bool { return a.Connected() != nil })
}

func TestACertificateInItsLastMomentsOpensNoStream(t *testing.T) {
	p, r := newPKI(), newRude()
	creds := &held{current: p.issue("agent", 20*time.Second)}
	// A minute ago it was good for another minute.
	creds.current.Leaf.NotBefore = time.Now().Add(-time.Hour)
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Credentials: creds})
	eventually(t, "it says why", func() bool { return strings.Contains(fmt.Sprint(a.Connected()), "there is no other yet") })
	creds.set(p.issue("agent", time.Hour))
	r.stream(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opens != 1 {
		t.Errorf("%d streams were opened", r.opens)
	}
}

func TestWithoutACertificateItWaitsForOne(t *testing.T) {
	p, r := newPKI(), newRude()
	creds := &held{}
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}, Credentials: creds})
	eventually(t, "it says why it is not ready", func() bool {
		err := a.Connected()
		return err != nil && strings.Contains(err.Error(), "no certificate yet")
	})
	creds.set(p.issue("agent", time.Hour))
	r.stream(t)
	eventually(t, "it is ready", func() bool { return a.Connected() == nil })
}

func TestOtherServersAreNotTrusted(t *testing.T) {
	p, stranger, r := newPKI(), newPKI(), newRude()
	a := p.agent(t, Options{Servers: []string{stranger.rude(t, r)}})
	eventually(t, "it says why", func() bool {
		return strings.Contains(fmt.Sprint(a.Connected()), "certificate signed by unknown authority")
	})
	if len(r.arrived) != 0 {
		t.Error("it connected")
	}
}

func TestHealthAndMetricsAreServed(t *testing.T) {
	p, r := newPKI(), newRude()
	a := p.agent(t, Options{Servers: []string{p.rude(t, r)}})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	r.stream(t)
	eventually(t, "it is ready", func() bool { code, _ := get("/readyz"); return code == http.StatusOK })
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d", code)
	}
	code, body := get("/metrics")
	if code != http.StatusOK || !strings.Contains(body, "# TYPE cellfed_agent_streams gauge\ncellfed_agent_streams 1\n") {
		t.Errorf("/metrics answers %d:\n%s", code, body)
	}
	for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
		if !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "cellfed_agent_") {
			t.Errorf("a line of another: %s", line)
		}
	}
}
