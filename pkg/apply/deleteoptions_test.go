package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// kubefed 3.1: of the annotation kubefed.io/deleteoption count gracePeriodSeconds, propagationPolicy and preconditions. That
// only the UID that was seen is deleted is nobody's to change.
func TestDeletionsCarryTheObjectsOptionsAndAlwaysTheUID(t *testing.T) {
	options, err := deleteOptions(`{"gracePeriodSeconds":5,"propagationPolicy":"Foreground","dryRun":["All"],"preconditions":{"resourceVersion":"7"}}`, "u")
	if err != nil {
		t.Fatal(err)
	}
	if ptr.Deref(options.GracePeriodSeconds, 0) != 5 || ptr.Deref(options.PropagationPolicy, "") != "Foreground" || options.DryRun != nil ||
		ptr.Deref(options.Preconditions.UID, "") != "u" || ptr.Deref(options.Preconditions.ResourceVersion, "") != "7" {
		t.Errorf("%+v", options)
	}
	if options, err := deleteOptions("", "u"); err != nil || ptr.Deref(options.Preconditions.UID, "") != "u" {
		t.Errorf("%+v, %v", options, err)
	}
	if _, err := deleteOptions(`{"preconditions":{"uid":"another"}}`, "u"); err == nil || !strings.Contains(err.Error(), "UID another") {
		t.Errorf("an author who means another object: %v", err)
	}
	if _, err := deleteOptions("x", "u"); err == nil || !strings.Contains(err.Error(), wellknown.DeleteOptionAnnotation) {
		t.Errorf("garbled: %v", err)
	}
}

func TestANamespaceThatIsMadeSaysForWhom(t *testing.T) {
	f := newFakeMember(t, "m1")
	delete(f.objects, "/api/v1/namespaces/acme")
	owner := federated.Owner{Plane: "p", UID: "u", Unit: "rz00a", Revision: "r1"}
	object := web(func(u *unstructured.Unstructured) {
		u.SetAnnotations(map[string]string{wellknown.OwnerAnnotation: owner.String()})
	})
	if r := perform(t.Context(), deployments, step(plan.Create, object, nil), f); r.Outcome != plan.Done {
		t.Fatalf("%+v", r)
	}
	u := f.get("/api/v1/namespaces/acme")
	maker, ok := federated.ReadOwner(u.GetAnnotations()[wellknown.MadeForAnnotation])
	if owner.Revision = ""; !ok || maker != owner {
		t.Errorf("made for %+v, want %+v", maker, owner)
	}
}
