package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/proxy/identity"
)

// ensureRoles makes sure of Kubernetes' default roles and bindings, without
// those of node agents and of controllers that a plane does not have. Upstream's
// own start hook does the same for all of them, one by one and after a second of
// waiting, which is most of the time a plane needs to start.
func ensureRoles(ctx context.Context, loopback *rest.Config) error {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	var work []func() error
	for _, role := range bootstrappolicy.ClusterRoles() {
		if meantForPlane(role.Name) {
			work = append(work, func() error { return ensureRole(client, role) })
		}
	}
	for _, binding := range bootstrappolicy.ClusterRoleBindings() {
		if meantForPlane(binding.RoleRef.Name) {
			work = append(work, func() error { return ensureBinding(client, binding) })
		}
	}
	for _, role := range []func() (rbacv1.ClusterRole, rbacv1.ClusterRoleBinding){agentRole, proxyServerRole} {
		role, binding := role()
		work = append(work,
			func() error { return ensureRole(client, role) },
			func() error { return ensureBinding(client, binding) })
	}
	return inParallel(ctx, work)
}

// proxyServerRole is what proxy servers on their own may do at the plane: see whose agents to let in, and tell where
// they are.
func proxyServerRole() (rbacv1.ClusterRole, rbacv1.ClusterRoleBinding) {
	name := metav1.ObjectMeta{Name: identity.ServerOrganization}
	return rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{corev1beta1.GroupVersion.Group}, Resources: []string{"kubefedclusters"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "update"},
				ResourceNames: []string{wellknown.TunnelServersConfigMap, wellknown.TunnelPeersConfigMap}},
		}}, rbacv1.ClusterRoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: identity.ServerOrganization}},
		}
}

// agentRole is what members' agents may do at the plane, with a token or with a certificate: ask for a certificate, and
// read the answer. They may not list the requests of others.
func agentRole() (rbacv1.ClusterRole, rbacv1.ClusterRoleBinding) {
	name := metav1.ObjectMeta{Name: identity.Organization}
	group := func(group string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: group}
	}
	return rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"create", "get"},
		}}}, rbacv1.ClusterRoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects:   []rbacv1.Subject{group(identity.BootstrapGroup), group(identity.Organization)},
		}
}

// meantForPlane tells whether a default role is of use where there are neither
// nodes nor kube-controller-manager nor scheduler.
func meantForPlane(role string) bool {
	if !strings.HasPrefix(role, "system:") || strings.HasPrefix(role, "system:aggregate-to-") {
		return true
	}
	return slices.Contains([]string{
		"system:discovery", "system:basic-user", "system:public-info-viewer", "system:monitoring",
		"system:auth-delegator", "system:service-account-issuer-discovery",
	}, role)
}

func ensureRole(client kubernetes.Interface, role rbacv1.ClusterRole) error {
	err := retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
		_, err := (&reconciliation.ReconcileRoleOptions{
			Role:    reconciliation.ClusterRoleRuleOwner{ClusterRole: role.DeepCopy()},
			Client:  reconciliation.ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()},
			Confirm: true,
		}).Run()
		return err
	})
	if err != nil {
		return fmt.Errorf("making sure of ClusterRole %s: %w", role.Name, err)
	}
	return nil
}

func ensureBinding(client kubernetes.Interface, binding rbacv1.ClusterRoleBinding) error {
	err := retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
		_, err := (&reconciliation.ReconcileRoleBindingOptions{
			RoleBinding: reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: binding.DeepCopy()},
			Client:      reconciliation.ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()},
			Confirm:     true,
		}).Run()
		return err
	})
	if err != nil {
		return fmt.Errorf("making sure of ClusterRoleBinding %s: %w", binding.Name, err)
	}
	return nil
}
