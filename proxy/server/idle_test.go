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
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cellfed/cellfed/proxy/agent"
	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/test/harness/process"
)

// serveAlone is set for a process of this test's binary that is a server and nothing else.
const serveAlone = "CELLFED_TEST_SERVE_TUNNELS"

// alone is what such a process reads from its standard input first. It writes its address, and for each further line the
// number of streams that agents hold; it ends with its input.
type alone struct {
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
		h.Admit(m, enrolled)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
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
		if _, err := in.ReadString('\n'); err != nil {
			end()
			return <-served
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
	pid int
	in  io.Writer
	out *bufio.Reader
}

func openAlone(t *testing.T, members []string) *lonely {
	t.Helper()
	d := &door{serving: newAuthority(t, "serving"), agents: newAuthority(t, "agents"), clients: newAuthority(t, "clients")}
	cert := d.certificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(alone{Members: members, Certificate: cert.Certificate[0], Key: key, Agents: d.agents.cert.Raw, Clients: d.clients.cert.Raw})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveAlone+"=yes")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := process.StartBound(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server's process: %v\n%s", err, &said)
		}
	})
	l := &lonely{door: d, pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}
	d.address = l.tell(t, string(config))
	return l
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
		if last = l.tell(t, "how many?"); last == strconv.Itoa(want) {
			return
		}
	}
	t.Fatalf("after %s agents hold %s streams, not %d", limit, last, want)
}

// memory is what the process has in memory, and the most that it had, in KiB.
func (l *lonely) memory(t *testing.T) (now, most int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.pid))
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
func (f fixed) Current() (*tls.Certificate, <-chan struct{}) { return f.Certificate, nil }

func TestAThousandIdleAgentsFitInOneServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for keepalives")
	}
	var members []string
	for n := range of(1000, 100) {
		members = append(members, fmt.Sprint("m-", n))
	}
	server := openAlone(t, members)
	empty, _ := server.memory(t)
	address := serveTCP(t, echo)
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	began := time.Now()
	for _, m := range members {
		cert := server.agents.agentCert(t, m, nil)
		cert.Leaf, _ = x509.ParseCertificate(cert.Certificate[0]) // it was made here
		a, err := agent.New(agent.Options{
			Servers: []string{server.address}, Credentials: fixed{&cert}, Allow: []string{address},
			ServerCA: func() (*x509.CertPool, error) { return server.serving.pool, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { a.Run(ctx) })
	}
	server.streams(t, 2*len(members), 5*time.Minute)
	connected := time.Since(began)

	// Longer than a connection may be silent, so that both ends have asked the other.
	time.Sleep(keepaliveTime + keepaliveTimeout)
	server.streams(t, 2*len(members), time.Second)
	idle, most := server.memory(t)
	each := float64(idle-empty) / float64(len(members))
	t.Logf("%d agents were connected after %s; the server has %d MiB with them, had at most %d and %d without any: %.0f KiB for each",
		len(members), connected.Round(time.Millisecond), idle>>10, most>>10, empty>>10, each)
	const limit = 500 << 10
	if will := float64(empty) + 1000*each; will > limit && !racing() {
		t.Errorf("a thousand agents take %.0f MiB", will/1024)
	}
	for n := range 10 {
		c, err := server.client(t, "operator", members[n*len(members)/10], address, server.clients)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, "are you there?")
		_ = c.Close()
	}
}

// racing tells whether the race detector is there, which has memory of its own for all memory.
func racing() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
