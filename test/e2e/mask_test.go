package e2e

import (
	"testing"
	"time"
)

func TestAReleaseUnderAMaskReachesTheMaskedUnitsAndNoOther(t *testing.T) {
	w := newTenant(t, "mask-gray", "rz00a "+east+" mask-gray-a", "rz01a "+west, "rz00b "+east+" mask-gray-b")
	everywhere := placed("rz00a", "rz01a", "rz00b")
	w.apply(w.config("web", "1", everywhere))
	w.has("web", "rz00a=1", "rz01a=1", "rz00b=1")
	w.told("web", "True")

	w.apply(w.config("web", "2", everywhere+masked("rz00a")))
	w.has("web", "rz00a=2")
	w.told("web", "True")
	w.keeps("web", time.Second, "rz00a=2", "rz01a=1", "rz00b=1")
	if e := w.entry("web", "rz01a"); e["held"] != true || e["revision"] == w.entry("web", "rz00a")["revision"] {
		t.Errorf("status does not tell that rz01a is held at a revision of its own: %v", e)
	}
	if c := conditionOf(w.get("web"), "Held"); c["status"] != "True" {
		t.Errorf("condition Held is %v, want True", c)
	}

	w.apply(w.config("web", "2", everywhere+masked("rz00a", "rz00b")))
	w.has("web", "rz00b=2")
	w.keeps("web", time.Second, "rz01a=1")

	w.apply(w.config("web", "2", everywhere))
	w.has("web", "rz01a=2")
	w.told("web", "True")
	if c := conditionOf(w.get("web"), "Held"); c["status"] != "False" {
		t.Errorf("condition Held is %v without a mask, want False", c)
	}
}

func TestAnEmptyMaskChangesNothingAnywhere(t *testing.T) {
	w := newTenant(t, "mask-empty", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.apply(w.config("web", "2", placed("a", "b")+"  placementMask: {}\n"))
	w.told("web", "True")
	w.keeps("web", 2*time.Second, "a=1", "b=")
}

func TestAUnitThatWasNeverPlacedIsNotCreatedOutsideTheMask(t *testing.T) {
	w := newTenant(t, "mask-new", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")+masked("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	w.keeps("web", 2*time.Second, "b=")
	if e := w.entry("web", "b"); e["held"] != true {
		t.Errorf("status of b is %v, want held", e)
	}
}

func TestAUnitThatLeavesThePlacementUnderAMaskIsKeptUntilTheMaskAdmitsIt(t *testing.T) {
	w := newTenant(t, "mask-left", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.apply(w.config("web", "1", placed("a")+masked("a")))
	w.told("web", "True")
	w.keeps("web", 2*time.Second, "b=1")
	if e := w.entry("web", "b"); e["status"] != "WaitingForMask" {
		t.Errorf("status of b is %v, want WaitingForMask", e)
	}
	w.apply(w.config("web", "1", placed("a")+masked("a", "b")))
	w.has("web", "b=")
	w.told("web", "True")
}

func TestAHeldUnitGetsItsOwnRevisionBack(t *testing.T) {
	w := newTenant(t, "mask-repair", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.told("web", "True")
	w.apply(w.config("web", "2", placed("a", "b")+masked("a")))
	w.has("web", "a=2")
	w.told("web", "True")

	w.editCopy("b", "web", `{"data":{"version":"edited"}}`)
	w.has("web", "b=1")
	w.deleteCopy("b", "web")
	w.has("web", "b=1")
	w.keeps("web", time.Second, "a=2", "b=1")
}

func TestDeletionDeletesEverywhereMaskOrNot(t *testing.T) {
	w := newTenant(t, "mask-delete", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.apply(w.config("web", "2", placed("a", "b")+"  placementMask: {}\n"))
	w.told("web", "True")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	if err := w.mismatch("web", []string{"a=", "b="}); err != nil {
		t.Error(err)
	}
}
