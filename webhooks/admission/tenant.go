package admission

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

var (
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
	clusterKind   = schema.GroupKind{Group: corev1beta1.GroupVersion.Group, Kind: "KubeFedCluster"}
	labelsPath    = field.NewPath("metadata", "labels")
)

// changesOwner tells whether an update would give a namespace or a member, and with it all that is there, another owner.
// A status or finalizer subresource of a namespace takes labels too.
func changesOwner(req *Request) bool {
	gk := req.Kind.GroupKind()
	if req.Create || req.Object == nil || req.Old == nil || gk != namespaceKind && gk != clusterKind {
		return false
	}
	return !tenancy.Stamped(req.Object.GetLabels(), req.Old.GetLabels())
}

// namespaceRules judge nothing of a namespace but whose it is.
func (a *Admitter) namespaceRules() rules {
	return rules{
		judge: func(*unstructured.Unstructured) []fault { return nil },
		compare: func(ctx context.Context, req *Request) ([]fault, error) {
			if !changesOwner(req) {
				return nil, nil
			}
			name := req.Object.GetName()
			there, err := a.facts.InNamespace(ctx, name)
			if err != nil {
				return nil, unavailable("what is in namespace "+name, err)
			}
			return ownerStays("namespace "+name, there), nil
		},
	}
}

// compareCluster keeps the owner of members that are in use, and the labels of units' KubeFedClusters true.
func (a *Admitter) compareCluster(ctx context.Context, req *Request) ([]fault, error) {
	switch {
	case req.Namespace == wellknown.UnitsNamespace:
		return a.judgeAlias(ctx, req)
	case req.Namespace != wellknown.FederationNamespace || !changesOwner(req):
		return nil, nil
	}
	name := req.Object.GetName()
	there, err := a.facts.OnMember(ctx, name)
	if err != nil {
		return nil, unavailable("what is on member "+name, err)
	}
	return ownerStays("member "+name, there), nil
}

func ownerStays(what, there string) []fault {
	if there == "" {
		return nil
	}
	return []fault{newFault("owner changed", field.Forbidden(labelsPath, fmt.Sprintf(
		"the labels %s of %s cannot be set, changed or removed while it is in use: %s stands in the way; delete what is there first, or make another",
		strings.Join(tenancy.Keys, " and "), what, there)))}
}

// judgeAlias judges a KubeFedCluster of a unit. Its spec is the unit controller's to mend; by its labels others tell whose
// it is, so they are true from the start.
func (a *Admitter) judgeAlias(ctx context.Context, req *Request) ([]fault, error) {
	name := req.Object.GetName()
	unit, namespace, topologyType, ok := topology.ParseUnitClusterName(name)
	if !ok {
		if !req.Create {
			return nil, nil
		}
		return []fault{newFault("alias", field.Forbidden(field.NewPath("metadata", "name"),
			fmt.Sprintf("namespace %s is for the KubeFedClusters of units, which the plane makes: members go to namespace %s", wellknown.UnitsNamespace, wellknown.FederationNamespace)))}, nil
	}
	owner, found, err := a.facts.NamespaceLabels(ctx, namespace)
	if err != nil {
		return nil, unavailable("who owns namespace "+namespace, err)
	}
	judge := func(obj *unstructured.Unstructured) []fault {
		have := obj.GetLabels()
		var faults []fault
		for key, want := range map[string]string{wellknown.TopologyTypeLabel: topologyType,
			wellknown.TopologyNamespaceLabel: namespace, wellknown.TopologyUnitLabel: unit} {
			if value, there := have[key]; there && value != want {
				faults = append(faults, aliasFault(name, key))
			}
		}
		for _, key := range tenancy.Keys {
			value, there := have[key]
			if want, owned := owner[key]; there && (!owned || value != want) || !there && owned || !found && there {
				faults = append(faults, aliasFault(name, key))
			}
		}
		return faults
	}
	faults := judge(req.Object)
	if req.Old != nil {
		faults = added(faults, judge(req.Old))
	}
	return faults, nil
}

func aliasFault(name, key string) fault {
	return newFault("alias "+key, field.Forbidden(labelsPath.Key(key), fmt.Sprintf(
		"%s is the KubeFedCluster of a unit: the plane sets its labels from the unit and its namespace; leave this one as it is", name)))
}

// judgeGrants holds that grants can be meant.
func judgeGrants(grants []corev1beta1.TenantGrant, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range grants {
		g, at := &grants[i], at.Index(i)
		errs = append(errs, labelValue(g.Tenant, at.Child("tenant"))...)
		if g.Workspace != nil {
			errs = append(errs, labelValue(*g.Workspace, at.Child("workspace"))...)
		}
		for j, pattern := range g.MemberNamespaces {
			at := at.Child("memberNamespaces").Index(j)
			plain := strings.ReplaceAll(pattern, "*", "x")
			switch {
			case tenancy.IsSystem(pattern):
				errs = append(errs, field.Forbidden(at, pattern+" is of the system, whose namespaces are never granted: take it out"))
			case len(validation.IsDNS1123Label(plain)) != 0:
				errs = append(errs, field.Invalid(at, pattern, "must be the name of a namespace, in which * stands for any characters"))
			}
		}
	}
	return errs
}

func labelValue(value string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, p := range validation.IsValidLabelValue(value) {
		errs = append(errs, field.Invalid(at, value, "is the value of a label: "+p))
	}
	return errs
}

// owner is the owner of a namespace of the plane; that of cluster-scoped objects is nobody.
func (a *Admitter) owner(ctx context.Context, namespace string) (tenancy.Tenant, error) {
	if namespace == "" {
		return tenancy.Tenant{}, nil
	}
	labels, err := a.namespaceLabels(ctx, namespace)
	return tenancy.Of(labels), err
}

// judgeGrant tells why a unit's tenant may not use the member namespace; nil = it may. A member of which nothing is granted
// and one that is not there are told in the same words, so that nobody learns what others have.
func (a *Admitter) judgeGrant(ctx context.Context, namespace string, spec unitSpec) (*fault, error) {
	who, err := a.owner(ctx, namespace)
	if err != nil {
		return nil, err
	}
	cluster, found, err := a.facts.Cluster(ctx, spec.cluster)
	if err != nil {
		return nil, unavailable("whether there is a member "+spec.cluster, err)
	}
	gates, err := a.gates(ctx)
	if err != nil {
		return nil, err
	}
	access := tenancy.Access{Owner: tenancy.Of(cluster.Labels), Grants: cluster.Grants, Required: gates.Enabled(features.RequireTenantGrants)}
	if found && access.Granted(who, spec.memberNamespace) {
		return nil, nil
	}
	granted := access.Namespaces(who)
	if !found || len(granted) == 0 {
		f := newFault("unknown cluster", field.Invalid(specPath.Child("cluster"), spec.cluster, fmt.Sprintf(
			"no KubeFedCluster %s in namespace %s: join the member first, or, if it is there, have its spec.grants list %s",
			spec.cluster, wellknown.FederationNamespace, who)))
		return &f, nil
	}
	if tenancy.IsSystem(spec.memberNamespace) || spec.memberNamespace == metav1.NamespaceDefault {
		return nil, nil // said by judgeUnit
	}
	f := newFault("not granted", field.Forbidden(specPath.Child("memberNamespace"), fmt.Sprintf(
		"namespace %s of member %s is not granted to %s: say one of %s, or have spec.grants of KubeFedCluster %s list it",
		spec.memberNamespace, spec.cluster, who, some(granted), spec.cluster)))
	return &f, nil
}

// judgePlace refuses new objects that would be placed in system namespaces of members: an object that is placed by
// cluster takes its own namespace's name there.
func (a *Admitter) judgePlace(ctx context.Context, req *Request, v *view) ([]fault, error) {
	if !req.Create || v.topologyType != topology.TypeCluster {
		return nil, nil
	}
	at := field.NewPath("metadata", "namespace")
	if tenancy.IsSystem(req.Namespace) {
		return []fault{newFault("system namespace", field.Forbidden(at, fmt.Sprintf(
			"%s is a system namespace, in which nothing is propagated: make the object in another namespace", req.Namespace)))}, nil
	}
	if req.Namespace != metav1.NamespaceDefault {
		return nil, nil
	}
	who, err := a.owner(ctx, req.Namespace)
	if err != nil || who.None() {
		return nil, err
	}
	return []fault{newFault("default", field.Forbidden(at, "namespace default of members is no tenant's: make the object in another namespace"))}, nil
}
