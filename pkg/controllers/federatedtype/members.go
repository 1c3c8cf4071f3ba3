package federatedtype

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/member"
)

const (
	// askTimeout bounds asking one member for a kind, askAtOnce how many are asked at the same time: a member that is
	// slow must not hold up the types of the others.
	askTimeout = 5 * time.Second
	askAtOnce  = 16
	// namesTold is how many members a condition names.
	namesTold = 10
)

// answers remembers which members have which kinds. A member that has a kind is not asked again over the same
// connection until something is heard of that kind there: members come and go, and each time concerns every type.
type answers struct {
	mu    sync.Mutex
	known map[answerKey]*member.Member
}

type answerKey struct {
	member string
	gvr    schema.GroupVersionResource
}

func (a *answers) has(m *member.Member, gvr schema.GroupVersionResource) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[answerKey{m.Name(), gvr}] == m
}

func (a *answers) remember(m *member.Member, gvr schema.GroupVersionResource) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[answerKey]*member.Member{}
	}
	a.known[answerKey{m.Name(), gvr}] = m
}

// forget drops what an event has made doubtful.
func (a *answers) forget(e member.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !e.GVR.Empty() {
		delete(a.known, answerKey{e.Member, e.GVR})
		return
	}
	for key := range a.known {
		if key.member == e.Member {
			delete(a.known, key)
		}
	}
}

// census is which members have a kind.
type census struct {
	with            int
	without, silent []string
}

// ask asks all members that are connected.
func (a *answers) ask(ctx context.Context, fleet *member.Fleet, gvr schema.GroupVersionResource) census {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		result census
		turns  = make(chan struct{}, askAtOnce)
	)
	for _, name := range fleet.Names() {
		m, err := fleet.Member(name)
		switch {
		case err != nil:
			mu.Lock()
			result.silent = append(result.silent, name)
			mu.Unlock()
			continue
		case a.has(m, gvr):
			mu.Lock()
			result.with++
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			one, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			_, err := m.Kind(one, gvr)
			var lacks *member.LacksKindError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				a.remember(m, gvr)
				result.with++
			case errors.As(err, &lacks):
				result.without = append(result.without, name)
			default:
				result.silent = append(result.silent, name)
			}
		})
	}
	wg.Wait()
	slices.Sort(result.without)
	return result
}

// condition says a census. Members that do not answer are not named: that would be news each time one comes or goes.
func (c census) condition(gvr schema.GroupVersionResource) metav1.Condition {
	kind := gvr.GroupResource().String() + " " + gvr.Version
	answered := c.with + len(c.without)
	out := metav1.Condition{Type: corev1beta1.TypeInMembers}
	switch {
	case len(c.without) > 0 && c.with == 0:
		out.Status, out.Reason = metav1.ConditionFalse, ReasonNowhere
		out.Message = fmt.Sprintf("no member that answers serves %s: %s", kind, few(c.without))
	case len(c.without) > 0:
		out.Status, out.Reason = metav1.ConditionFalse, ReasonLacking
		out.Message = fmt.Sprintf("%s is not served by %d of %d members that answer: %s", kind, len(c.without), answered, few(c.without))
	case answered > 0:
		out.Status, out.Reason, out.Message = metav1.ConditionTrue, ReasonEverywhere, "every member that answers serves "+kind
	case len(c.silent) > 0:
		out.Status, out.Reason, out.Message = metav1.ConditionUnknown, ReasonNotAnswered, "no member answers"
	default:
		out.Status, out.Reason, out.Message = metav1.ConditionUnknown, ReasonNoMember, "there is no member yet"
	}
	return out
}

func few(names []string) string {
	if len(names) <= namesTold {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:namesTold], ", "), len(names)-namesTold)
}
