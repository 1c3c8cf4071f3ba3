package federated

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// revisionLength is the number of hex digits that name a revision: 64 bits, unique among one object's contents for
// all practical purposes, and short enough to be read aloud.
const revisionLength = 16

// Content is what one unit is meant to hold: the template and that unit's overrides, before anything is rendered.
type Content struct {
	Template  map[string]any `json:"template"`
	Overrides []any          `json:"overrides,omitempty"`
}

// ContentFor is the content that the object means for a unit now.
func (o *Object) ContentFor(unit string) Content {
	return Content{Template: o.Template, Overrides: o.Overrides[unit]}
}

// Revision names the content: equal contents have equal names, in whatever order their keys were written.
func (c Content) Revision() (string, error) {
	raw, err := json.Marshal(c) // map keys are sorted
	if err != nil {
		return "", fmt.Errorf("encoding the content: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:revisionLength], nil
}

// RevisionObjectName is the name of the Revision object that keeps a content of a federated object. The UID keeps
// apart objects of equal kind and name that lived one after the other.
func RevisionObjectName(kind, name, uid, revision string) string {
	const limit = 253
	tail := "-" + shortHash(kind+"/"+uid) + "-" + revision
	head := strings.ToLower(strings.TrimPrefix(kind, "Federated")) + "-" + name
	if len(head)+len(tail) > limit {
		head = strings.TrimRight(head[:limit-len(tail)], "-.")
	}
	return head + tail
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:8]
}

// Owner is what the owner annotation of a member object says.
type Owner struct {
	// Plane is the id of the plane that made the object.
	Plane string `json:"plane"`
	// UID is the federated object's.
	UID string `json:"uid"`
	// Unit is the full cluster name of the unit that the copy is for.
	Unit string `json:"unit"`
	// Revision is the content that was written with this annotation, in the same write.
	Revision string `json:"revision"`
}

// String is the annotation's value.
func (o Owner) String() string {
	raw, err := json.Marshal(o)
	if err != nil {
		panic("federated: four strings do not encode: " + err.Error())
	}
	return string(raw)
}

// ReadOwner reads an owner annotation's value; false if it is not one.
func ReadOwner(value string) (Owner, bool) {
	var o Owner
	if value == "" || json.Unmarshal([]byte(value), &o) != nil {
		return Owner{}, false
	}
	return o, o.UID != ""
}
