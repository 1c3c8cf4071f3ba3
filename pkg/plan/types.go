package plan

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/render"
)

// Codes of a unit in status: KubeFed's where it has one (pkg/controller/sync/status), ours where it is silent. No code
// means that the unit is as asked.
const (
	CodeWaitingForRemoval     = "WaitingForRemoval"
	CodeClusterNotReady       = "ClusterNotReady"
	CodeCachedRetrievalFailed = "CachedRetrievalFailed"
	CodeComputeResourceFailed = "ComputeResourceFailed"
	CodeApplyOverridesFailed  = "ApplyOverridesFailed"
	CodeCreationFailed        = "CreationFailed"
	CodeUpdateFailed          = "UpdateFailed"
	CodeDeletionFailed        = "DeletionFailed"
	CodeLabelRemovalFailed    = "LabelRemovalFailed"
	CodeRetrievalFailed       = "RetrievalFailed"
	CodeAlreadyExists         = "AlreadyExists"
	CodeManagedLabelFalse     = "ManagedLabelFalse"
	CodeCreationTimedOut      = "CreationTimedOut"
	CodeUpdateTimedOut        = "UpdateTimedOut"
	CodeDeletionTimedOut      = "DeletionTimedOut"
	CodeLabelRemovalTimedOut  = "LabelRemovalTimedOut"

	// CodeUnknownUnit: the placement or the inventory names a unit that is not there.
	CodeUnknownUnit = "UnknownUnit"
	// CodeUnitRemade: a unit of the same name is somewhere else than the copy that is recorded.
	CodeUnitRemade = "UnitRemade"
	// CodeUnitNotReady: the unit is there but may not be written yet.
	CodeUnitNotReady = "UnitNotReady"
	// CodeKindNotInMember: the member does not serve the target kind.
	CodeKindNotInMember = "KindNotInMember"
	// CodePending: a write is under way and the member has not answered yet.
	CodePending = "Pending"
	// CodeWaitingForMask: the unit left the placement while it was not in the mask.
	CodeWaitingForMask = "WaitingForMask"
	// CodeRevisionMissing: the unit should get its own revision back, and nobody has it any more.
	CodeRevisionMissing = "RevisionMissing"
	// CodeOnHold: the whole object is held.
	CodeOnHold = "OnHold"
	// CodeNotYours: the unit, or its member, belongs to another tenant, or is not granted to this one.
	CodeNotYours = "NotYours"
	// CodeAbandoned: the member, or the unit, was given up.
	CodeAbandoned = "Abandoned"
	// CodeMemberChanged: another cluster has the member's name than the one that the copy was made in.
	CodeMemberChanged = "MemberChanged"
	// CodeOccupied: the copy is a namespace in which other copies of the plane live.
	CodeOccupied = "Occupied"
	// CodeNamespaceNotFederated (KubeFed's): the namespace's FederatedNamespace does not admit the unit, or is not there
	// and must be.
	CodeNamespaceNotFederated = "NamespaceNotFederated"
	// CodeInvalidName: the federated object of a namespace is not named like it (the reason is KubeFed's, of its event).
	CodeInvalidName = "InvalidName"
	// CodeContested: somebody in the member keeps changing what is asked for, and the plane has stopped fighting.
	CodeContested = "Contested"
)

// Why is the reason of a decision: a code for programs, a message for people. No code = as asked.
type Why struct {
	Code, Message string
}

// Action is what is done in a unit.
type Action string

// Actions. Create, Update, Delete and Orphan write to the member, Confirm reads it, the others touch nothing.
const (
	Create  Action = "create"
	Update  Action = "update"
	Delete  Action = "delete"
	Orphan  Action = "orphan"
	Confirm Action = "confirm"
	// Keep leaves a unit that is as it should be.
	Keep Action = "keep"
	// Hold leaves a unit that may not be written.
	Hold Action = "hold"
	// Wait leaves a unit that will be written when something has happened.
	Wait Action = "wait"
	// Drop forgets a unit in which nothing of the object is left.
	Drop Action = "drop"
)

// Writes tells whether the action changes the member.
func (a Action) Writes() bool { return a == Create || a == Update || a == Delete || a == Orphan }

// Unit is what was gathered about one unit, or about one member under topology "cluster".
type Unit struct {
	// Name is the full cluster name.
	Name            string
	Member          string
	MemberNamespace string
	// CopyName is the copy's name in the member; "" = the federated object's. The copy of a namespace goes by the name that
	// the unit's namespace has in the member.
	CopyName string
	Labels   map[string]string
	// MemberID is the identity of the cluster behind the member's name; "" = it is not known.
	MemberID string
	// NotYours says why the unit is none of the object's tenant's; nil = it is one. Nothing was read about such a unit.
	NotYours *Why
	// Occupied says what else lives in the namespace that this object's copy is; nil = nothing.
	Occupied *Why
	// Problem says why the unit may not be written at all; nil = it may.
	Problem *Why
	// NotConnected says why the member cannot be reached; nil = it can.
	NotConnected *Why
	// Unreadable says why nobody knows what is in the member; nil = Observed is the truth.
	Unreadable *Why
	// Loading is set while the member's copies are being read for the first time since it was connected.
	Loading bool
	// Observed is the object in the member; nil = there is none.
	Observed *unstructured.Unstructured
	// Probe asks to look again whether a foreign object is still there.
	Probe bool
	// InFlight is set while a write to this unit is under way.
	InFlight bool
	// Failure is the last failure, while it is too early to try again.
	Failure *Failure
	// Contest is a fight over the copy that the plane has given up for a while; nil = none.
	Contest *Contest
	// Confirmed is what the member confirmed last, although status may not say so yet; nil = it is not remembered.
	Confirmed *Confirmed
}

// Confirmed is a write that a member answered. A member that always answers late would be written again and again if
// only status knew what was confirmed, since status is written before it answers.
type Confirmed struct {
	Revision, Version string
}

// Failure is a write that failed and may not be repeated yet.
type Failure struct {
	Why
	// Revision that was to be written; empty for removals.
	Revision string
}

// Abandonment is a place that was given up for good: a whole member, or one unit.
type Abandonment struct {
	// Cluster is the member's name; ClusterID its identity, "" = whichever cluster has the name.
	Cluster, ClusterID string
	// Unit is the full name of the one unit that was given up; "" = all of the member. MemberNamespace is where it was;
	// "" = wherever it was in that member.
	Unit, MemberNamespace string
	// Reason as it was given.
	Reason string
}

// Release is one revision in an object's history.
type Release struct {
	Revision string
	// Template is the hash of the template alone.
	Template string
	// Generation of the object that last asked for it.
	Generation int64
}

// Input is everything that a plan is made of.
type Input struct {
	Object *federated.Object
	// Plane is the id that the plane puts on what it makes.
	Plane            string
	Target           schema.GroupVersionKind
	TargetNamespaced bool
	// Units are all units that the object could be placed in: those of its topology type and namespace.
	Units []Unit
	// Contents of revisions that an earlier plan asked for (Plan.Missing); nil = looked for and not found.
	Contents map[string]*federated.Content
	// Hold holds the whole object, but for its deletion.
	Hold *Why
	// Unowned says why nobody knows whose the object is. It stands still then, its deletion too: which units are its
	// own is not known either.
	Unowned *Why
	// NamespaceObject is the FederatedNamespace of the object's namespace; nil = there is none, or it does not restrict.
	// It restricts the placement of objects of its own topology type.
	NamespaceObject *federated.Object
	// StrictNamespaces: without a FederatedNamespace nothing is placed anew (KubeFed's rule, without its deletions).
	StrictNamespaces bool
	// AdoptByDefault: objects that are there already are taken over without being asked for one by one.
	AdoptByDefault bool
	// Abandonments are the places that were given up.
	Abandonments []Abandonment
	// History are the object's revisions, oldest first.
	History []Release
	// Policy is what the type says of its copies.
	Policy render.Policy
	// Written: a revision of the object was recorded once, so that something may have been written.
	Written bool
}

// Step is the decision about one unit.
type Step struct {
	Unit            string
	Member          string
	MemberID        string // identity of the member, "" = not known
	MemberNamespace string // of the unit; Namespace is empty for cluster-scoped kinds
	Namespace, Name string
	Action          Action
	// Placed, Held: the unit is in the placement; the mask keeps the unit as it is.
	Placed, Held bool
	// Want is the revision that the object means for the unit now; Revision is the one that is written or kept.
	Want, Revision string
	// Behind is how many releases the unit has missed.
	Behind int64
	// DeleteOptions are the options to delete with, as JSON, unread; "" = none.
	DeleteOptions string
	// Version of the observed object, if it was computed.
	Version string
	// Object to write (Create, Update).
	Object *unstructured.Unstructured
	// Observed is what was there.
	Observed *unstructured.Unstructured
	// Lens is how the copy is looked at for drift.
	Lens render.Lens
	// Render is what Object was made from; nil where nothing is written.
	Render *render.Input
	// Repairs: the copy held the revision, in version Recorded, and somebody changed it since.
	Repairs  bool
	Recorded string
	Why      Why
}

// Plan is what to do about one federated object.
type Plan struct {
	Steps []Step
	// Missing are revisions whose content is needed to decide: load them and compute again.
	Missing []string
	// Record are the contents to keep before any member is written, by revision.
	Record map[string]federated.Content
	// Intent are the units that may hold a copy from now on and are not in the inventory yet.
	Intent []string
	// Stopped is why the whole object stands still; nil = it does not.
	Stopped *Why
	// Unsupported is what the template says in vain.
	Unsupported []Why
	// AddFinalizer is set when the finalizer is not there and something is, or is about to be, in the inventory.
	AddFinalizer bool
}

// Outcome is how a step that touched a member ended.
type Outcome string

// Outcomes.
const (
	// Done: the write was confirmed; Result.Object is what the member holds now.
	Done Outcome = "done"
	// Gone: the member said that nothing of ours is there.
	Gone Outcome = "gone"
	// Found: what was to be created, or to be gone, is there; Result.Object is it. The next plan judges it.
	Found Outcome = "found"
	// Pending: no answer yet; the key comes again when there is one.
	Pending Outcome = "pending"
	// Stale: the member changed meanwhile; nothing was written and the next plan sees it.
	Stale Outcome = "stale"
	// Failed: Result.Why says why; what was confirmed last is still what is known.
	Failed Outcome = "failed"
)

// Result is what came of one step.
type Result struct {
	Outcome Outcome
	Object  *unstructured.Unstructured
	Why     Why
}

// Finished tells whether an object that is being deleted is gone from everywhere it may have been.
func (p *Plan) Finished(results map[string]Result) bool {
	if p.Stopped != nil {
		return false
	}
	for i := range p.Steps {
		if !p.Steps[i].Dropped(results[p.Steps[i].Unit]) {
			return false
		}
	}
	return true
}

// Dropped tells whether the step, with its result, ends the unit's part in the object.
func (s *Step) Dropped(r Result) bool {
	switch s.Action {
	case Drop:
		return true
	case Delete, Orphan, Confirm:
		return !s.Placed && r.Outcome == Gone
	}
	return false
}
