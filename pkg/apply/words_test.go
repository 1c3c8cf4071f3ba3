package apply

import (
	"testing"
	"time"

	"github.com/cellfed/cellfed/pkg/plan"
)

func TestAFailureKeepsItsWordsWhileItsCauseIsTheSame(t *testing.T) {
	const first = "member m: no 1795840262096636597, request 7f3c-91 at 10:00:01Z"
	for name, c := range map[string]struct {
		code, revision, message string
		after                   time.Duration
		kept                    bool
	}{
		"the same":                         {"UpdateFailed", "r2", first, time.Second, true},
		"another time and request":         {"UpdateFailed", "r2", "member m: no 1795840262099999999, request 81aa-2 at 10:00:02Z", time.Second, true},
		"another cause":                    {"UpdateFailed", "r2", "member m: exceeded quota, request 7f3c-91 at 10:00:01Z", time.Second, false},
		"more is said":                     {"UpdateFailed", "r2", first + " (quota)", time.Second, false},
		"another code":                     {"CreationFailed", "r2", "member m: no 2, request 7f3c-91 at 10:00:01Z", time.Second, false},
		"another revision":                 {"UpdateFailed", "r3", "member m: no 2, request 7f3c-91 at 10:00:01Z", time.Second, false},
		"what was said is of long ago now": {"UpdateFailed", "r2", "member m: no 2, request 7f3c-91 at 10:09:01Z", sameWords, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, key, now := NewLedger(), Key{Name: "web"}, time.Unix(0, 0)
			try := func(code, revision, message string, now time.Time) plan.Result {
				l.begin(key, "a", "m")
				return l.end(key, "a", revision, plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: code, Message: message}}, now)
			}
			try("UpdateFailed", "r2", first, now)
			want := c.message
			if c.kept {
				want = first
			}
			told := try(c.code, c.revision, c.message, now.Add(c.after))
			if told.Outcome != plan.Failed || told.Why != (plan.Why{Code: c.code, Message: want}) {
				t.Errorf("the try is told as %v, want %q", told, want)
			}
			// The look that does not try again says what the one said that did.
			if r := l.Recall(key, "a", nil, now.Add(c.after)); r.Failure == nil || r.Failure.Why != told.Why {
				t.Errorf("remembered is %v, told was %v", r.Failure, told.Why)
			}
		})
	}
}

func TestWhatWorkedMeanwhileIsToldAnewWhenItFails(t *testing.T) {
	l, key, now := NewLedger(), Key{Name: "web"}, time.Unix(0, 0)
	end := func(r plan.Result) plan.Result {
		l.begin(key, "a", "m")
		return l.end(key, "a", "r2", r, now)
	}
	failed := func(message string) plan.Result {
		return plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: "UpdateFailed", Message: message}}
	}
	end(failed("no 1"))
	end(plan.Result{Outcome: plan.Gone})
	if told := end(failed("no 2")); told.Why.Message != "no 2" {
		t.Errorf("told is %q", told.Why.Message)
	}
}
