package apply

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/plan"
)

func TestAnAnswerThatDoesNotFitTheQuestionIsAFailure(t *testing.T) {
	there := func(edit func(*unstructured.Unstructured)) *unstructured.Unstructured {
		u := web()
		u.SetUID("u1")
		u.SetResourceVersion("7")
		if edit != nil {
			edit(u)
		}
		return u
	}
	type answer = func(*unstructured.Unstructured)
	for name, tc := range map[string]struct {
		action  plan.Action
		outcome plan.Outcome
		edit    answer
		code    string
		says    string
	}{
		"what was asked for":          {plan.Create, plan.Done, nil, "", ""},
		"another name":                {plan.Create, plan.Done, func(u *unstructured.Unstructured) { u.SetName("other") }, plan.CodeCreationFailed, "other"},
		"another namespace":           {plan.Update, plan.Done, func(u *unstructured.Unstructured) { u.SetNamespace("other") }, plan.CodeUpdateFailed, "other/"},
		"another kind":                {plan.Create, plan.Done, func(u *unstructured.Unstructured) { u.SetKind("Secret") }, plan.CodeCreationFailed, "it gave a Secret"},
		"no UID":                      {plan.Create, plan.Done, func(u *unstructured.Unstructured) { u.SetUID("") }, plan.CodeCreationFailed, "without a UID"},
		"no version":                  {plan.Create, plan.Done, func(u *unstructured.Unstructured) { u.SetResourceVersion("") }, plan.CodeCreationFailed, "without a resource version"},
		"another UID after an update": {plan.Update, plan.Done, func(u *unstructured.Unstructured) { u.SetUID("u2") }, plan.CodeUpdateFailed, "another object"},
		"a new UID, found":            {plan.Update, plan.Found, func(u *unstructured.Unstructured) { u.SetUID("u2") }, "", ""},
		"another name, found":         {plan.Create, plan.Found, func(u *unstructured.Unstructured) { u.SetName("other") }, plan.CodeRetrievalFailed, "other"},
		"another name, going":         {plan.Delete, plan.Done, func(u *unstructured.Unstructured) { u.SetName("other") }, plan.CodeDeletionFailed, "other"},
		"a name without end": {plan.Create, plan.Done, func(u *unstructured.Unstructured) { u.SetName(strings.Repeat("x", 1<<20)) },
			plan.CodeCreationFailed, "xxx…"},
	} {
		t.Run(name, func(t *testing.T) {
			s := step(tc.action, web(), nil)
			if tc.action != plan.Create {
				s.Observed = there(nil)
			}
			r := believed(s, plan.Result{Outcome: tc.outcome, Object: there(tc.edit)})
			switch {
			case tc.code == "" && r.Outcome != tc.outcome:
				t.Errorf("%v: %+v", r.Outcome, r.Why)
			case tc.code != "" && (r.Outcome != plan.Failed || r.Why.Code != tc.code || !strings.Contains(r.Why.Message, tc.says)):
				t.Errorf("%v: %+v; want %s that says %q", r.Outcome, r.Why, tc.code, tc.says)
			case len(r.Why.Message) > 1100:
				t.Errorf("a message of %d bytes", len(r.Why.Message))
			}
		})
	}
}

// A member that answers most calls at once and hangs in between must not be waited for each time that it hangs.
func TestAMemberThatHangsNowAndThenIsTrustedLessEachTime(t *testing.T) {
	l := &lane{}
	waits := 0
	for range 2000 { // rounds of one call that hangs and nineteen that do not
		if !l.slow {
			waits++
		}
		l.answered(false)
		for range 19 {
			l.answered(true)
		}
	}
	if waits > 5 {
		t.Errorf("a worker waited %d times", waits)
	}
	for range lastTrust {
		l.answered(true)
	}
	if l.slow || l.needed != 0 {
		t.Errorf("after %d quick answers it is still slow=%t, needs %d", lastTrust, l.slow, l.needed)
	}
}

func TestAMemberThatSaysBothThereAndNotThereIsNotAskedForEver(t *testing.T) {
	l := NewLedger()
	k, now := named("w"), time.Now()
	for range movedTooOften {
		l.begin(k, "a", "m1")
		l.end(k, "a", "", plan.Result{Outcome: plan.Stale, Why: plan.Why{Code: plan.CodeCreationFailed, Message: "already exists"}}, now)
	}
	if r := l.Recall(k, "a", nil, now); r.Failure == nil {
		t.Error("it is asked again at once")
	}
}
