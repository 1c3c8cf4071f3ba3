package cli

import (
	"bytes"
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

var federatedDeployments = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federateddeployments"}

// object reads a manifest.
func object(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	// As a client decodes it: whole numbers are int64.
	raw, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return u
}

func objectsOf(t *testing.T, manifests ...string) []runtime.Object {
	t.Helper()
	var out []runtime.Object
	for _, m := range manifests {
		out = append(out, object(t, m))
	}
	return out
}

// newCluster is an API server with a given identity that knows all kinds of these tests.
func newCluster(uid string, objs ...runtime.Object) (*cluster, *dynamicfake.FakeDynamicClient) {
	system := &unstructured.Unstructured{}
	system.SetAPIVersion("v1")
	system.SetKind("Namespace")
	system.SetName(metav1.NamespaceSystem)
	system.SetUID(types.UID(uid))
	fake := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		namespaces: "NamespaceList", secrets: "SecretList", serviceAccounts: "ServiceAccountList",
		clusterRoles: "ClusterRoleList", clusterRoleBindings: "ClusterRoleBindingList", roleBindings: "RoleBindingList",
		roles: "RoleList", deployments: "DeploymentList",
		kubeFedClusters: "KubeFedClusterList", federatedTypeConfigs: "FederatedTypeConfigList", units: "UnitList",
		abandonments:         "AbandonmentList",
		revisions:            "RevisionList",
		federatedDeployments: "FederatedDeploymentList",
		federatedDeployments.GroupResource().WithVersion(wellknown.TopologyForm): "FederatedDeploymentList",
		corev1.SchemeGroupVersion.WithResource("configmaps"):                     "ConfigMapList",
	}, append(objs, system)...)
	kinds := func() ([]*metav1.APIResourceList, error) {
		return []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "configmaps", Verbs: metav1.Verbs{"list"}},
			{Name: "secrets", Verbs: metav1.Verbs{"list"}},
			{Name: "serviceaccounts", Verbs: metav1.Verbs{"list"}},
			{Name: "events", Verbs: metav1.Verbs{"list"}},
			{Name: "bindings", Verbs: metav1.Verbs{"create"}},
		}}}, nil
	}
	return &cluster{dynamic: fake, namespacedKinds: kinds}, fake
}

// issuesTokens makes a member fill token secrets, as its controller manager does.
func issuesTokens(fake *dynamicfake.FakeDynamicClient) {
	fake.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		u.Object["data"] = map[string]any{"token": "dG9rZW4=", "ca.crt": "Y2E="}
		return false, nil, nil
	})
}

// findsMembers makes a plane report a Ready condition on members.
func findsMembers(fake *dynamicfake.FakeDynamicClient, status, message string) {
	fake.PrependReactor("create", "kubefedclusters", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		if u.Object["status"] != nil {
			return false, nil, nil // said by a later call of findsMembers
		}
		u.Object["status"] = map[string]any{"conditions": []any{map[string]any{
			"type": "Ready", "status": status, "reason": "Checked", "message": message, "lastProbeTime": "2026-11-21T10:00:00Z",
		}}}
		return false, nil, nil
	})
}

// writes lists what was written, as "verb resource".
func writes(fake *dynamicfake.FakeDynamicClient) []string {
	var out []string
	for _, a := range fake.Actions() {
		switch a.GetVerb() {
		case "get", "list", "watch":
		default:
			out = append(out, a.GetVerb()+" "+a.GetResource().Resource)
		}
	}
	return out
}

func exists(t *testing.T, c *cluster, gvr schema.GroupVersionResource, namespace, name string) bool {
	t.Helper()
	u, err := get[unstructuredObject](context.Background(), c, gvr, namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return u != nil
}

// unstructuredObject is the least of any object.
type unstructuredObject struct {
	Metadata map[string]any `json:"metadata"`
}

func read(t *testing.T, c *cluster, gvr schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	u, err := c.dynamic.Resource(gvr).Namespace(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// joining is a plane and a member that work, and options that join the one to the other.
type joining struct {
	*joinOptions
	out               *bytes.Buffer
	onPlane, inMember *dynamicfake.FakeDynamicClient
}

func newJoining(t *testing.T, onPlane, inMember []runtime.Object) *joining {
	t.Helper()
	out := &bytes.Buffer{}
	j := &joining{out: out, joinOptions: &joinOptions{
		name: "hz-1", memberKubeconfig: "hz-1.kubeconfig", dryRun: "none", wait: 2 * time.Second, out: out, progress: out,
		access: &memberAccess{
			config:  &rest.Config{Host: "https://hz-1.example:6443", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("ca of hz-1")}},
			cluster: clientcmdapi.Cluster{ProxyURL: "http://proxy.example:3128"},
		},
	}}
	j.plane, j.onPlane = newCluster("uid-plane", onPlane...)
	j.member, j.inMember = newCluster("uid-hz-1", inMember...)
	issuesTokens(j.inMember)
	findsMembers(j.onPlane, "True", "")
	return j
}

const federation = wellknown.FederationNamespace
