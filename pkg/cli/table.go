package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/printers"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const (
	// shortRevision is how much of a revision's name tells it from its neighbours.
	shortRevision = 10
	shortMessage  = 60
)

// printReleases writes cells × revisions. A single object is told in words above its table.
func printReleases(out io.Writer, releases []release, wide, single bool) error {
	if single {
		r := releases[0]
		fmt.Fprintf(out, "%s %s, generation %d", r.Kind, qualified(r.Namespace, r.Name), r.Generation)
		if r.ObservedGeneration < r.Generation {
			fmt.Fprintf(out, " (the plane has seen %d)", r.ObservedGeneration)
		}
		fmt.Fprintf(out, ": Propagation=%s", r.Propagation)
		if r.Reason != "" {
			fmt.Fprintf(out, " %s", r.Reason)
		}
		if r.Healthy != "" {
			fmt.Fprintf(out, ", Healthy=%s", r.Healthy)
		}
		fmt.Fprintln(out)
	}
	w := printers.GetNewTabWriter(out)
	if !single {
		fmt.Fprint(w, "OBJECT\t")
	}
	fmt.Fprintln(w, "UNIT\tMEMBER\tREVISION\tGENERATION\tHELD\tBEHIND\tHEALTH\tSTATUS\tMESSAGE")
	for _, r := range releases {
		for _, c := range r.Units {
			if !single {
				fmt.Fprintf(w, "%s\t", r.Name)
			}
			revision, message := c.Revision, c.Message
			if message == "" {
				message = c.HealthMessage
			}
			if !wide {
				revision, message = shorten(revision, shortRevision, ""), shorten(message, shortMessage, "…")
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Unit, orNone(c.Member), orNone(revision), number(c.Generation),
				yesNo(c.Held), number(c.Behind), orNone(c.Health), c.Status, orNone(message))
		}
		if len(r.Units) == 0 && !single {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t-\t-\t-\t%s\n", r.Name, "in no unit")
		}
	}
	return w.Flush()
}

// overview writes the members of the plane and the units of a namespace.
func (o *statusOptions) overview(ctx context.Context) error {
	members, err := list[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace)
	hidden := apierrors.IsForbidden(err) // as to a tenant's people, who still see their units
	if err != nil && !hidden {
		return asPlane(err)
	}
	here, err := list[topologyv1alpha1.Unit](ctx, o.plane, units, o.namespace)
	if err != nil {
		return asPlane(err)
	}
	if o.output == outputJSON || o.output == outputYAML {
		// Programs walk through lists, and none may be null.
		return printStructured(o.out, o.output, map[string]any{
			"members": append([]corev1beta1.KubeFedCluster{}, members...), "units": append([]topologyv1alpha1.Unit{}, here...)})
	}
	w := printers.GetNewTabWriter(o.out)
	if hidden {
		fmt.Fprintln(w, "The members of the plane are not shown: you may not list KubeFedClusters.")
	} else {
		fmt.Fprintln(w, "MEMBER\tREADY\tVERSION\tENDPOINT\tSAYS")
	}
	for i := range members {
		ready, says := readiness(&members[i])
		if o.output != outputWide {
			says = shorten(says, shortMessage, "…")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", members[i].Name, yesNo(ready), orNone(members[i].Status.KubernetesVersion), members[i].Spec.APIEndpoint, says)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "\nIn namespace %s:\n", o.namespace)
	w = printers.GetNewTabWriter(o.out)
	fmt.Fprintln(w, "UNIT\tTYPE\tMEMBER\tMEMBER-NAMESPACE\tREADY\tREASON")
	for _, u := range here {
		ready, reason := "no", "NotCheckedYet"
		for _, c := range u.Status.Conditions {
			if c.Type == topologyv1alpha1.UnitReady {
				ready, reason = yesNo(c.Status == "True"), c.Reason
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", u.Name, u.Spec.TopologyType, u.Spec.Cluster, u.Spec.MemberNamespace, ready, reason)
	}
	return w.Flush()
}

func qualified(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// shorten cuts by characters, not bytes: messages may be in any language.
func shorten(s string, n int, sign string) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + sign
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// number is nothing where there is none to tell.
func number(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
