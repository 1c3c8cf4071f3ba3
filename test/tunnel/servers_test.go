package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/database"
	"github.com/cellfed/cellfed/test/harness/process"
)

func TestMain(m *testing.M) { os.Exit(database.Main(m)) }

// reachable is how soon a member is to be reached again when one of two servers was killed.
const reachable = 2 * time.Second

// streamsOf is how many streams of hz-1's agents a server says that it has.
func streamsOf(t *testing.T, p *harness.Plane) int {
	t.Helper()
	raw, err := kubernetes.NewForConfigOrDie(p.RestConfig()).Discovery().RESTClient().Get().AbsPath("/metrics").Do(t.Context()).Raw()
	if err != nil {
		return -1
	}
	n := 0
	for line := range bytes.Lines(raw) {
		if value, found := strings.CutPrefix(string(line), `cellfed_tunnel_streams{`); found && strings.Contains(value, `member="hz-1"`) {
			f, _ := strconv.ParseFloat(strings.TrimSpace(value[strings.LastIndex(value, " ")+1:]), 64)
			n += int(f)
		}
	}
	return n
}

// reach asks the member something, on a new connection through the server's tunnels.
func (s *site) reach(agentDir string) error {
	s.Helper()
	return s.through(s.tunnels, agentDir).Discovery().RESTClient().Get().AbsPath("/version").Timeout(10 * time.Second).Do(s.Context()).Error()
}

// sees waits until a watch tells of a ConfigMap.
func sees(watch <-chan apiwatch.Event, name string) error {
	for {
		select {
		case e, open := <-watch:
			if !open {
				return errors.New("it ended")
			}
			if c, ok := e.Object.(*corev1.ConfigMap); ok && c.Name == name {
				return nil
			}
		case <-time.After(time.Minute):
			return errors.New("it tells nothing")
		}
	}
}

// Two servers of one plane, and an agent that holds tunnels to both. The one that leads is killed.
func TestWhenOneOfTwoServersIsKilledTheMemberIsReachedThroughTheOther(t *testing.T) {
	m := database.SharedMariaDB(t)
	url := m.URL(m.Database(t))
	member := harness.Members(t, 1, harness.MembersNamed("hz-1")).Members[0]
	dirs := [2]string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	var servers [2]*site
	for i := range servers {
		if i > 0 {
			harness.HandKeys(t, dirs[0], dirs[1])
		}
		port, err := process.FreePort("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		servers[i] = &site{T: t, member: member, tunnels: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
			plane: harness.RunPlane(t, harness.PlaneOptions{DataDir: dirs[i], Args: []string{"--storage=" + url, fmt.Sprintf("--tunnel-port=%d", port)}})}
	}
	first, other := servers[0], servers[1] // the first one leads, as it was there first
	first.eventually("both tell where their tunnels are", func() bool {
		told := first.kubectl("get", "configmap", "cellfed-tunnel-servers", "-n", "kube-federation-system", "-o", "jsonpath={.data}")
		return strings.Contains(told, first.tunnels) && strings.Contains(told, other.tunnels)
	})
	dir, command := first.join()
	first.agent(command)
	first.becomes("True", "1")
	spread := func() {
		t.Helper()
		first.eventually("the agent holds a tunnel to each server in each lane", func() bool {
			return streamsOf(t, first.plane) == 2 && streamsOf(t, other.plane) == 2
		})
	}
	spread()
	if _, err := harness.Kubectl(t.Context(), first.plane.Kubeconfig, harness.FederatedConfigMaps, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	first.apply("one")
	for _, s := range servers {
		if err := s.reach(dir); err != nil {
			t.Fatalf("through %s: %v", s.tunnels, err)
		}
	}
	watch, err := other.through(other.tunnels, dir).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()

	if err := first.plane.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	for n := range 20 {
		if err := other.reach(dir); err != nil {
			t.Fatalf("connection %d through the other server: %v", n, err)
		}
		if n == 0 {
			took := time.Since(killed)
			t.Logf("reached through the other server %s after the kill", took.Round(time.Millisecond))
			if took > reachable {
				t.Errorf("it took %s to reach the member again", took)
			}
		}
	}
	client := kubernetes.NewForConfigOrDie(member.Config)
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "after"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sees(watch.ResultChan(), "after"); err != nil {
		t.Errorf("a watch through the other server: %v", err)
	}
	other.apply("two")
	t.Logf("the plane's own next change was in the member %s after the kill", time.Since(killed).Round(time.Millisecond))

	if err := first.plane.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	spread()
	t.Logf("the agent was back %s after the first server", time.Since(back).Round(time.Millisecond))
	if err := first.reach(dir); err != nil {
		t.Errorf("through the one that came back: %v", err)
	}
	other.becomes("True", "1")
}
