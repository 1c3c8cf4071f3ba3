package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// object is a member's object as it was decoded. Reading is tolerant: what has another type is not there.
type object map[string]any

func (o object) field(path ...string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(o, path...)
	return v
}

func (o object) text(path ...string) string {
	s, _ := o.field(path...).(string)
	return s
}

func (o object) flag(path ...string) bool {
	b, _ := o.field(path...).(bool)
	return b
}

func (o object) list(path ...string) []any {
	l, _ := o.field(path...).([]any)
	return l
}

// number is a whole number, or what it is where it is not said.
func (o object) number(otherwise int64, path ...string) int64 {
	switch n := o.field(path...).(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return otherwise
}

func (o object) status(field string) int64 { return o.number(0, "status", field) }

// condition is one of status.conditions; without a status where there is none of the type.
type condition struct {
	status, reason, message string
	generation              int64
}

func (o object) condition(typ string) condition {
	for _, e := range o.list("status", "conditions") {
		m, _ := e.(map[string]any)
		c := object(m)
		if c.text("type") == typ {
			return condition{c.text("status"), c.text("reason"), c.text("message"), c.number(0, "observedGeneration")}
		}
	}
	return condition{}
}

func (c condition) is(status string) bool { return c.status == status }

// words are what a condition says, or else what is said of it.
func (c condition) words(otherwise string) string {
	switch {
	case c.message != "" && c.reason != "":
		return c.reason + ": " + c.message
	case c.message != "":
		return c.message
	case c.reason != "":
		return c.reason
	}
	return otherwise
}

const (
	notObserved = "no controller in the member has looked at it yet"
	stale       = "the member's controller has not looked at the newest spec yet"
)

// observed puts the question before a rule that every controller of the kind answers: is the status about this spec?
func observed(judge rule) rule {
	return func(o object) Verdict {
		switch seen := o.status("observedGeneration"); {
		case seen == 0 && o.number(0, "metadata", "generation") != 0:
			return progressing(notObserved)
		case seen != o.number(0, "metadata", "generation"):
			return progressing(stale)
		}
		return judge(o)
	}
}

// of tells how far a count is. Such messages change while something goes on, and not otherwise.
func of(count, total int64, what string) Verdict {
	return progressing(fmt.Sprintf("%d of %d %s", count, total, what))
}
