package kubelet

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Kubelet is a node of a member.
type Kubelet struct {
	client kubernetes.Interface
	node   string
	// life ends with the kubelet, and with it everything that it runs or sends.
	life  context.Context
	tasks sync.WaitGroup

	executing atomic.Int64

	mu   sync.Mutex
	pods map[string]*Pod // by namespace/name
}

// Executing is how many processes of exec are running.
func (k *Kubelet) Executing() int { return int(k.executing.Load()) }

// container is the name of the one container of each pod.
const container = "main"

// Start serves a node at the member of client until the test ends.
func Start(t testing.TB, client kubernetes.Interface, node string) *Kubelet {
	t.Helper()
	life, end := context.WithCancel(context.Background())
	k := &Kubelet{client: client, node: node, life: life, pods: map[string]*Pod{}}
	// The playground's API server dials kubelets without verifying them, as kube-apiserver does when it is told no authority.
	server := httptest.NewTLSServer(k.handler())
	t.Cleanup(func() {
		end()
		k.tasks.Wait()
		server.CloseClientConnections()
		server.Close()
	})
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.register(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	return k
}

// register makes the node, which tells the API server where to dial.
func (k *Kubelet) register(ctx context.Context, port string) error {
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return fmt.Errorf("reading port: %w", err)
	}
	nodes := k.client.CoreV1().Nodes()
	node, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.node}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("making node: %w", err)
	}
	node.Status = corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(n)}},
		Capacity:        corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}},
	}
	if _, err := nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing status of node: %w", err)
	}
	return nil
}

// Run starts a pod with one container, whose standard input ends when the first who is attached to it ends theirs, as
// with stdinOnce.
func (k *Kubelet) Run(t testing.TB, namespace, name string, command ...string) *Pod {
	t.Helper()
	pod, err := k.run(t.Context(), namespace, name, command)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func (k *Kubelet) run(ctx context.Context, namespace, name string, command []string) (*Pod, error) {
	p, err := k.start(command)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.pods[namespace+"/"+name] = p
	k.mu.Unlock()
	no := false
	pods := k.client.CoreV1().Pods(namespace)
	object, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: k.node, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{Name: container, Image: "none", Command: command, Stdin: true, StdinOnce: true}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("making pod: %w", err)
	}
	object.Status.Phase = corev1.PodRunning
	object.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	object.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: container, Image: "none", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	if _, err := pods.UpdateStatus(ctx, object, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("writing status of pod: %w", err)
	}
	return p, nil
}

func (k *Kubelet) pod(namespace, name string) *Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pods[namespace+"/"+name]
}
