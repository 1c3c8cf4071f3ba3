package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/annotation"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/retain"
)

// Policy is what a type says of its copies: which annotations are spec, and which fields are the members'. The zero
// value is KubeFed's.
type Policy struct {
	Annotations annotation.Policy
	Retained    retain.Pointers
}

// Lens is how copies are looked at for drift: it shows what is the plane's and hides what is the member's. The zero
// value hides what is the member's of every kind: status, bookkeeping and annotations.
type Lens struct {
	annotations annotation.Policy
	rules       retain.Rules
	id          string
	// asked is what was asked for, rendered without anything observed; nil = nobody knows.
	asked map[string]any
}

// NewLens makes the lens for the copies of one federated object.
func NewLens(target schema.GroupKind, p Policy, retainReplicas bool) Lens {
	l := Lens{annotations: p.Annotations, rules: retain.For(target, p.Retained, retainReplicas)}
	if name := l.annotations.String() + "\n" + l.rules.String(); name != "\n" {
		sum := sha256.Sum256([]byte(name))
		l.id = hex.EncodeToString(sum[:4])
	}
	return l
}

// ID names the policy that the lens looks with; "" = the default one.
func (l Lens) ID() string { return l.id }

// NeedsAsked tells whether what is the member's depends on what was asked for.
func (l Lens) NeedsAsked() bool { return l.rules.Conditional() }

// Asking is the lens for a copy of which it is known what was asked for. What cannot be rendered asked for nothing.
func (l Lens) Asking(in Input) Lens {
	in.Observed = nil
	if asked, err := Desired(in); err == nil {
		l.asked = asked.Object
	}
	return l
}

// PolicyOf is the ID of the policy that a version was taken with.
func PolicyOf(version string) string {
	_, id, _ := strings.Cut(version, "-")
	return id
}

// Version names what an observed object holds of the plane's. As long as it is the version recorded at the last
// confirmed write, nobody changed the content, and an object that the member filled with defaults needs no comparing
// with what was asked. It carries the policy that it was taken with: versions of two policies say nothing about each
// other.
func (l Lens) Version(u *unstructured.Unstructured) (string, error) {
	raw, err := json.Marshal(l.content(u))
	if err != nil {
		return "", fmt.Errorf("encoding the observed object: %w", err)
	}
	sum := sha256.Sum256(raw)
	version := hex.EncodeToString(sum[:8])
	if l.id != "" {
		version += "-" + l.id
	}
	return version, nil
}

// content is what the lens shows of an object. It may share memory with it.
func (l Lens) content(u *unstructured.Unstructured) map[string]any {
	content := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		switch k { // what is not content: the member's own, and the words in which it was asked for
		case "status", "metadata", "apiVersion", "kind":
		default:
			content[k] = v
		}
	}
	annotations := u.GetAnnotations()
	metadata := map[string]any{"labels": u.GetLabels(), "owner": annotations[wellknown.OwnerAnnotation]}
	if !l.annotations.Empty() {
		ours := map[string]any{}
		for k, v := range annotations {
			if l.annotations.Matches(k) {
				ours[k] = v
			}
		}
		metadata["annotations"] = ours
	}
	content["metadata"] = metadata
	if !l.rules.Drifting() {
		return content
	}
	labels, managed := map[string]any{}, ""
	for k, v := range u.GetLabels() {
		if k == wellknown.ManagedLabel { // no rule hides it: members change it to take a copy out of the plane's hands
			managed = v
			continue
		}
		labels[k] = v
	}
	metadata["labels"], metadata["managed"] = labels, managed
	content = runtime.DeepCopyJSON(content)
	l.rules.Strip(content, l.asked)
	return content
}
