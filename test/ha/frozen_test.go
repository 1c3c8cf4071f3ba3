package ha

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/test/harness"
)

var freezes = flag.Int("ha.freezes", 2, "how often a leader is frozen")

const (
	federated = 150 // objects of a release, so that a leader is frozen in the middle of one
	space     = "acme"
)

var federatedConfigMaps = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatedconfigmaps"}

// federation is a pair with a member, to which it releases.
type federation struct {
	*pair
	member  *harness.Member
	inside  kubernetes.Interface
	objects dynamic.ResourceInterface
}

func startFederation(t *testing.T, url string) *federation {
	t.Helper()
	members := harness.Members(t, 1, harness.MembersNamed("east"), harness.MembersWithAudit())
	f := &federation{pair: startPair(t, url), member: members.Members[0]}
	f.leader()
	f.kubectl("", "cellfed", "join", "east", "--member-kubeconfig", f.member.Kubeconfig)
	f.kubectl(harness.FederatedConfigMaps, "apply", "-f", "-")
	f.kubectl("", "wait", "--for=condition=Served", "ftc/configmaps", "-n", "kube-federation-system", "--timeout=60s")
	f.kubectl("", "create", "namespace", space)
	var err error
	if f.inside, err = kubernetes.NewForConfig(f.member.Config); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(f.config)
	if err != nil {
		t.Fatal(err)
	}
	f.objects = client.Resource(federatedConfigMaps).Namespace(space)
	for i := range federated {
		f.create(i)
	}
	f.has("0")
	return f
}

func (f *federation) kubectl(stdin string, args ...string) {
	f.Helper()
	if _, err := harness.Kubectl(f.Context(), f.servers[0].Kubeconfig, stdin, args...); err != nil {
		f.Fatal(err)
	}
}

func (f *federation) create(i int) {
	f.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedConfigMap",
		"metadata": map[string]any{"namespace": space, "name": fmt.Sprintf("o-%d", i)},
		"spec": map[string]any{
			"placement": map[string]any{"clusters": []any{map[string]any{"name": "east"}}},
			"template":  map[string]any{"data": map[string]any{"version": "0"}},
		},
	}}
	f.within(time.Minute, "an object can be made", func() error {
		_, err := f.objects.Create(f.Context(), u, metav1.CreateOptions{})
		return err
	})
}

// release asks for another version of all objects, a few at a time.
func (f *federation) release(version string) {
	patch := []byte(`{"spec":{"template":{"data":{"version":"` + version + `"}}}}`)
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := w; i < federated; i += 8 {
				if _, err := f.objects.Patch(f.Context(), fmt.Sprintf("o-%d", i), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
					f.Errorf("releasing: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
}

// has waits until all copies have a version.
func (f *federation) has(version string) {
	f.Helper()
	f.within(time.Minute, "all copies have version "+version, func() error {
		list, err := f.inside.CoreV1().ConfigMaps(space).List(f.Context(), metav1.ListOptions{LabelSelector: "kubefed.io/managed=true"})
		if err != nil {
			return err
		}
		n := len(slices.DeleteFunc(list.Items, func(cm corev1.ConfigMap) bool { return cm.Data["version"] != version }))
		if n != federated {
			return fmt.Errorf("%d have", n)
		}
		return nil
	})
}

// identity is who holds the lease.
func (f *federation) identity() string {
	f.Helper()
	lease, err := f.any.CoordinationV1().Leases("kube-federation-system").Get(f.Context(), "cellfed", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		f.Fatalf("nobody leads: %v", err)
	}
	return *lease.Spec.HolderIdentity
}

// writes are the writes of a server that reached the member from a moment on, as the member tells.
func (f *federation) writes(identity string, since time.Time) []string {
	f.Helper()
	file, err := os.Open(f.member.AuditLog)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	var out []string
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct {
			Stage, Verb, UserAgent, RequestURI string
			RequestReceivedTimestamp           time.Time
		}
		if json.Unmarshal(lines.Bytes(), &r) != nil { // the last line may be half written
			continue
		}
		if strings.Contains(r.UserAgent, identity) && !slices.Contains([]string{"get", "list", "watch"}, r.Verb) && !r.RequestReceivedTimestamp.Before(since) {
			out = append(out, fmt.Sprintf("%s %s %s", r.RequestReceivedTimestamp.Format(time.StampMilli), r.Verb, r.RequestURI))
		}
	}
	if err := lines.Err(); err != nil {
		f.Fatal(err)
	}
	return out
}

func TestALeaderThatWasFrozenPastItsLeaseWritesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		f := startFederation(t, url)
		t.Logf("-ha.seed %d", *seed)
		chance := rand.New(rand.NewPCG(*seed, 2))
		for round := range *freezes {
			led := f.leader()
			former, began := f.identity(), time.Now()
			released := make(chan struct{})
			go func() {
				defer close(released)
				f.release(fmt.Sprintf("%d-a", round))
			}()
			f.within(time.Minute, "the leader is in the middle of a release", func() error {
				if len(f.writes(former, began)) == 0 {
					return errors.New("it has not begun")
				}
				return nil
			})
			time.Sleep(time.Duration(chance.Int64N(int64(50 * time.Millisecond))))
			thaw := f.freeze(led)
			f.within(controllersBack, "the other server leads", func() error {
				if !leads(t.Context(), f.servers[1-led]) {
					return errors.New("it does not")
				}
				return nil
			})
			<-released
			f.has(fmt.Sprintf("%d-a", round))
			before := f.writes(former, began)
			go f.release(fmt.Sprintf("%d-b", round))
			thawed := time.Now()
			thaw()
			f.has(fmt.Sprintf("%d-b", round))
			time.Sleep(2 * time.Second) // whatever the former leader still has in hand
			if late := f.writes(former, thawed); len(late) > 0 {
				t.Errorf("a leader that was frozen past its lease wrote to the member %d times:\n%s", len(late), strings.Join(late[:min(len(late), 10)], "\n"))
			}
			successor := f.identity()
			after := f.writes(successor, thawed)
			if len(before) == 0 || len(before) >= 2*federated || len(after) == 0 || successor == former {
				t.Errorf("this proves nothing: %s made %d writes before it was frozen, %s %d afterwards", former, len(before), successor, len(after))
			}
			t.Logf("the leader was frozen after %d writes; its successor made %d after its return, it %d", len(before), len(after), len(f.writes(former, thawed)))
			f.leader() // one, and not two
		}
	})
}
