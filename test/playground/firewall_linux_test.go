package playground

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	api "github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/test/harness"
)

// TestNobodyConnectsToAMemberBehindAFirewallButFromInside tries the best firewall that the machine has, and the one for
// machines that make no network namespaces.
func TestNobodyConnectsToAMemberBehindAFirewallButFromInside(t *testing.T) {
	for _, firewall := range []api.Firewall{api.BestFirewall, api.Doorkeeper} {
		t.Run(string(firewall), func(t *testing.T) {
			named, other := webServer(t), webServer(t)
			set := harness.Members(t, 1, harness.MembersFirewalled(firewall, []string{"member-1"}, strings.TrimPrefix(named, "http://")))
			m := set.Members[0]
			t.Logf("the firewall is a %s", m.Firewall)
			closedButInside(t, m)

			t.Log("Inside leads a way out to what was named")
			if out, err := m.Kubectl(t.Context(), "", "", "--server="+named, "get", "--raw", "/"); err != nil || out != "served" {
				t.Errorf("what was named cannot be reached: %v, %s", err, out)
			}
			if out, err := m.Kubectl(t.Context(), "", "", "--server="+other, "get", "--raw", "/"); err == nil && m.Firewall == api.NetworkNamespace {
				t.Errorf("what was not named can be reached: %s", out)
			}

			t.Log("It outlives the member's process")
			m.Stop(t)
			m.Start(t)
			closedButInside(t, m)

			t.Log("Nothing of it outlives the playground and those who run something inside")
			command, err := m.Inside("sleep", "600")
			if err != nil {
				t.Fatal(err)
			}
			inside, letGo := startFromThread(t, command)
			eventually(t, 10*time.Second, func() error { return becomes(inside, "sleep") })
			network := networkOf(t, inside)
			if apart := network != networkOf(t, os.Getpid()); apart != (m.Firewall == api.NetworkNamespace) {
				t.Errorf("a process inside has a network of its own: %t", apart)
			}
			pids := processesOf(t, set)
			if err := syscall.Kill(set.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			noneLeft(t, pids)
			letGo()
			noneLeft(t, []int{inside})
			if m.Firewall == api.NetworkNamespace {
				// It has no name, so that without a process it is not there.
				noneIn(t, network)
			}
		})
	}
}

// startFromThread starts a process which the kernel kills when the thread that started it ends, as it ends by letGo.
func startFromThread(t *testing.T, command []string) (pid int, letGo func()) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, end := make(chan error), make(chan struct{})
	var start func()
	start = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		if syscall.Gettid() == os.Getpid() {
			go start() // The first thread of a process does not end, and is held so that the next is another.
			<-end
			return
		}
		started <- cmd.Start()
		<-end
	}
	go start()
	letGo = sync.OnceFunc(func() { close(end) })
	t.Cleanup(letGo)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	return cmd.Process.Pid, letGo
}

func webServer(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("served")) }))
	t.Cleanup(s.Close)
	return s.URL
}

func closedButInside(t *testing.T, m *harness.Member) {
	t.Helper()
	if _, err := m.Kubectl(t.Context(), m.Kubeconfig, "", "get", "--raw", "/version"); err != nil {
		t.Errorf("from inside: %v", err)
	}
	if out, err := harness.Kubectl(t.Context(), m.Kubeconfig, "", "get", "--raw", "/version"); err == nil {
		t.Errorf("from outside it answers: %s", out)
	}
}

// becomes says whether a process is another program by now.
func becomes(pid int, program string) error {
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err == nil && strings.TrimSpace(string(name)) != program {
		err = fmt.Errorf("it is %s still", name)
	}
	return err
}

func networkOf(t *testing.T, pid int) string {
	t.Helper()
	network, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", "net"))
	if err != nil {
		t.Fatal(err)
	}
	return network
}

// noneIn fails if a process is in a network.
func noneIn(t *testing.T, network string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if found, err := os.Readlink(link); err == nil && found == network {
			t.Errorf("%s is in the network of a playground that is gone", link)
		}
	}
}
