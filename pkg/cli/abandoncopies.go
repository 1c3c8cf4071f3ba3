package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// abandonmentName is the name of the record that gives a place up: readable first, and unique by what is given up.
func abandonmentName(s topologyv1alpha1.AbandonmentSpec) string {
	const longest = 253
	sum := sha256.Sum256([]byte(strings.Join([]string{s.Cluster, s.ClusterID, s.Unit, s.MemberNamespace}, "\x00")))
	tail := "-" + hex.EncodeToString(sum[:])[:8]
	head := s.Cluster
	if s.Unit != "" {
		head = s.Unit + "." + s.Cluster
	}
	if len(head)+len(tail) > longest {
		head = strings.TrimRight(head[:longest-len(tail)], "-.")
	}
	return head + tail
}

// copies are what is recorded of a place.
type copies struct {
	// objects may have a copy there; deleting are those that are being deleted.
	objects, deleting int
	units             map[string]bool
	// others are objects with copies under the same member's name in other clusters, by their identity.
	others map[string]int
}

// copies reads what the plane has recorded of the place.
func (o *abandonOptions) copies(ctx context.Context) (copies, error) {
	out := copies{units: map[string]bool{}, others: map[string]int{}}
	types, err := list[corev1beta1.FederatedTypeConfig](ctx, o.plane, federatedTypeConfigs, wellknown.FederationNamespace)
	if err != nil {
		return out, asPlane(err)
	}
	for _, t := range types {
		federated := t.Spec.FederatedType
		gvr := schema.GroupVersionResource{Group: federated.Group, Version: wellknown.ClusterForm, Resource: federated.PluralName}
		err := eachOf(ctx, o.plane, gvr, "", func(u *unstructured.Unstructured) error {
			o.count(u, &out)
			return nil
		})
		if err != nil && !apierrors.IsNotFound(err) { // a type that is not served has no objects
			return out, err
		}
	}
	return out, nil
}

// count adds an object's copies in the place. Objects of an older plane do not say in which cluster they are; under
// topology "cluster" the unit's name is the member's.
func (o *abandonOptions) count(u *unstructured.Unstructured, out *copies) {
	there := false
	for _, e := range listOf(u.Object, "status", "clusters") {
		name, _ := e["name"].(string)
		cluster, _ := e["cluster"].(string)
		id, _ := e["clusterID"].(string)
		namespace, _ := e["memberNamespace"].(string)
		inventory, _ := e["inventory"].(bool)
		if cluster == "" {
			cluster = name
		}
		if !inventory || cluster != o.member || o.unit != "" && name != o.unitName() ||
			o.memberNamespace != "" && namespace != "" && namespace != o.memberNamespace {
			continue
		}
		if o.clusterID != "" && id != "" && id != o.clusterID {
			out.others[id]++
			continue
		}
		out.units[name] = true
		there = true
	}
	if !there {
		return
	}
	out.objects++
	if u.GetDeletionTimestamp() != nil {
		out.deleting++
	}
}

// givenUp is the record that gives up all of a member; nil = there is none, or it is of another cluster.
func givenUp(ctx context.Context, plane *cluster, member string, kfc *corev1beta1.KubeFedCluster) (*topologyv1alpha1.Abandonment, error) {
	all, err := list[topologyv1alpha1.Abandonment](ctx, plane, abandonments, "")
	if apierrors.IsNotFound(err) {
		return nil, nil // a plane of an earlier version
	}
	if err != nil {
		return nil, err
	}
	id := ""
	if kfc != nil {
		id = kfc.Annotations[wellknown.ClusterIDAnnotation]
	}
	for i := range all {
		if s := all[i].Spec; s.Cluster == member && s.Unit == "" && (s.ClusterID == "" || id == "" || s.ClusterID == id) {
			return &all[i], nil
		}
	}
	return nil, nil
}

// warnGivenUp tells that a member that has just joined was given up once, and is not used.
func (o *joinOptions) warnGivenUp(ctx context.Context) error {
	kfc, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name)
	if err != nil || kfc == nil {
		return err
	}
	a, err := givenUp(ctx, o.plane, o.name, kfc)
	if err != nil || a == nil {
		return err
	}
	o.say("plane: member %s was given up on %s, so nothing is written there. 'kubectl cellfed abandon --list' tells what is left in it, "+
		"'kubectl cellfed abandon %s --undo' uses it again", o.name, a.CreationTimestamp.Format(time.DateOnly), o.name)
	return nil
}

// show lists what was given up and what is left there.
func (o *abandonOptions) show(ctx context.Context) error {
	all, err := list[topologyv1alpha1.Abandonment](ctx, o.plane, abandonments, "")
	if err != nil {
		return asPlane(err)
	}
	if o.output != outputTable {
		return printStructured(o.out, o.output, map[string]any{"items": append([]topologyv1alpha1.Abandonment{}, all...)})
	}
	if len(all) == 0 {
		o.say("Nothing was given up.")
		return nil
	}
	w := printers.GetNewTabWriter(o.out)
	fmt.Fprintln(w, "MEMBER\tUNIT\tAGE\tREASON\tLEFTOVERS\tSAYS")
	for i := range all {
		a := &all[i]
		leftovers, says := "?", "not looked at yet"
		for _, c := range a.Status.Conditions {
			if c.Type == topologyv1alpha1.AbandonmentLeftovers {
				says = c.Message
				if c.Status != "Unknown" {
					leftovers = fmt.Sprint(a.Status.LeftoverCount)
				}
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Spec.Cluster, orNone(a.Spec.Unit), duration.HumanDuration(time.Since(a.CreationTimestamp.Time)),
			orNone(a.Spec.Reason), leftovers, says)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i := range all {
		o.showLeftovers(&all[i])
	}
	return nil
}

func (o *abandonOptions) showLeftovers(a *topologyv1alpha1.Abandonment) {
	if len(a.Status.Leftovers) == 0 {
		return
	}
	o.say("\nLeft in member %s:", a.Spec.Cluster)
	for _, l := range a.Status.Leftovers {
		o.say("  %s %s, made for %s", l.Type, qualified(l.Namespace, l.Name), l.Unit)
	}
	if more := a.Status.LeftoverCount - int64(len(a.Status.Leftovers)); more > 0 {
		o.say("  and %d more", more)
	}
}
