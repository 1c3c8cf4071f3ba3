package cli

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// cleanMember deletes what join made in the member, the binding first: from then on the account may do nothing.
func (o *unjoinOptions) cleanMember(ctx context.Context, planeUID string) (int, error) {
	deleted := 0
	role, err := o.boundRole(ctx)
	if err != nil {
		return deleted, err
	}
	account, agent := accountName(o.name), agentName(o.name)
	for _, what := range []struct {
		gvr        schema.GroupVersionResource
		name       string
		namespaced bool
	}{
		{clusterRoleBindings, account, false},
		{deployments, agent, true}, {roleBindings, agent, true}, {roles, agent, true}, {serviceAccounts, agent, true},
		{secrets, agent, true}, {secrets, agentStateName(o.name), true},
		{secrets, account, true}, {serviceAccounts, account, true},
	} {
		n, err := o.deleteMarked(ctx, "member", o.member, what.gvr, what.name, planeUID, what.namespaced)
		if err != nil {
			return deleted, err
		}
		deleted += n
	}
	if err := o.deleteUnusedRole(ctx, role); err != nil {
		return deleted, err
	}
	return deleted, o.deleteEmptyNamespace(ctx)
}

// boundRole is the role of the join's binding; where the binding is gone already, the one that join would have made.
func (o *unjoinOptions) boundRole(ctx context.Context) (string, error) {
	binding, err := get[rbacv1.ClusterRoleBinding](ctx, o.member, clusterRoleBindings, "", accountName(o.name))
	if err != nil || binding == nil {
		return defaultRole, err
	}
	return binding.RoleRef.Name, nil
}

// deleteUnusedRole deletes the role when join made it and nothing is bound to it: joins to other planes share it.
func (o *unjoinOptions) deleteUnusedRole(ctx context.Context, name string) error {
	role, err := get[rbacv1.ClusterRole](ctx, o.member, clusterRoles, "", name)
	if err != nil || role == nil || role.Labels[madeByLabel] != madeByJoin {
		return err
	}
	bound := ""
	for _, gvr := range []schema.GroupVersionResource{clusterRoleBindings, roleBindings} {
		err := eachOf(ctx, o.member, gvr, "", func(u *unstructured.Unstructured) error {
			kind, _, _ := unstructured.NestedString(u.Object, "roleRef", "kind")
			ref, _, _ := unstructured.NestedString(u.Object, "roleRef", "name")
			if kind == "ClusterRole" && ref == name {
				bound = artefactName(gvr, u.GetName())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if bound != "" {
		o.say("member: %s left alone: %s is bound to it", artefactName(clusterRoles, name), bound)
		return nil
	}
	return o.delete(ctx, "member", o.member, clusterRoles, "", name, string(role.UID))
}

// deleteEmptyNamespace deletes the namespace when join made it and nothing is in it but what every namespace has.
func (o *unjoinOptions) deleteEmptyNamespace(ctx context.Context) error {
	name := wellknown.FederationNamespace
	ns, err := o.member.dynamic.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", artefactName(namespaces, name), err)
	}
	if ns.GetLabels()[madeByLabel] != madeByJoin || ns.GetDeletionTimestamp() != nil {
		return nil
	}
	tenant, err := o.tenantOf(ctx, name)
	if err != nil {
		return fmt.Errorf("looking whether %s is empty: %w", artefactName(namespaces, name), err)
	}
	if tenant != "" {
		o.say("member: %s left alone: %s is in it", artefactName(namespaces, name), tenant)
		return nil
	}
	return o.delete(ctx, "member", o.member, namespaces, "", name, string(ns.GetUID()))
}

// tenantOf names one object of a namespace that somebody put there, or nothing. A kind that cannot be listed counts as
// occupied: nothing is deleted on doubt.
func (o *unjoinOptions) tenantOf(ctx context.Context, namespace string) (string, error) {
	// Discovery that is incomplete, because an aggregated API is down, is doubt as well.
	kinds, err := o.member.namespacedKinds()
	if err != nil {
		return "", err
	}
	for _, group := range kinds {
		gv, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			return "", err
		}
		for _, r := range group.APIResources {
			if !slices.Contains(r.Verbs, "list") || isEvent(gv.Group, r.Name) {
				continue
			}
			found := ""
			err := eachOf(ctx, o.member, gv.WithResource(r.Name), namespace, func(u *unstructured.Unstructured) error {
				if !everyNamespaceHas(u) {
					found = artefactName(gv.WithResource(r.Name), u.GetName())
				}
				return nil
			})
			if err != nil || found != "" {
				return found, err
			}
		}
	}
	return "", nil
}

func isEvent(group, resource string) bool {
	return resource == "events" && (group == "" || group == "events.k8s.io")
}

// everyNamespaceHas tells what Kubernetes itself puts into a namespace, and what is going already.
func everyNamespaceHas(u *unstructured.Unstructured) bool {
	switch {
	case u.GetDeletionTimestamp() != nil:
		return true
	case u.GetKind() == "ConfigMap":
		return u.GetName() == "kube-root-ca.crt"
	case u.GetKind() == "ServiceAccount":
		return u.GetName() == "default"
	}
	return false
}
