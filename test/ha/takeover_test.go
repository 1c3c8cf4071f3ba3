package ha

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

var (
	kills = flag.Int("ha.kills", 3, "how often a server is killed")
	seed  = flag.Uint64("ha.seed", uint64(time.Now().UnixNano()), "what chance begins with")
)

// What is promised.
const (
	apiBack         = 2 * time.Second
	controllersBack = 20 * time.Second
	orderlyTakeover = 3 * time.Second
)

// writers write all the time through a client that knows both servers, and remember what was acknowledged.
type writers struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	last         atomic.Int64 // when the last answer came, in nanoseconds
	longest      atomic.Int64 // how long nobody got an answer
}

func (w *writers) run(p *pair, stop <-chan struct{}, number int) {
	maps := p.any.CoreV1().ConfigMaps("default")
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		name := fmt.Sprintf("w%d-%d", number, n)
		_, err := maps.Create(p.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) { // by an attempt of its own that was not answered
			p.Errorf("a write failed although a server was there: %v", err)
			return
		}
		now := time.Now().UnixNano()
		if gap := now - w.last.Swap(now); gap > w.longest.Load() {
			w.longest.Store(gap)
		}
		w.mu.Lock()
		w.acknowledged[name] = true
		w.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}

func TestEitherServerMayBeKilledAtAnyMoment(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		p := startPair(t, url)
		t.Logf("-ha.seed %d", *seed)
		chance := rand.New(rand.NewPCG(*seed, 1))
		w := &writers{acknowledged: map[string]bool{}}
		stop := make(chan struct{})
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() { w.run(p, stop, i) })
		}
		for kill := range *kills {
			led := p.leader()
			victim := chance.IntN(2)
			if kill == 0 {
				victim = led // at least once
			}
			time.Sleep(time.Duration(chance.Int64N(int64(3 * time.Second))))
			w.last.Store(time.Now().UnixNano())
			w.longest.Store(0)
			if err := p.servers[victim].Kill(); err != nil {
				t.Fatal(err)
			}
			active := p.work(fmt.Sprintf("probe-%d", kill), controllersBack)
			gap := time.Duration(w.longest.Load())
			if gap > apiBack {
				t.Errorf("nobody answered for %s", gap)
			}
			t.Logf("killed server %d (leader: %d): the API was away for %s, controllers were active after %s", victim, led, gap.Round(time.Millisecond), active.Round(time.Millisecond))
			if err := p.servers[victim].Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		group.Wait()
		for i, s := range p.servers {
			client, err := kubernetes.NewForConfig(s.RestConfig())
			if err != nil {
				t.Fatal(err)
			}
			list, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			missing := maps.Clone(w.acknowledged)
			for _, cm := range list.Items {
				delete(missing, cm.Name)
			}
			if len(missing) > 0 || len(w.acknowledged) < 100 {
				t.Errorf("server %d lacks %d of %d writes that were acknowledged: %v", i, len(missing), len(w.acknowledged), slices.Sorted(maps.Keys(missing)))
			}
		}
	})
}

func TestALeaderThatIsStoppedHandsOver(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		p := startPair(t, url)
		led := p.leader()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() {
			_, _, err := p.servers[led].Stop()
			stopped <- err
		}()
		p.within(time.Minute, "the other server leads", func() error {
			if !leads(t.Context(), p.servers[1-led]) {
				return fmt.Errorf("it does not")
			}
			return nil
		})
		took := time.Since(began)
		work := p.work("probe", controllersBack)
		if took+work > orderlyTakeover {
			t.Errorf("the successor led after %s and was done with its first work %s later", took, work)
		}
		t.Logf("the successor led after %s and was done with its first work %s later", took.Round(time.Millisecond), work.Round(time.Millisecond))
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestALeaderThatIsKilledAndStartedAgainDoesNotWaitForItself(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		p := startPair(t, url)
		if _, _, err := p.servers[1].Stop(); err != nil {
			t.Fatal(err)
		}
		p.leader()
		if err := p.servers[0].Kill(); err != nil {
			t.Fatal(err)
		}
		if err := p.servers[0].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := p.work("probe", controllersBack)
		if took > 5*time.Second {
			t.Errorf("its controllers were active %s after it was ready", took)
		}
		t.Logf("its controllers were active %s after it was ready", took.Round(time.Millisecond))
	})
}
