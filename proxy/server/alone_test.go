package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cellfed/cellfed/proxy/agent"
	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
	"github.com/cellfed/cellfed/test/harness/process"
)

// serveAlone is set for a process of this test's binary that is a server and nothing else.
const serveAlone = "CELLFED_TEST_SERVE_TUNNELS"

// alone is what such a process reads from its standard input first. It writes its address, and for each further line, which
// is an address, whether all members were reached there; for an empty one the number of streams that agents hold. It ends
// with its input.
type alone struct {
	Address          string
	Members          []string
	Certificate, Key []byte // in DER
	Agents, Clients  []byte
}

func (a alone) serve(in *bufio.Reader, out io.Writer) error {
	key, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return err
	}
	trust := Trust{Certificate: tls.Certificate{Certificate: [][]byte{a.Certificate}, PrivateKey: key}, Agents: x509.NewCertPool(), Clients: x509.NewCertPool()}
	for der, pool := range map[string]*x509.CertPool{string(a.Agents): trust.Agents, string(a.Clients): trust.Clients} {
		c, err := x509.ParseCertificate([]byte(der))
		if err != nil {
			return err
		}
		pool.AddCert(c)
	}
	h := hub.New(hub.Options{Metrics: prometheus.NewRegistry()})
	for _, m := range a.Members {
		h.Admit(m, proxytest.Enrolment)
	}
	listener, err := net.Listen("tcp", a.Address)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- New(Options{Hub: h, Trust: func() (Trust, error) { return trust, nil }, MayDial: func(*x509.Certificate, string) error { return nil }}).Serve(ctx, listener)
	}()
	fmt.Fprintln(out, listener.Addr())
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			end()
			return <-served
		}
		if address := strings.TrimSpace(line); address != "" {
			fmt.Fprintf(out, "%q\n", fmt.Sprint(reachAll(h, a.Members, address)))
			continue
		}
		streams := 0
		for _, m := range a.Members {
			for _, agent := range h.Agents(m) {
				streams += agent.Streams
			}
		}
		fmt.Fprintln(out, streams)
	}
}

// reachAll dials an address in all members, as the plane does.
func reachAll(h *hub.Hub, members []string, address string) error {
	problems := make(chan error)
	for _, m := range members {
		go func() {
			c, err := h.Dial(context.Background(), m, address, hub.Control)
			if err == nil {
				if !answers(c, "are you there?") {
					err = errors.New("it does not answer")
				}
				_ = c.Close()
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", m, err)
			}
			problems <- err
		}()
	}
	var all []error
	for range members {
		all = append(all, <-problems)
	}
	return errors.Join(all...)
}

// serveAloneAndExit is the main function of such a process.
func serveAloneAndExit() {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	var a alone
	err = errors.Join(err, json.Unmarshal(line, &a))
	if err == nil {
		err = a.serve(in, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// lonely is such a process as its parent sees it.
type lonely struct {
	*door
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said bytes.Buffer
}

// openAlone starts a process that serves some members.
func openAlone(t *testing.T, members []string) *lonely {
	t.Helper()
	l := &lonely{door: &door{serving: proxytest.NewAuthority(t, "serving"), agents: proxytest.NewAuthority(t, "agents"), clients: proxytest.NewAuthority(t, "clients")}}
	l.open(t, "127.0.0.1:0", members)
	return l
}

// another starts one more process with the same authorities.
func (l *lonely) another(t *testing.T, address string, members []string) *lonely {
	t.Helper()
	o := &lonely{door: &door{serving: l.serving, agents: l.agents, clients: l.clients}}
	o.open(t, address, members)
	return o
}

func (l *lonely) open(t *testing.T, address string, members []string) {
	t.Helper()
	cert := l.certificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(alone{Address: address, Members: members, Certificate: cert.Certificate[0], Key: key, Agents: l.agents.Certificate.Raw, Clients: l.clients.Certificate.Raw})
	if err != nil {
		t.Fatal(err)
	}
	l.cmd = exec.Command(os.Args[0])
	l.cmd.Env = append(os.Environ(), serveAlone+"=yes")
	l.cmd.Stderr = &l.said
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.StartBound(l.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l.cmd.ProcessState != nil {
			return // killed
		}
		_ = l.in.Close()
		if err := l.cmd.Wait(); err != nil {
			t.Errorf("the server's process: %v\n%s", err, &l.said)
		}
	})
	l.out = bufio.NewReader(out)
	l.address = l.tell(t, string(config))
}

// kill ends the process as a crash does.
func (l *lonely) kill() {
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait() // it says that it was killed
}

// tell says a line to the process, and returns what it answers.
func (l *lonely) tell(t *testing.T, line string) string {
	t.Helper()
	if _, err := fmt.Fprintln(l.in, line); err != nil {
		t.Fatal(err)
	}
	answer, err := l.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(answer)
}

// streams waits until agents hold so many.
func (l *lonely) streams(t *testing.T, want int, limit time.Duration) {
	t.Helper()
	last := ""
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if last = l.tell(t, ""); last == strconv.Itoa(want) {
			return
		}
	}
	t.Fatalf("after %s agents hold %s streams, not %d", limit, last, want)
}

// memory is what the process has in memory, and the most that it had, in KiB.
func (l *lonely) memory(t *testing.T) (now, most int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.cmd.Process.Pid))
	if err != nil {
		t.Skipf("this system does not tell the memory of processes: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &now)
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &most)
	}
	return now, most
}

// fixed is a certificate that stays.
type fixed struct{ *tls.Certificate }

// Current implements agent.Credentials.
func (f fixed) Current() (*tls.Certificate, <-chan struct{}) {
	return f.Certificate, make(chan struct{})
}

// keep runs our agent of a member until ctx ends.
func (l *lonely) keep(ctx context.Context, t *testing.T, running *sync.WaitGroup, member, allow string, servers ...string) {
	t.Helper()
	cert := l.agents.Agent(t, member, nil)
	cert.Leaf, _ = x509.ParseCertificate(cert.Certificate[0]) // it was made here
	a, err := agent.New(agent.Options{
		Servers: servers, Credentials: fixed{&cert}, Allow: []string{allow},
		ServerCA: func() (*x509.CertPool, error) { return l.serving.Pool, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { a.Run(ctx) })
}
