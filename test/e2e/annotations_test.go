package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// The article's Service: its parameters are annotations of the cloud's load balancer, and so is what the cloud reports.
const (
	protocolKey = "service.beta.kubernetes.io/antcloud-loadbalancer-listener-protocol"
	reportKey   = "status.cafe.sofastack.io/loadbalancer"
	lbPatterns  = `{"propagatingAnnotations":["service.beta.kubernetes.io/*","!service.beta.kubernetes.io/status-*"]}`
)

// propagating federates Services with patterns of annotations, until the test ends.
func propagating(w *tenant) *federated {
	w.Helper()
	f := w.federate("", "v1", "Service", "services", true)
	f.setPolicy(lbPatterns)
	return f
}

// setPolicy changes what the type says of its copies, and takes it back when the test ends.
func (f *federated) setPolicy(spec string) {
	f.Helper()
	f.setType(spec, "Running")
	f.Cleanup(func() {
		out, err := kubectl(context.Background(), "", "patch", "ftc/"+f.config, "-n", "kube-federation-system", "--type=merge",
			"-p", `{"spec":{"propagatingAnnotations":null,"retainedFields":null}}`)
		if err != nil {
			f.Errorf("taking the policy back: %v\n%s", err, out)
		}
	})
}

func lbService(units, annotations, more string) string {
	return fmt.Sprintf(`{topologyType: cell, placement: {topologies: [%s]}, template: {metadata: {annotations: {%s}},
		spec: {type: LoadBalancer, selector: {app: web}, ports: [{name: http, port: 80}, {name: tls, port: 443}]}}%s}`, units, annotations, more)
}

// annotation waits until an annotation of a copy is as wanted; "" = it is not there.
func (f *federated) annotation(member, name, key, want string) {
	f.Helper()
	f.eventually(func() error {
		u := f.inside(member, f.ns, name)
		if u == nil {
			return fmt.Errorf("%s is not in %s", name, member)
		}
		if got := u.GetAnnotations()[key]; got != want {
			return fmt.Errorf("annotation %s in %s is %q, want %q", key, member, got, want)
		}
		return nil
	})
}

// edit patches a copy in a member, as somebody there would.
func (f *federated) edit(member, name, patch string) *unstructured.Unstructured {
	f.Helper()
	u, err := world.inside[member].Resource(f.inMember).Namespace(f.ns).Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return u
}

// planeWrites counts the plane's writes to one copy that the member took, and those that it refused.
func (f *federated) planeWrites(member, name string) (taken, refused int) {
	f.Helper()
	raw, err := os.ReadFile(world.members.Named(member).AuditLog)
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var r struct {
			request
			ResponseStatus struct{ Code int }
		}
		if json.Unmarshal([]byte(line), &r) != nil || !strings.HasPrefix(r.User.Username, "system:serviceaccount:kube-federation-system:") ||
			!r.isWrite() || r.ObjectRef.Resource != f.inMember.Resource || r.ObjectRef.Namespace != f.ns || r.ObjectRef.Name != name {
			continue
		}
		if r.ResponseStatus.Code < 300 {
			taken++
		} else {
			refused++
		}
	}
	return taken, refused
}

// cloud is a controller in a member that writes what it finds out into the annotations of a Service, a hundred times a
// second, and looks after each write whether all that it ever wrote is still there.
type cloud struct {
	*federated
	member, name string
	wrote        atomic.Int64
	stop         chan struct{}
	done         sync.WaitGroup
	mu           sync.Mutex
	lost         []string
}

// interfere starts a controller of a few hands; what gives the patch of the i-th write of a hand, and the keys that are
// its own from then on.
func (f *federated) interfere(member, name string, hands int, what func(hand, i int) map[string]string) *cloud {
	c := &cloud{federated: f, member: member, name: name, stop: make(chan struct{})}
	for hand := range hands {
		c.done.Add(1)
		go func() {
			defer c.done.Done()
			c.run(hand, time.Duration(hands)*10*time.Millisecond, what)
		}()
	}
	f.Cleanup(c.end)
	return c
}

// run writes at set times, and makes up for those that it missed: on a busy machine a hand is held up now and then.
func (c *cloud) run(hand int, pause time.Duration, what func(hand, i int) map[string]string) {
	mine := map[string]string{}
	for i, began := 0, time.Now(); ; i++ {
		select {
		case <-c.stop:
			return
		case <-time.After(time.Until(began.Add(time.Duration(i) * pause))):
		}
		keys := what(hand, i)
		body, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": keys}})
		u, err := world.inside[c.member].Resource(c.inMember).Namespace(c.ns).Patch(context.Background(), c.name, types.MergePatchType, body, metav1.PatchOptions{})
		if err != nil {
			c.say(err.Error())
			return
		}
		c.wrote.Add(1)
		for k, v := range keys {
			mine[k] = v
		}
		for k, v := range mine {
			if got := u.GetAnnotations()[k]; got != v {
				c.say(fmt.Sprintf("write %d of hand %d: %s is %q, want %q", i, hand, k, got, v))
			}
		}
	}
}

func (c *cloud) say(lost string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = append(c.lost, lost)
}

// end stops the controller; it may be called twice.
func (c *cloud) end() {
	c.mu.Lock()
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.mu.Unlock()
	c.done.Wait()
}

func reports(hand, i int) map[string]string {
	return map[string]string{
		fmt.Sprintf("%s-%d", reportKey, hand):                         fmt.Sprintf(`{"step":%d}`, i),
		fmt.Sprintf("cloud.example.com/hand-%d-event-%d", hand, i%40): fmt.Sprint(i),
		fmt.Sprintf("service.beta.kubernetes.io/status-%d", hand):     fmt.Sprint(i),
	}
}

func TestAnnotationsThatAreSpecAreEnforcedAndACloudThatWritesAHundredTimesASecondLosesNothing(t *testing.T) {
	w := newTenant(t, "lb", "a "+east, "b "+west)
	f := propagating(w)
	both := "{name: a}, {name: b}"
	f.put("web", lbService(both, protocolKey+": http, other: dropped", ""))
	for _, m := range []string{east, west} {
		f.annotation(m, "web", protocolKey, "http")
		f.annotation(m, "web", "other", "")
	}
	f.is("web", "a", "")
	before, early := f.planeWrites(east, "web")
	ccm, started := f.interfere(east, "web", 4, reports), time.Now()
	changes := 0
	for round, began := 0, time.Now(); time.Since(began) < 18*time.Second; round++ {
		since := time.Now()
		switch round % 3 {
		case 0: // a release
			f.put("web", lbService(both, fmt.Sprintf("%s: tcp-%d", protocolKey, round), ""))
		case 1: // a release of what is beside the annotations, in a list that the member has node ports in
			f.put("web", strings.ReplaceAll(lbService(both, fmt.Sprintf("%s: tcp-%d", protocolKey, round), ""), "port: 443", fmt.Sprintf("port: %d", 8000+round)))
		case 2: // somebody in the member edits what is ours
			f.edit(east, "web", fmt.Sprintf(`{"metadata":{"annotations":{%q:"edited","service.beta.kubernetes.io/more":"x"}}}`, protocolKey))
		}
		changes++
		want := fmt.Sprintf("tcp-%d", round-round%3+min(round%3, 1))
		f.annotation(east, "web", protocolKey, want)
		f.annotation(east, "web", "service.beta.kubernetes.io/more", "")
		f.is("web", "a", "")
		t.Logf("change %d arrived after %s", changes, time.Since(since).Round(time.Millisecond))
		time.Sleep(1500 * time.Millisecond)
	}
	ccm.end()
	took := time.Since(started)
	after, refused := f.planeWrites(east, "web")
	t.Logf("the cloud wrote %d times in %s; the plane made %d changes with %d writes, %d more were refused", ccm.wrote.Load(), took.Round(time.Millisecond), changes, after-before, refused-early)
	for _, lost := range ccm.lost {
		t.Error(lost)
	}
	if n := ccm.wrote.Load(); n < 150 { // a busy machine does not write a hundred times a second
		t.Errorf("the cloud wrote only %d times", n)
	}
	if after-before > changes {
		t.Errorf("%d writes for %d changes", after-before, changes)
	}
	if e := f.unitStatus("web", "b"); e["status"] != nil {
		t.Errorf("the other unit: %v", e)
	}
	// What the template has no more is removed, and nothing else.
	keys := len(f.inside(east, f.ns, "web").GetAnnotations())
	f.put("web", lbService(both, "", ""))
	f.annotation(east, "web", protocolKey, "")
	if now := len(f.inside(east, f.ns, "web").GetAnnotations()); now != keys-1 {
		t.Errorf("%d annotations, want %d", now, keys-1)
	}
}

func TestAForeignAnnotationCostsNoWrite(t *testing.T) {
	w := newTenant(t, "lb-quiet", "a "+east)
	f := propagating(w)
	f.put("web", lbService("{name: a}", protocolKey+": http", ""))
	f.annotation(east, "web", protocolKey, "http")
	f.is("web", "a", "")
	before, early := f.planeWrites(east, "web")
	version := f.stored("web").GetResourceVersion()
	ccm := f.interfere(east, "web", 1, reports)
	time.Sleep(3 * time.Second)
	ccm.end()
	if after, refused := f.planeWrites(east, "web"); after != before || refused != early {
		t.Errorf("%d writes, %d refused ones, for what is none of the plane's", after-before, refused-early)
	}
	if now := f.stored("web").GetResourceVersion(); now != version {
		t.Errorf("the federated object was written: resourceVersion %s → %s", version, now)
	}
}

func TestAFightOverOneKeyEndsInAConditionThatNamesIt(t *testing.T) {
	w := newTenant(t, "fight", "a "+east, "b "+west)
	f := propagating(w)
	spec := lbService("{name: a}, {name: b}", protocolKey+": http", "")
	f.put("web", spec)
	f.annotation(east, "web", protocolKey, "http")
	f.is("web", "a", "")
	f.is("web", "b", "")
	before, early := f.planeWrites(east, "web")
	fighter := f.interfere(east, "web", 1, func(_, i int) map[string]string { return map[string]string{protocolKey: fmt.Sprint("mine-", i)} })
	contested := func(want string) map[string]any {
		t.Helper()
		var c map[string]any
		f.eventually(func() error {
			if c = conditionOf(f.stored("web"), "Contested"); c["status"] != want {
				return fmt.Errorf("Contested is %v, want %s", c, want)
			}
			return nil
		})
		return c
	}
	message, _ := contested("True")["message"].(string)
	if !strings.Contains(message, protocolKey) || !strings.Contains(message, "a.fight.cell") || !strings.Contains(message, east) {
		t.Errorf("the condition says %q, and not which key in which unit", message)
	}
	f.is("web", "a", "Contested")
	f.is("web", "b", "")
	settled, _ := f.planeWrites(east, "web")
	time.Sleep(3 * time.Second) // the fighter goes on alone
	rest, refused := f.planeWrites(east, "web")
	t.Logf("%d writes, and %d that were refused, before the plane stopped", rest-before, refused-early)
	if rest != settled || rest-before > 6 || refused-early > 6 {
		t.Errorf("%d writes, then %d more, %d refused", settled-before, rest-settled, refused-early)
	}
	if out := f.kubectl("get", "events", "-n", f.ns, "-o", "jsonpath={.items[*].reason}"); !contains(out, "Contested") {
		t.Errorf("events are %q, want Contested among them", out)
	}

	// A new revision gets through, and a few rounds.
	f.put("web", strings.ReplaceAll(spec, "port: 443", "port: 8443"))
	f.eventually(func() error {
		ports, _, _ := unstructured.NestedSlice(f.inside(east, f.ns, "web").Object, "spec", "ports")
		if !slices.ContainsFunc(ports, func(p any) bool { return fmt.Sprint(p.(map[string]any)["port"]) == "8443" }) {
			return fmt.Errorf("ports are %v", ports)
		}
		return nil
	})
	f.is("web", "a", "Contested")
	fighter.end()
	if len(fighter.lost) > 0 && !strings.Contains(fighter.lost[0], protocolKey) {
		t.Error(fighter.lost)
	}
	// They give in.
	f.edit(east, "web", fmt.Sprintf(`{"metadata":{"annotations":{%q:"http"}}}`, protocolKey))
	contested("False")
	f.is("web", "a", "")
	if all, _ := f.planeWrites(east, "web"); all-before > 14 {
		t.Errorf("%d writes in all", all-before)
	}
}

func TestAPolicyThatChangesWritesNoHeldUnitAndAllOthers(t *testing.T) {
	w := newTenant(t, "lb-policy", "a "+east, "b "+west)
	f := w.federate("", "v1", "Service", "services", true)
	both := "{name: a}, {name: b}"
	f.put("web", lbService(both, protocolKey+": http", ""))
	f.is("web", "a", "")
	f.is("web", "b", "")
	if out := f.kubectl("get", "events", "-n", f.ns, "-o", "jsonpath={.items[*].reason}"); !contains(out, "AnnotationsNotSupported") {
		t.Errorf("events are %q, want AnnotationsNotSupported among them", out)
	}
	f.put("web", lbService(both, protocolKey+": http", ", placementMask: {topologies: [{name: a}]}"))
	f.is("web", "b", "")
	f.annotation(east, "web", protocolKey, "")
	held, early := f.planeWrites(west, "web")
	f.setPolicy(lbPatterns)
	f.annotation(east, "web", protocolKey, "http")
	f.is("web", "a", "")
	time.Sleep(2 * time.Second)
	if now, refused := f.planeWrites(west, "web"); now != held || refused != early {
		t.Errorf("%d writes to a held unit because a policy changed", now-held)
	}
	f.annotation(west, "web", protocolKey, "")
	if e := f.unitStatus("web", "b"); e["held"] != true || e["status"] != nil {
		t.Errorf("status of the held unit is %v", e)
	}
	f.put("web", lbService(both, protocolKey+": http", ""))
	f.annotation(west, "web", protocolKey, "http")
	f.is("web", "b", "")
}
