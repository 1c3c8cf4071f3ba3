package unit

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/tenancy"
)

// copyLabel stands on the copies of members' secrets, so that no other secret is ever taken for one.
const copyLabel = "topology.cellfed.io/credentials-copy"

// topologyLabels say whose KubeFedCluster it is.
func topologyLabels(unit *topologyv1alpha1.Unit) map[string]string {
	return map[string]string{
		wellknown.TopologyTypeLabel:      unit.Spec.TopologyType,
		wellknown.TopologyNamespaceLabel: unit.Namespace,
		wellknown.TopologyUnitLabel:      unit.Name,
	}
}

// labelsOf are the labels of the unit's KubeFedCluster: the unit's own, for selectors to see, under what the plane
// alone says. Who owns it is what the namespace says now, not what a label of the unit says.
func labelsOf(unit *topologyv1alpha1.Unit, namespace *corev1.Namespace) map[string]string {
	group, _, _ := strings.Cut(wellknown.TopologyUnitLabel, "/")
	labels := map[string]string{}
	for key, value := range unit.Labels {
		if !strings.HasPrefix(key, group+"/") {
			labels[key] = value
		}
	}
	labels, _ = tenancy.Stamp(labels, namespace.Labels)
	maps.Copy(labels, topologyLabels(unit))
	return labels
}

// isOf tells whether a KubeFedCluster is the unit's: its labels say so, and none says otherwise. A missing label is
// drift, to be repaired; all missing is somebody else's object.
func isOf(cluster *corev1beta1.KubeFedCluster, unit *topologyv1alpha1.Unit) bool {
	says := false
	for key, want := range topologyLabels(unit) {
		value, there := cluster.Labels[key]
		if there && value != want {
			return false
		}
		says = says || there
	}
	return says
}

// keepCluster keeps the unit's KubeFedCluster as its member and its namespace say.
func (c *Controller) keepCluster(ctx context.Context, unit *topologyv1alpha1.Unit, member *corev1beta1.KubeFedCluster, namespace *corev1.Namespace) error {
	if err := c.keepSecret(ctx, member); err != nil {
		return err
	}
	spec := *member.Spec.DeepCopy()
	if spec.SecretRef.Name != "" {
		spec.SecretRef.Name = member.Name // the copy's
	}
	spec.Grants = nil // who else may use the member is no business of a unit's
	labels := labelsOf(unit, namespace)

	var have corev1beta1.KubeFedCluster
	key := client.ObjectKey{Namespace: wellknown.UnitsNamespace, Name: clusterName(unit)}
	switch err := c.client.Get(ctx, key, &have); {
	case apierrors.IsNotFound(err):
		have = corev1beta1.KubeFedCluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: labels}, Spec: spec,
			// The schema wants conditions; an object must not be refused because its member has not been asked yet.
			Status: corev1beta1.KubeFedClusterStatus{
				KubeFedClusterStatus: kubefedv1beta1.KubeFedClusterStatus{Conditions: []kubefedv1beta1.ClusterCondition{}},
			},
		}
		if err := c.client.Create(ctx, &have); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("reading KubeFedCluster %s: %w", key, err)
	case !isOf(&have, unit):
		return refuse(topologyv1alpha1.ReasonNameTaken, "the KubeFedCluster %s in %s is not this unit's", key.Name, key.Namespace)
	case have.DeletionTimestamp != nil:
		return refuse(topologyv1alpha1.ReasonNameTaken, "the KubeFedCluster %s in %s is being deleted", key.Name, key.Namespace)
	case !maps.Equal(have.Labels, labels) || !equality.Semantic.DeepEqual(have.Spec, spec):
		have.Labels, have.Spec = labels, spec
		if err := c.client.Update(ctx, &have); err != nil {
			return err
		}
	}
	if len(member.Status.Conditions) == 0 || equality.Semantic.DeepEqual(have.Status, member.Status) {
		return nil
	}
	have.Status = *member.Status.DeepCopy()
	if err := c.client.Status().Update(ctx, &have); err != nil {
		return err
	}
	return nil
}

// keepSecret keeps the copy of a member's credentials. A member without a secret leaves the copy as it is: that its
// credentials are missing is said of the member.
func (c *Controller) keepSecret(ctx context.Context, member *corev1beta1.KubeFedCluster) error {
	if member.Spec.SecretRef.Name == "" {
		return nil
	}
	var from corev1.Secret
	key := client.ObjectKey{Namespace: wellknown.FederationNamespace, Name: member.Spec.SecretRef.Name}
	if err := c.client.Get(ctx, key, &from); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading the secret of member %s: %w", member.Name, err)
	}
	data := map[string][]byte{}
	for _, k := range []string{
		corev1beta1.SecretTokenKey, corev1beta1.SecretClientCertificateKey, corev1beta1.SecretClientKeyKey,
		corev1beta1.SecretKubeconfigKey, corev1.ServiceAccountRootCAKey,
	} {
		if v, ok := from.Data[k]; ok {
			data[k] = v
		}
	}
	var have corev1.Secret
	switch err := c.client.Get(ctx, client.ObjectKey{Namespace: wellknown.UnitsNamespace, Name: member.Name}, &have); {
	case apierrors.IsNotFound(err):
		// Opaque whatever the original is: controllers of the plane must not take it for a service account's.
		return c.client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.UnitsNamespace, Name: member.Name, Labels: map[string]string{copyLabel: "true"}},
			Type:       corev1.SecretTypeOpaque, Data: data,
		})
	case err != nil:
		return fmt.Errorf("reading the copy of member %s's secret: %w", member.Name, err)
	case have.Labels[copyLabel] != "true":
		return refuse(topologyv1alpha1.ReasonNameTaken, "the secret %s in %s is not a copy of member %s's credentials", have.Name, have.Namespace, member.Name)
	case equality.Semantic.DeepEqual(have.Data, data):
		return nil
	}
	have.Data = data
	return c.client.Update(ctx, &have)
}

// dropCluster deletes the unit's KubeFedCluster, and the copy of its member's credentials with the last unit there.
func (c *Controller) dropCluster(ctx context.Context, unit *topologyv1alpha1.Unit) error {
	var have corev1beta1.KubeFedCluster
	key := client.ObjectKey{Namespace: wellknown.UnitsNamespace, Name: clusterName(unit)}
	switch err := c.live.Get(ctx, key, &have); {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("reading KubeFedCluster %s: %w", key, err)
	case err == nil && isOf(&have, unit):
		if err := c.client.Delete(ctx, &have, client.Preconditions{UID: &have.UID}); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return c.dropSecret(ctx, unit)
}

// dropSecret deletes the copy of a member's credentials if no KubeFedCluster of a unit needs it. Of units that are
// deleted at the same time the last one sees that: each has deleted its own before it looks.
func (c *Controller) dropSecret(ctx context.Context, unit *topologyv1alpha1.Unit) error {
	for _, other := range c.unitsOn(ctx, unit.Spec.Cluster) {
		if other.UID != unit.UID && other.DeletionTimestamp == nil {
			return nil
		}
	}
	var list corev1beta1.KubeFedClusterList
	if err := c.live.List(ctx, &list, client.InNamespace(wellknown.UnitsNamespace)); err != nil {
		return fmt.Errorf("listing the KubeFedClusters of units: %w", err)
	}
	for i := range list.Items {
		if list.Items[i].Spec.SecretRef.Name == unit.Spec.Cluster {
			return nil
		}
	}
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: wellknown.UnitsNamespace, Name: unit.Spec.Cluster}
	if err := c.live.Get(ctx, key, &secret); err != nil || secret.Labels[copyLabel] != "true" {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(c.client.Delete(ctx, &secret, client.Preconditions{UID: &secret.UID}))
}
