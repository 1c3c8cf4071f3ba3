package membership

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"
)

var (
	good    = result{ok: true, reachable: true, reason: ReasonReady, message: messageReady, version: "v1"}
	refused = result{reason: ReasonNotReachable, message: "refused"}
	silent  = result{reason: ReasonNotReachable, message: "silent"}
	ill     = result{reachable: true, reason: ReasonNotReady, message: messageNotReady}
)

func TestHealthAddsUp(t *testing.T) {
	letters := map[rune]result{'g': good, 'r': refused, 's': silent, 'i': ill}
	for name, c := range map[string]struct {
		probes   string
		told     string // after each probe
		failure  int
		success  int
		wavering bool
	}{
		"the first probe of a new member counts at once, when good":                  {"g", "g", 3, 1, false},
		"the first probe of a new member counts at once, when bad":                   {"r", "r", 3, 1, false},
		"a ready member stays ready until the failures in a row reach the threshold": {"gggrrr", "gggggr", 3, 1, false},
		"a success in between begins the count anew":                                 {"grrgrrg", "ggggggg", 3, 1, false},
		"two failures of three leave it ready, wavering":                             {"grr", "ggg", 3, 1, true},
		"failures count together whatever their words":                               {"grsi", "gggi", 3, 1, false},
		"one success makes it ready again":                                           {"rrg", "rrg", 3, 1, false},
		"two successes where two are asked for":                                      {"rgrgg", "rrrrg", 3, 2, false},
		"a threshold of one takes each probe as it is":                               {"grgr", "grgr", 1, 1, false},
		"another reason of a member that is down is told when it has come as often":  {"rsss", "rrrs", 3, 1, false},
		"reasons that alternate are not told":                                        {"rsrsrsrs", "rrrrrrrr", 3, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			var h health
			for i, l := range c.probes {
				h = h.next(letters[l], Thresholds{Failure: c.failure, Success: c.success})
				if want := letters[rune(c.told[i])]; !h.told.sameAs(want) {
					t.Fatalf("after %s it is said to be %q, want %q", c.probes[:i+1], h.told.message, want.message)
				}
			}
			if h.wavering() != c.wavering {
				t.Fatalf("wavering is %v", h.wavering())
			}
		})
	}
}

func TestTheVersionOutlastsFailuresAndProbesThatDoNotTellIt(t *testing.T) {
	th := Thresholds{Failure: 1, Success: 1}
	h := health{}.next(good, th).next(refused, th)
	if h.told.version != "v1" {
		t.Fatalf("a lost member has version %q", h.told.version)
	}
	mute := good
	mute.version = ""
	if h = h.next(mute, th); h.told.version != "v1" || !h.told.ok {
		t.Fatalf("a member that does not tell has version %q", h.told.version)
	}
	upgraded := good
	upgraded.version = "v2"
	if h = h.next(upgraded, th); h.told.version != "v2" {
		t.Fatalf("an upgraded member has version %q", h.told.version)
	}
}

func TestPausesBetweenProbes(t *testing.T) {
	o := Options{}.withDefaults()
	th := Thresholds{Failure: o.FailureThreshold, Success: o.SuccessThreshold}
	ready := health{}.next(good, th)
	for name, c := range map[string]struct {
		h    health
		want time.Duration
	}{
		"a ready member has its period":        {ready, 10 * time.Second},
		"one that begins to fail has a second": {ready.next(refused, th), time.Second},
		"one that is lost has two":             {health{}.next(refused, th), 2 * time.Second},
	} {
		if got := c.h.pause(o); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func say(conditions []kubefedv1beta1.ClusterCondition) string {
	var out []string
	for _, c := range conditions {
		out = append(out, string(c.Type)+"="+string(c.Status)+" "+value(c.Reason))
	}
	return strings.Join(out, ", ")
}

func TestConditionsAreKubeFeds(t *testing.T) {
	for want, r := range map[string]result{
		"Ready=True ClusterReady":                                                         good,
		"Ready=False ClusterNotReady, Offline=False ClusterReachable":                     ill,
		"Ready=False ClusterNotReachable, Offline=True ClusterNotReachable":               refused,
		"Ready=False ClusterConfigMalformed, ConfigMalformed=True ClusterConfigMalformed": {reason: ReasonConfigMalformed},
		"Ready=False Unauthorized, Offline=True Unauthorized":                             {reason: ReasonUnauthorized},
	} {
		if got := say(conditionsOf(r)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestStatusIsNewOnlyWhenItSaysSomethingNew(t *testing.T) {
	first, second := metav1.Unix(1000, 0), metav1.Unix(2000, 0)
	s, changed := nextStatus(kubefedv1beta1.KubeFedClusterStatus{}, good, first)
	if !changed || s.KubernetesVersion != "v1" {
		t.Fatalf("the first status is %+v, changed %v", s, changed)
	}
	if _, changed = nextStatus(s, good, second); changed {
		t.Fatal("another time alone is something new")
	}
	lost, changed := nextStatus(s, refused, second)
	if !changed || !lost.Conditions[0].LastTransitionTime.Equal(&second) || lost.KubernetesVersion != "v1" {
		t.Fatalf("the status of a lost member is %+v, changed %v", lost, changed)
	}
	third := metav1.Unix(3000, 0)
	other, changed := nextStatus(lost, silent, third)
	if !changed || !other.Conditions[0].LastTransitionTime.Equal(&second) || !other.Conditions[0].LastProbeTime.Equal(&third) {
		t.Fatalf("another message gave %+v, changed %v", other, changed)
	}
}
