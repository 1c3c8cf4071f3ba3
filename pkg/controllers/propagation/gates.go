package propagation

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// gates are the feature gates as they are now.
func (c *Controller) gates() features.Gates {
	if c.opts.Gates == nil {
		return features.Gates{}
	}
	return c.opts.Gates()
}

// hold is why an object stands still because of a gate that is off and that it uses; nil = it does not. A field is
// never read as if it were not there: a mask that is not seen releases everything. Deletion goes on, gate or not.
func (k *carrier) hold(ctx context.Context, o *federated.Object) *plan.Why {
	gates := k.gates()
	if o.Deleting || gates == (features.Gates{}) {
		return nil
	}
	for _, use := range []struct {
		gate features.Gate
		of   func() (uses string, out string)
	}{
		{features.PushReconciler, func() (string, string) { return "nothing is propagated without it", "" }},
		{features.Topologies, func() (string, string) { return usesTopologies(o) }},
		{features.PlacementMask, func() (string, string) { return usesMask(o) }},
		{features.TenantIsolation, func() (string, string) { return k.usesTenants(ctx, o) }},
		{features.AnnotationPropagation, func() (string, string) {
			return k.usesPolicy("propagatingAnnotations", k.typ.PropagatingAnnotations)
		}},
		{features.FieldRetention, func() (string, string) { return k.usesPolicy("retainedFields", k.typ.RetainedFields) }},
	} {
		if gates.Enabled(use.gate) {
			continue
		}
		uses, out := use.of()
		if uses == "" {
			continue
		}
		return &plan.Why{Code: plan.CodeOnHold, Message: fmt.Sprintf("feature gate %s is off, and %s: switch the gate on%s", use.gate, uses, out)}
	}
	return nil
}

// What an object uses, and what else than the gate may be changed; nothing if it uses nothing.

func usesTopologies(o *federated.Object) (uses, out string) {
	if o.TopologyType == topology.TypeCluster {
		return "", ""
	}
	return fmt.Sprintf("spec.topologyType is %s", o.TopologyType), ""
}

func usesMask(o *federated.Object) (uses, out string) {
	if o.Mask == nil {
		return "", ""
	}
	return "spec.placementMask is there", ", or take the mask away, which releases the object everywhere"
}

func (k *carrier) usesTenants(ctx context.Context, o *federated.Object) (uses, out string) {
	if o.Namespace == "" {
		return "", ""
	}
	ns := &corev1.Namespace{}
	if err := k.opts.Client.Get(ctx, client.ObjectKey{Name: o.Namespace}, ns); err != nil {
		return fmt.Sprintf("nobody knows whether namespace %s is a tenant's: %v", o.Namespace, err), ""
	}
	if tenancy.Of(ns.Labels) == (tenancy.Tenant{}) {
		return "", ""
	}
	return fmt.Sprintf("namespace %s is a tenant's", o.Namespace), ""
}

// usesPolicy tells of a list of the type's config, which is about all objects of the type.
func (k *carrier) usesPolicy(name string, listed []string) (uses, out string) {
	if len(listed) == 0 {
		return "", ""
	}
	return fmt.Sprintf("FederatedTypeConfig %s lists spec.%s", k.typ.Name, name), ", or empty that list"
}

// collects tells whether the members' own status is put into the status of the type's objects.
func (k *carrier) collects() bool {
	return k.typ.CollectStatus && k.gates().Enabled(features.RawResourceStatusCollection)
}

// judgesHealth tells whether status says how the copies are.
func (c *Controller) judgesHealth() bool { return c.gates().Enabled(features.HealthStatus) }

// adoptsByDefault tells whether objects that are there already are taken over without being asked for.
func (c *Controller) adoptsByDefault() bool {
	return c.opts.AdoptByDefault != nil && c.opts.AdoptByDefault()
}

// SettingsChanged has all objects looked at again, under the settings that are in force now.
func (c *Controller) SettingsChanged() {
	c.requirementChanged()
	for _, k := range c.carriers() {
		k.crew.fill()
		k.meter.controller.Workers(c.opts.Workers())
		k.enqueueWhere(func(*unstructured.Unstructured) bool { return true }, nil)
	}
}
