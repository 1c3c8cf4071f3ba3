package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cellfed/cellfed/proxy/proxytest"
	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/kubelet"
)

// memberName is a name in the member's certificate that leads nowhere from here.
const memberName = "kubernetes.default.svc.cluster.local"

// secret is typed through exec, and must pass nobody in clear.
const secret = "open-sesame-8f1c2b"

// Whoever has kubectl uses a member behind a tunnel as one that can be reached. Each story is also told without the tunnel,
// so that a failure says who is at fault.
func TestExecAttachLogsAndPortForwardWorkThroughTheTunnel(t *testing.T) {
	s := newSite(t, harness.MembersWithAudit())
	toPlane := newRelay(t, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.tunnels)
	}, secret)
	dir, command := s.join()
	redirected := false
	for i, arg := range command {
		if arg == "--server="+s.tunnels {
			command[i], redirected = "--server="+toPlane.address, true
		}
	}
	if !redirected {
		t.Fatalf("the agent's command names no server %s: %v", s.tunnels, command)
	}
	kill := s.agent(command)
	s.becomes("True", "1")

	// What passes here is what the plane has in its hands.
	port := s.port(dir)
	toMember := newRelay(t, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", port)
	}, secret, memberName)
	through := s.kubeconfig(toMember.address)
	member := &stage{client: kubernetes.NewForConfigOrDie(s.member.Config), audit: s.member.AuditLog}
	member.node = kubelet.Start(t, member.client, "node-1")
	member.node.Run(t, "default", "worker", "sleep", "3600")

	for _, way := range []struct{ name, kubeconfig string }{{"directly", s.member.Kubeconfig}, {"through the tunnel", through}} {
		for _, streams := range []transport{websocket, spdy} {
			t.Run(way.name+" by "+string(streams), func(t *testing.T) {
				member.act(user{T: t, kubeconfig: way.kubeconfig, streams: streams})
			})
		}
	}

	t.Run("whoever is slow is not cut off", func(t *testing.T) { slow(t, through) })

	for name, r := range map[string]*relay{"the plane": toMember, "between agent and plane": toPlane} {
		found, passed := r.has(secret)
		if found {
			t.Errorf("%s: what was typed passes in clear", name)
		}
		if passed < 4*len(noise) { // there and back, in two transports
			t.Errorf("%s: only %d bytes passed, so it was not by this way", name, passed)
		}
	}
	// The one thing that TLS tells everybody is the name that is asked for.
	if found, _ := toMember.has(memberName); !found {
		t.Error("the name of the member's API server did not pass, so what passes is not seen")
	}
	if theirs, direct := s.certificate(toMember.address), s.certificate(s.host()); !theirs.Equal(direct) {
		t.Errorf("through the tunnel the server is %s, and it is %s", theirs.Subject, direct.Subject)
	}

	s.streamsEndWithTheAgent(member, through, kill, command)
}

// streamsEndWithTheAgent kills the agent in the middle of all kinds of streams, and starts it again.
func (s *site) streamsEndWithTheAgent(member *stage, kubeconfig string, kill func(), command []string) {
	s.Helper()
	s.Log("An agent that dies takes its streams along, and nobody waits for them")
	lost := map[*kubectl]bool{} // whether it says that it failed
	var forwarded []net.Conn
	for _, streams := range []transport{websocket, spdy} {
		u := user{T: s.T, kubeconfig: kubeconfig, streams: streams}
		shell := u.start("exec", "-i", "worker", "--", "cat")
		shell.types("before\n")
		shell.shows("before\n")
		lost[shell] = streams == websocket // by SPDY, kubectl takes the end of a connection for the end of the command
		forward, local := u.forward(member.echo(s.T))
		conn := dial(s.T, local)
		greeted(s.T, conn)
		lost[forward], forwarded = true, append(forwarded, conn)
	}
	u := user{T: s.T, kubeconfig: kubeconfig, streams: websocket}
	member.node.Run(s.T, "default", "talker", "cat").Say(s.T, "hello\n")
	logs := u.start("logs", "-f", "talker")
	logs.shows("hello\n")
	watch := u.start("get", "pod", "worker", "--watch", "-o", "name")
	watch.shows("pod/worker\n")
	lost[logs], lost[watch] = true, false // kubectl makes nothing of a watch that ends

	kill()
	for k, fails := range lost {
		if code := k.ends(); fails && code == 0 {
			s.Errorf("%s takes it for a success:\n%s%s", k.command, k.out.String(), k.problems.String())
		}
	}
	for _, c := range forwarded {
		var late net.Error
		if rest, err := io.ReadAll(c); errors.As(err, &late) && late.Timeout() {
			s.Errorf("a forwarded connection goes on: %q", rest)
		}
	}
	s.eventually("no command is left in the member", func() bool { return member.node.Executing() == 0 })
	s.becomes("False", "0")
	if k := u.run("", "exec", "worker", "--", "true"); k.ends() == 0 {
		s.Error("exec reaches a member without an agent")
	}

	s.agent(command)
	s.becomes("True", "1")
	for _, streams := range []transport{websocket, spdy} {
		u := user{T: s.T, kubeconfig: kubeconfig, streams: streams}
		u.run("after\n", "exec", "-i", "worker", "--", "cat").succeeds("after\n")
		_, local := u.forward(member.echo(s.T))
		greeted(s.T, dial(s.T, local))
	}
}

// kubeconfig is the member's with another address, and with a name that the member's certificate has for TLS.
func (s *site) kubeconfig(address string) string {
	s.Helper()
	config, err := clientcmd.LoadFromFile(s.member.Kubeconfig)
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range config.Clusters {
		c.Server, c.TLSServerName = "https://"+address, memberName
	}
	path := filepath.Join(s.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		s.Fatal(err)
	}
	return path
}

// host is where the member's API server is.
func (s *site) host() string {
	s.Helper()
	endpoint, err := url.Parse(s.member.Config.Host)
	if err != nil {
		s.Fatal(err)
	}
	return endpoint.Host
}

// certificate is whom TLS finds at an address, when it trusts the member's authority alone.
func (s *site) certificate(address string) *x509.Certificate {
	s.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.member.Config.CAData)
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: memberName, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(s.Context(), "tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// stage is a member with a node, for stories with kubectl.
type stage struct {
	client kubernetes.Interface
	audit  string
	node   *kubelet.Kubelet
	acts   int
}

// act tells all stories once.
func (m *stage) act(u user) {
	m.acts++
	before := len(m.audited(u))
	m.exec(u)
	m.attach(u)
	m.portForward(u)
	// kubectl takes the other transport when one does not work, and says nothing.
	seen := map[string]bool{}
	for _, e := range m.audited(u)[before:] {
		if e.ObjectRef == nil || e.ObjectRef.Subresource == "" || e.ObjectRef.Subresource == "log" || !strings.HasPrefix(e.UserAgent, "kubectl/") {
			continue
		}
		seen[e.ObjectRef.Subresource] = true
		if e.Verb != u.streams.verb() {
			u.Errorf("%s came as %s, so it was not by %s", e.ObjectRef.Subresource, e.Verb, u.streams)
		}
	}
	if !seen["exec"] || !seen["attach"] || !seen["portforward"] {
		u.Errorf("not all came to the member: %v", seen)
	}
	m.logs(u)
	m.watch(u)
}

// event is what we read of an audit event.
type event struct {
	Verb, UserAgent string
	ObjectRef       *struct{ Subresource string }
}

func (m *stage) audited(u user) []event {
	u.Helper()
	log, err := os.Open(m.audit)
	if err != nil {
		u.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	var out []event
	for decoder := json.NewDecoder(log); ; {
		var e event
		switch err := decoder.Decode(&e); err {
		case nil:
			out = append(out, e)
		case io.EOF, io.ErrUnexpectedEOF: // the last line may be being written
			return out
		default:
			u.Fatal(err)
		}
	}
}

// noise is a few megabytes of text that does not compress.
var noise = func() string {
	bytes := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(bytes)
	return base64.StdEncoding.EncodeToString(bytes)
}()

func (m *stage) exec(u user) {
	k := u.run("a "+secret+"\n", "exec", "-i", "worker", "--", "sh", "-c", `read a word; echo "the word is $word"; echo "a problem" >&2; exit 7`)
	if code := k.ends(); code != 7 || k.out.String() != "the word is "+secret+"\n" || !strings.HasPrefix(k.problems.String(), "a problem\n") {
		u.Errorf("exec ended with %d: %q, %q", code, k.out.String(), k.problems.String())
	}
	u.run("", "exec", "worker", "--", "echo", "no input").succeeds("no input\n")
	u.run(noise, "exec", "-i", "worker", "--", "cat").succeeds(noise)

	// Whoever leaves, leaves nothing behind.
	k = u.start("exec", "-i", "worker", "--", "cat")
	k.types("hello\n")
	k.shows("hello\n")
	k.kill()
	for end := time.Now().Add(patience); m.node.Executing() > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			u.Fatal("the command goes on, and kubectl was killed")
		}
	}
}

// slow has a command that reads late what is written to it, and somebody who reads late what a command writes.
func slow(t *testing.T, kubeconfig string) {
	const late = 6 * time.Second // more than a stream may be held up for
	const all = 24 << 20         // more than all the buffers take
	waiting := map[*kubectl]string{}
	for _, streams := range []transport{websocket, spdy} {
		u := user{T: t, kubeconfig: kubeconfig, streams: streams}
		writes := u.start("exec", "-i", "worker", "--", "sh", "-c", fmt.Sprintf("sleep %.0f; wc -c | tr -d ' '", late.Seconds()))
		go func() {
			_, _ = io.CopyN(writes.stdin, zeros{}, all) // the count is looked at
			_ = writes.stdin.Close()
		}()
		waiting[writes] = fmt.Sprintln(all)
		u.pause = late
		reads := u.start("exec", "-i", "worker", "--", "sh", "-c", fmt.Sprintf("head -c %d /dev/zero; echo; read line; true", all))
		waiting[reads] = strings.Repeat("\x00", all) + "\n"
		// An API server that has closed its side forgets what is under way when it is sent anything, and kubectl sends pings.
		// That is so without a tunnel as well; so the command ends when all has arrived.
	}
	for k, want := range waiting {
		if strings.HasSuffix(want, "\x00\n") {
			k.shows("\x00\n")
			_ = k.stdin.Close()
		}
		k.succeeds(want)
	}
}

// zeros is as many of them as anybody wants.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func (m *stage) attach(u user) {
	pod := fmt.Sprintf("attached-%d", m.acts)
	m.node.Run(u, "default", pod, "sh", "-c", `while read line; do echo "heard $line"; done`)
	k := u.start("attach", "-i", pod)
	k.types("one\n")
	k.shows("heard one\n")
	k.types("two\n")
	k.shows("heard two\n")
	_ = k.stdin.Close()
	k.succeeds("heard one\nheard two\n")
}

func (m *stage) logs(u user) {
	name := fmt.Sprintf("logged-%d", m.acts)
	pod := m.node.Run(u, "default", name, "cat")
	pod.Say(u, "first\nsecond\n")
	follow := u.start("logs", "-f", name)
	follow.shows("first\nsecond\n")
	u.run("", "logs", "--tail=1", name).succeeds("second\n")
	pod.Say(u, "third\n")
	follow.shows("third\n")
	pod.EndInput()
	follow.succeeds("first\nsecond\nthird\n")
	u.run("", "logs", name).succeeds("first\nsecond\nthird\n")
}

func (m *stage) watch(u user) {
	name := fmt.Sprintf("watched-%d", m.acts)
	maps := m.client.CoreV1().ConfigMaps("default")
	c, err := maps.Create(u.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": "one"}}, metav1.CreateOptions{})
	if err != nil {
		u.Fatal(err)
	}
	// Not by its name: kubectl then takes the first that the watch tells for what it has shown already.
	k := u.start("get", "configmaps", "--field-selector=metadata.name="+name, "--watch", "-o", `jsonpath={.data.value}{"\n"}`)
	k.shows("one\n")
	c.Data["value"] = "two"
	if _, err := maps.Update(u.Context(), c, metav1.UpdateOptions{}); err != nil {
		u.Fatal(err)
	}
	k.shows("two\n")
}

func (m *stage) portForward(u user) {
	_, local := u.forward(m.echo(u.T))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			conn := dial(u.T, local)
			if conn == nil {
				return
			}
			reader := greeted(u.T, conn)
			said := noise[:1<<20]
			go func() {
				_, _ = io.WriteString(conn, said)
				_ = conn.(*net.TCPConn).CloseWrite()
			}()
			if back, err := io.ReadAll(reader); err != nil || string(back) != said {
				u.Errorf("%d bytes came back of %d: %v", len(back), len(said), err)
			}
		})
	}
	all.Wait()
}

// echo is a port that greets and then says what it hears.
func (m *stage) echo(t *testing.T) (port string) {
	t.Helper()
	_, port, err := net.SplitHostPort(proxytest.Target(t, func(c net.Conn) {
		if _, err := io.WriteString(c, greeting); err == nil {
			_, _ = io.Copy(c, c)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

const greeting = "welcome\n"

// forward forwards a local port to one of the worker's.
func (u user) forward(port string) (k *kubectl, local string) {
	u.Helper()
	k = u.start("port-forward", "pod/worker", "--address=127.0.0.1", ":"+port)
	k.shows("-> " + port + "\n")
	_, rest, _ := strings.Cut(k.out.String(), "Forwarding from ")
	local, _, _ = strings.Cut(rest, " ")
	return k, local
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Errorf("connecting: %v", err)
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// greeted reads the greeting.
func greeted(t *testing.T, conn net.Conn) *bufio.Reader {
	t.Helper()
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || line != greeting {
		t.Errorf("the greeting is %q: %v", line, err)
	}
	return r
}
