package e2e

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/cellfed/cellfed/pkg/member/membertest"
)

// writesOf counts how often an object is written from now on.
func (w *tenant) writesOf(name string) *atomic.Int64 {
	w.Helper()
	u := w.get(name)
	events, err := world.client.Resource(fedConfigMap).Namespace(w.ns).Watch(w.Context(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + name, ResourceVersion: u.GetResourceVersion()})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(events.Stop)
	n := &atomic.Int64{}
	go func() {
		for e := range events.ResultChan() {
			if e.Type == watch.Modified {
				n.Add(1)
			}
		}
	}()
	return n
}

// A bad member, and a unit that the mask holds, cost the others nothing but their own: each release is written once by
// whoever releases, and told in one status write, also beyond the end of history.
func TestAReleaseIsToldInOneWriteWhileOthersStayBehind(t *testing.T) {
	w := newTenant(t, "thrift", "good "+west, "held "+east)
	raw, hostile := behind(t, "thrift-bad", east)
	raw.federate(t)
	w.apply(w.unit("bad thrift-bad thrift-bad"))
	w.at["bad"] = [2]string{east, "thrift-bad"} // past the proxy
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=60s")
	everywhere := placed("good", "held", "bad")
	w.apply(w.config("web", "0", everywhere))
	w.told("web", "True")
	hostile.Set(membertest.FaultNamed("writes refused"))
	released := 0
	release := func() {
		t.Helper()
		released++
		version := strconv.Itoa(released)
		w.apply(w.config("web", version, everywhere+masked("good", "bad")))
		w.has("web", "good="+version)
		w.told("web", "False")
	}
	release()
	w.eventually(func() error { // which is news; that it goes on, each time in other words, is none
		if e := w.entry("web", "bad"); e["status"] != "UpdateFailed" {
			return fmt.Errorf("the bad member's unit is told to be %v", e)
		}
		return nil
	})
	release()
	time.Sleep(time.Second)
	writes, before := w.writesOf("web"), released
	for released < before+14 { // more than history keeps
		release()
	}
	time.Sleep(time.Second)
	n, want := int(writes.Load()), 2*(released-before)
	t.Logf("%d writes for %d releases", n, released-before)
	if n > want+2 {
		t.Errorf("%d writes for %d releases, want %d", n, released-before, want)
	}
	w.behind("held", w.entry("web", "bad")["behind"])
	hostile.Set(nil)
	w.kubectl("delete", "federatedconfigmaps", "--all", "-n", w.ns, "--timeout=120s")
	w.kubectl("delete", "units", "--all", "-n", w.ns, "--timeout=60s")
}
