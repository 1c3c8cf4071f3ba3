package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/test/bench/sight"
	"github.com/cellfed/cellfed/test/harness"
)

const namespace = "bench"

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	federated  = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federatedconfigmaps"}
)

type bench struct {
	objects, releases, clients, pairs int
	rate                              float64 // releases per second; 0 = as fast as the clients can
	idle                              time.Duration
	verbose                           bool
	kinds                             []string

	plane   *harness.Plane
	members *harness.MemberSet
	onPlane dynamic.Interface
	sights  []*sight.Sight
	version int
}

// figures are of one pair of runs.
type figures struct {
	without, with run
	asked         map[string]int
	memory        int64 // bytes that the plane took more while the member was bad and nothing was released
}

// run is what was seen while objects were released.
type run struct {
	p50, p99 float64 // milliseconds
	cost     counts  // of one release
}

func (b *bench) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	pace := fmt.Sprintf("%g begun a second", b.rate)
	if b.rate == 0 {
		pace = fmt.Sprintf("%d clients as fast as they can", b.clients)
	}
	fmt.Printf("%d objects, %d releases per run, %s, %d pairs of runs per kind; counts are per release, without → with\n\n", b.objects, b.releases, pace, b.pairs)
	fmt.Println("| bad member | p99 without | p99 with | ratio (median; all) | p50 ratio | writes on the plane | the plane's CPU | looks | requests to good members | requests to it per run | memory above |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|")
	var all []float64
	for _, kind := range b.kinds {
		var pairs []figures
		for turn := range b.pairs {
			f, err := b.pair(ctx, kind, turn)
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			pairs = append(pairs, f)
		}
		all = append(all, tell(kind, pairs))
		if b.verbose {
			tellRequests(pairs)
		}
	}
	sort.Float64s(all)
	fmt.Printf("\nThe largest ratio is %.2f, the median %.2f.\n", all[len(all)-1], median(all))
	return nil
}

func tell(kind string, pairs []figures) float64 {
	var without, with, ratios, halves, memory []float64
	var cost [8]float64
	asked := map[string]int{}
	for _, p := range pairs {
		without, with = append(without, p.without.p99), append(with, p.with.p99)
		ratios, halves = append(ratios, p.with.p99/p.without.p99), append(halves, p.with.p50/p.without.p50)
		memory = append(memory, float64(p.memory)/(1<<20))
		for i, c := range []counts{p.without.cost, p.with.cost} {
			for j, v := range []float64{c.writes(), milliseconds(c.cpu), c.looks, total(c.members)} {
				cost[2*j+i] += v / float64(len(pairs))
			}
		}
		for what, n := range p.asked {
			asked[what] += n
		}
	}
	var list, parts []string
	for _, r := range ratios {
		list = append(list, fmt.Sprintf("%.2f", r))
	}
	for _, what := range []string{"list", "watch", "get", "write", "other"} {
		if n := asked[what]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n/len(pairs), what))
		}
	}
	if parts == nil {
		parts = []string{"none"}
	}
	fmt.Printf("| %s | %.0f ms | %.0f ms | %.2f (%s) | %.2f | %.2f → %.2f | %.1f → %.1f ms | %.2f → %.2f | %.2f → %.2f | %s | %+.0f MiB |\n",
		kind, median(without), median(with), median(ratios), strings.Join(list, ", "), median(halves),
		cost[0], cost[1], cost[2], cost[3], cost[4], cost[5], cost[6], cost[7], strings.Join(parts, ", "), median(memory))
	return median(ratios)
}

// tellRequests lists what each release asked the plane and the good members for.
func tellRequests(pairs []figures) {
	list := func(what string, of func(run) map[string]float64) {
		sum := []map[string]float64{{}, {}}
		all := map[string]bool{}
		for _, p := range pairs {
			for i, r := range []run{p.without, p.with} {
				for request, n := range of(r) {
					sum[i][request] += n / float64(len(pairs))
					all[request] = true
				}
			}
		}
		for _, request := range slices.Sorted(maps.Keys(all)) {
			fmt.Printf("    %s: %-40s %.3f → %.3f\n", what, request, sum[0][request], sum[1][request])
		}
	}
	list("plane", func(r run) map[string]float64 { return r.cost.plane })
	list("good members", func(r run) map[string]float64 { return r.cost.members })
}

func total(of map[string]float64) (sum float64) {
	for _, n := range of {
		sum += n
	}
	return sum
}

func median(values []float64) float64 {
	v := append([]float64(nil), values...)
	sort.Float64s(v)
	return v[len(v)/2]
}

const setup = `apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: configmaps, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {version: v1, kind: ConfigMap, pluralName: configmaps, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedConfigMap, pluralName: federatedconfigmaps, scope: Namespaced}
`

const unit = `---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: bench, name: %s}
spec: {cluster: %s}
`

func (b *bench) open(ctx context.Context) (err error) {
	if b.plane, err = harness.StartPlane(ctx, harness.PlaneOptions{}); err != nil {
		return err
	}
	if b.members, err = harness.StartMembers(ctx, 3); err != nil {
		return err
	}
	if b.onPlane, err = harness.Unbound(b.plane.RestConfig()); err != nil {
		return err
	}
	manifest := setup
	for _, m := range b.members.Members[:2] {
		if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", "cellfed", "join", m.Name, "--member-kubeconfig", m.Kubeconfig); err != nil {
			return err
		}
		inside, err := harness.Unbound(m.Config)
		if err != nil {
			return err
		}
		s, err := sight.Watch(ctx, inside, namespace)
		if err != nil {
			return err
		}
		b.sights = append(b.sights, s)
		manifest += fmt.Sprintf(unit, m.Name, m.Name)
	}
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", "wait", "--for=condition=Served", "ftc", "--all", "-n", "kube-federation-system", "--timeout=30s"); err != nil {
		return err
	}
	return b.unitsReady(ctx)
}

func (b *bench) unitsReady(ctx context.Context) error {
	_, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", "wait", "--for=condition=Ready", "units", "--all", "-n", namespace, "--timeout=30s")
	return err
}

func (b *bench) close() error {
	var errs []error
	if b.plane != nil {
		errs = append(errs, b.plane.Close())
	}
	if b.members != nil {
		errs = append(errs, b.members.Close())
	}
	return errors.Join(errs...)
}

// resident is how much memory the plane has now.
func (b *bench) resident() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.plane.PID()))
	if err != nil {
		return 0, fmt.Errorf("reading the plane's memory: %w", err)
	}
	for _, line := range strings.Split(string(raw), "\n") {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New("reading the plane's memory: the kernel does not tell it")
}

// sampled calls do, and tells the most memory that the plane had meanwhile.
func (b *bench) sampled(do func() error) (peak int64, err error) {
	done, stopped := make(chan struct{}), make(chan struct{})
	var failed error
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				now, err := b.resident()
				if err != nil {
					failed = err
					return
				}
				peak = max(peak, now)
			}
		}
	}()
	err = do()
	close(done)
	<-stopped
	return peak, errors.Join(err, failed)
}
