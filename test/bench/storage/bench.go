package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/database"
)

type bench struct {
	objects, clients, rounds, listed, lists, events int

	closers []func() error
	planes  []*subject
	other   *harness.Plane // a second server on the MariaDB
}

// subject is a plane on one database.
type subject struct {
	name   string
	plane  *harness.Plane
	client kubernetes.Interface
	rates  []float64 // creates per second, by round
	took   []float64 // of single creates, in milliseconds
	made   int
}

func (b *bench) run(ctx context.Context) (err error) {
	defer func() {
		slices.Reverse(b.closers)
		for _, end := range b.closers {
			err = errors.Join(err, end())
		}
	}()
	if err := b.open(ctx); err != nil {
		return err
	}
	for round := range b.rounds {
		for n := range b.planes { // who is first takes turns
			s := b.planes[(n+round)%len(b.planes)]
			if err := b.create(ctx, s, fmt.Sprintf("round-%d", round), b.objects); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(os.Stderr, "round %d, %s: %.0f creates/s\n", round+1, s.name, s.rates[len(s.rates)-1])
		}
	}
	b.tellCreates()
	if err := b.tellLists(ctx); err != nil {
		return err
	}
	return b.tellEvents(ctx)
}

func (b *bench) open(ctx context.Context) error {
	m, err := database.StartMariaDB(ctx, database.MariaDBOptions{})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, m.Close)
	name, err := m.CreateDatabase(ctx)
	if err != nil {
		return err
	}
	e, err := database.StartEtcd(ctx, database.EtcdOptions{})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, e.Close)
	for _, s := range []struct{ name, storage string }{
		{"etcd", "etcd" + strings.TrimPrefix(e.Endpoint, "http")}, {"SQLite", ""}, {"MariaDB", m.URL(name)},
	} {
		p, err := b.start(ctx, s.storage, "")
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		client, err := clientOf(p)
		if err != nil {
			return err
		}
		b.planes = append(b.planes, &subject{name: s.name, plane: p, client: client})
	}
	// The second server on the MariaDB has the first one's keys.
	dir, err := os.MkdirTemp("", "cellfed-bench-")
	if err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { return os.RemoveAll(dir) })
	if err := os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(filepath.Join(b.planes[2].plane.DataDir, "pki"))); err != nil {
		return err
	}
	b.other, err = b.start(ctx, m.URL(name), dir)
	return err
}

func (b *bench) start(ctx context.Context, storage, dir string) (*harness.Plane, error) {
	options := harness.PlaneOptions{DataDir: dir}
	if storage != "" {
		options.Args = []string{"--storage=" + storage}
	}
	p, err := harness.StartPlane(ctx, options)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, p.Close)
	return p, nil
}

func clientOf(p *harness.Plane) (kubernetes.Interface, error) {
	config := rest.CopyConfig(p.RestConfig())
	config.QPS = -1
	return kubernetes.NewForConfig(config)
}

// create makes n ConfigMaps in a namespace of their own.
func (b *bench) create(ctx context.Context, s *subject, namespace string, n int) error {
	if _, err := s.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	var mu sync.Mutex
	errs := make([]error, b.clients)
	payload := strings.Repeat("x", 1024)
	began := time.Now()
	for c := range b.clients {
		wait.Go(func() {
			for i := next.Add(1); i <= int64(n) && errs[c] == nil; i = next.Add(1) {
				at := time.Now()
				_, errs[c] = s.client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("object-%05d", i)}, Data: map[string]string{"payload": payload},
				}, metav1.CreateOptions{})
				mu.Lock()
				s.took = append(s.took, milliseconds(time.Since(at)))
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	s.rates = append(s.rates, float64(n)/time.Since(began).Seconds())
	s.made += n
	return errors.Join(errs...)
}

func (b *bench) tellCreates() {
	fmt.Printf("\n%d ConfigMaps of 1 KiB, %d clients, %d alternating runs\n\n", b.objects, b.clients, b.rounds)
	fmt.Println("| database | creates/s (median; all) | p50 / p99 ms | ratio to etcd (median; all) |\n|---|---|---|---|")
	for _, s := range b.planes {
		var ratios []float64
		for n, rate := range s.rates {
			ratios = append(ratios, rate/b.planes[0].rates[n])
		}
		fmt.Printf("| %s | %.0f (%s) | %.0f / %.0f | %.2f (%s) |\n", s.name, quantile(s.rates, 0.5), all(s.rates, "%.0f"),
			quantile(s.took, 0.5), quantile(s.took, 0.99), quantile(ratios, 0.5), all(ratios, "%.2f"))
	}
}

// tellLists reads all objects, from the database: a limit is not served from the watch cache.
func (b *bench) tellLists(ctx context.Context) error {
	fmt.Printf("\n%d lists of %d objects, whole, from the database\n\n| database | p50 / p99 ms |\n|---|---|\n", b.lists, b.listed)
	for _, s := range b.planes {
		if more := b.listed - s.made; more > 0 {
			if err := b.create(ctx, s, "more", more); err != nil {
				return err
			}
		}
		var took []float64
		for range b.lists {
			at := time.Now()
			got, err := s.client.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{Limit: int64(b.listed)})
			if err != nil {
				return err
			}
			if len(got.Items) < b.listed {
				return fmt.Errorf("%s: a list of %d objects, want %d", s.name, len(got.Items), b.listed)
			}
			took = append(took, milliseconds(time.Since(at)))
		}
		fmt.Printf("| %s | %.0f / %.0f |\n", s.name, quantile(took, 0.5), quantile(took, 0.99))
	}
	return nil
}

// tellEvents times from the answer to a create until a watch shows it.
func (b *bench) tellEvents(ctx context.Context) error {
	other, err := clientOf(b.other)
	if err != nil {
		return err
	}
	fmt.Printf("\n%d events, from the answer to a create until a watch tells\n\n| watch | p50 / p99 ms |\n|---|---|\n", b.events)
	maria := b.planes[2]
	for n, w := range []struct {
		name string
		on   kubernetes.Interface
	}{{"MariaDB, the server that wrote", maria.client}, {"MariaDB, another server", other}} {
		took, err := b.watch(ctx, maria.client, w.on, fmt.Sprintf("watched-%d", n))
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.1f / %.1f |\n", w.name, quantile(took, 0.5), quantile(took, 0.99))
	}
	return nil
}

func (b *bench) watch(ctx context.Context, writes, watches kubernetes.Interface, namespace string) ([]float64, error) {
	if _, err := writes.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	w, err := watches.CoreV1().ConfigMaps(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	var took []float64
	for n := range b.events {
		made, err := writes.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("object-%d", n)}}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		answered := time.Now()
		for event := range w.ResultChan() {
			if o, ok := event.Object.(*corev1.ConfigMap); ok && o.ResourceVersion == made.ResourceVersion {
				break
			}
		}
		took = append(took, milliseconds(time.Since(answered)))
		time.Sleep(time.Duration(n%13) * 5 * time.Millisecond) // not in step with anything
	}
	return took, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantile(values []float64, q float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

func all(values []float64, format string) string {
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprintf(format, v))
	}
	return strings.Join(out, ", ")
}
