package cli

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// Marks of what join makes. Unjoin deletes nothing without them.
const (
	// joinedAsLabel is the member's name on the plane.
	joinedAsLabel = "cellfed.io/joined-as"
	// planeLabel is the identity of the plane that the member was joined to: two planes may share a member.
	planeLabel = "cellfed.io/plane"
	// madeByLabel stands on what joins share: the namespace and the role.
	madeByLabel = "app.kubernetes.io/managed-by"
	madeByJoin  = "kubectl-cellfed"
	// defaultRole is the ClusterRole that join makes unless another one is named.
	defaultRole = "cellfed-propagation"
)

// rolesRules is what propagation needs to carry any kind to a member, and nothing that only RBAC's own rules can
// guard: neither escalate, bind nor impersonate, so the plane cannot hand out rights that it does not have. It reads
// and writes every kind, Secrets included; who wants less names a role of their own with --member-role.
func roleRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{
		APIGroups: []string{"*"},
		Resources: []string{"*"},
		Verbs:     []string{"get", "list", "watch", "create", "update", "patch", "delete"},
	}, {
		NonResourceURLs: []string{"/healthz", "/livez", "/readyz", "/version", "/api", "/api/*", "/apis", "/apis/*", "/openapi/*"},
		Verbs:           []string{"get"},
	}}
}

// artefact is one object of a join, and where it goes.
type artefact struct {
	gvr    schema.GroupVersionResource
	object *unstructured.Unstructured
	// shared objects are made when they are absent, never taken over, and carry no member's name.
	shared bool
}

func (a artefact) String() string { return artefactName(a.gvr, a.object.GetName()) }

// artefactName is an object's name as kubectl prints it.
func artefactName(gvr schema.GroupVersionResource, name string) string {
	if gvr.Group != "" {
		return fmt.Sprintf("%s.%s/%s", gvr.Resource, gvr.Group, name)
	}
	return gvr.Resource + "/" + name
}

// accountName is the name of everything of one join in the member, and of the plane's secret.
func accountName(member string) string { return member + "-cellfed" }

// joinMarks are the labels of everything that belongs to one join; the plane's identity is not known in a dry run.
func joinMarks(member, planeUID string) map[string]string {
	marks := map[string]string{joinedAsLabel: member, madeByLabel: madeByJoin}
	if planeUID != "" {
		marks[planeLabel] = planeUID
	}
	return marks
}

func namespaceArtefact() (artefact, error) {
	return newArtefact(namespaces, "Namespace", true, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: wellknown.FederationNamespace, Labels: map[string]string{madeByLabel: madeByJoin}},
	})
}

// memberArtefacts are the objects that join makes in the member, in order. role "" = the role that join makes itself.
func memberArtefacts(member, planeUID, role string) ([]artefact, error) {
	name := accountName(member)
	marks := joinMarks(member, planeUID)
	here := metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: name, Labels: marks}
	everywhere := metav1.ObjectMeta{Name: name, Labels: marks}
	token := here
	token.Annotations = map[string]string{corev1.ServiceAccountNameKey: name}

	var out []artefact
	var firstErr error
	add := func(gvr schema.GroupVersionResource, kind string, shared bool, obj runtime.Object) {
		a, err := newArtefact(gvr, kind, shared, obj)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		out = append(out, a)
	}
	ns, firstErr := namespaceArtefact()
	out = append(out, ns)
	add(serviceAccounts, "ServiceAccount", false, &corev1.ServiceAccount{ObjectMeta: here})
	if role == "" {
		role = defaultRole
		add(clusterRoles, "ClusterRole", false, &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: role, Labels: map[string]string{madeByLabel: madeByJoin}},
			Rules:      roleRules(),
		})
	}
	add(clusterRoleBindings, "ClusterRoleBinding", false, &rbacv1.ClusterRoleBinding{
		ObjectMeta: everywhere,
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: here.Namespace, Name: name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	})
	add(secrets, "Secret", false, &corev1.Secret{ObjectMeta: token, Type: corev1.SecretTypeServiceAccountToken})
	return out, firstErr
}

// planeInput is what the plane's objects say of a member.
type planeInput struct {
	member, memberUID, planeUID string
	endpoint, proxyURL          string
	caBundle, token, tokenCA    []byte
	labels                      map[string]string
	// enrolment names the member's agents; "" = the member is reached without a tunnel.
	enrolment string
}

// planeArtefacts are the objects that join makes on the plane, in order.
func planeArtefacts(in planeInput) ([]artefact, error) {
	ns, err := namespaceArtefact()
	if err != nil {
		return nil, err
	}
	name := accountName(in.member)
	data := map[string][]byte{}
	if len(in.token) > 0 || in.enrolment == "" { // an agent that hands the token over must not have it taken away
		data[corev1beta1.SecretTokenKey] = in.token
	}
	if len(in.tokenCA) > 0 {
		data[corev1.ServiceAccountRootCAKey] = in.tokenCA
	}
	marks := joinMarks(in.member, in.planeUID)
	secret, err := newArtefact(secrets, "Secret", false, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: name, Labels: marks},
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	})
	if err != nil {
		return nil, err
	}
	kfc := &corev1beta1.KubeFedCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: in.member, Labels: in.labels},
		Spec: corev1beta1.KubeFedClusterSpec{KubeFedClusterSpec: kubefedv1beta1.KubeFedClusterSpec{
			APIEndpoint: in.endpoint,
			CABundle:    in.caBundle,
			SecretRef:   kubefedv1beta1.LocalSecretReference{Name: name},
			ProxyURL:    in.proxyURL,
		}},
	}
	if in.enrolment != "" {
		kfc.Spec.Tunnel = &corev1beta1.ClusterTunnel{Enrolment: in.enrolment}
	}
	if in.memberUID != "" {
		kfc.Annotations = map[string]string{wellknown.ClusterIDAnnotation: in.memberUID}
	}
	registration, err := newArtefact(kubeFedClusters, "KubeFedCluster", false, kfc)
	if err != nil {
		return nil, err
	}
	return []artefact{ns, secret, registration}, nil
}

func newArtefact(gvr schema.GroupVersionResource, kind string, shared bool, obj runtime.Object) (artefact, error) {
	u, err := untyped(obj, gvr.GroupVersion().WithKind(kind))
	return artefact{gvr: gvr, object: u, shared: shared}, err
}
