package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/member/membertest"
	"github.com/cellfed/cellfed/test/harness"
)

// dead is the kind of a member that does not even listen.
const dead = "dead"

// well is a member that is not bad.
const well = "none: it is well"

// bad is a real member behind a proxy that answers in its place.
type bad struct {
	*membertest.Hostile
	server *httptest.Server
	dead   atomic.Bool
}

func (b *bench) newBad() (*bad, error) {
	config := b.members.Members[2].Config
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	m := &bad{Hostile: membertest.NewHostile(&httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: quiet,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Header.Del("Authorization") },
	})}
	m.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.dead.Load() {
			panic(http.ErrAbortHandler)
		}
		m.ServeHTTP(w, r)
	}))
	m.server.EnableHTTP2 = true
	m.server.Config.ErrorLog = quiet
	m.server.StartTLS()
	return m, nil
}

func (m *bad) be(kind string) {
	m.dead.Store(kind == dead)
	m.Set(membertest.FaultNamed(kind))
	if kind != "" {
		m.server.CloseClientConnections() // what was well begun must not go on well
	}
}

const badMember = `apiVersion: v1
kind: Secret
metadata: {namespace: kube-federation-system, name: bad}
stringData: {token: any}
---
apiVersion: core.kubefed.io/v1beta1
kind: KubeFedCluster
metadata: {namespace: kube-federation-system, name: bad}
spec: {apiEndpoint: "%s", caBundle: %s, secretRef: {name: bad}}
---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: bench, name: bad}
spec: {cluster: bad}
`

// pair is one run without and one with a bad member.
func (b *bench) pair(ctx context.Context, kind string) (f figures, err error) {
	good := []string{b.members.Members[0].Name, b.members.Members[1].Name}
	if f.without, err = b.measured(ctx, good, func() error { return nil }); err != nil {
		return f, fmt.Errorf("without: %w", err)
	}
	m, err := b.newBad()
	if err != nil {
		return f, err
	}
	defer func() {
		m.server.CloseClientConnections()
		m.server.Close()
	}()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.server.Certificate().Raw}))
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, fmt.Sprintf(badMember, m.server.URL, ca), "apply", "-f", "-"); err != nil {
		return f, err
	}
	if err := b.unitsReady(ctx); err != nil {
		return f, err
	}
	var before map[string]int
	f.with, err = b.measured(ctx, append(good, "bad"), func() error {
		had, err := b.resident()
		if err != nil {
			return err
		}
		before = m.Requests()
		m.be(kind)
		peak, err := b.sampled(func() error { return pause(ctx, b.idle) })
		f.memory = peak - had
		return err
	}, func() { // before the objects are deleted, which would wait for the bad member
		f.asked = m.Requests()
		for what, n := range before {
			f.asked[what] -= n
		}
		delete(f.asked, "health")
		m.be("")
	})
	if err != nil {
		return f, fmt.Errorf("with: %w", err)
	}
	for _, args := range [][]string{
		{"delete", "unit/bad", "-n", namespace, "--timeout=120s"},
		{"delete", "kubefedcluster/bad", "secret/bad", "-n", "kube-federation-system", "--timeout=60s"},
	} {
		if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", args...); err != nil {
			return f, err
		}
	}
	return f, nil
}

// measured places objects, has something happen to a member, and releases.
func (b *bench) measured(ctx context.Context, units []string, happens func() error, after ...func()) (r run, err error) {
	b.version++
	prefix := fmt.Sprintf("o%d", b.version)
	var entries []string
	for _, u := range units {
		entries = append(entries, "{name: "+u+"}")
	}
	var manifest strings.Builder
	for i := range b.objects {
		fmt.Fprintf(&manifest, "---\napiVersion: types.kubefed.io/v2beta1\nkind: FederatedConfigMap\nmetadata: {namespace: bench, name: %s-%d, labels: {run: %s}}\n"+
			"spec:\n  topologyType: cell\n  template: {data: {version: \"0\", payload: %s}}\n  placement: {topologies: [%s]}\n",
			prefix, i, prefix, strings.Repeat("x", 1000), strings.Join(entries, ", "))
	}
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, manifest.String(), "apply", "-f", "-"); err != nil {
		return r, err
	}
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", "wait", "--for=condition=Propagation", "federatedconfigmaps", "-l", "run="+prefix, "-n", namespace, "--timeout=60s"); err != nil {
		return r, err
	}
	if err := happens(); err != nil {
		return r, err
	}
	took, err := b.release(ctx, prefix)
	for _, do := range after {
		do()
	}
	if err != nil {
		return r, err
	}
	sort.Float64s(took)
	r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	_, err = harness.Kubectl(ctx, b.plane.Kubeconfig, "", "delete", "federatedconfigmaps", "-l", "run="+prefix, "-n", namespace, "--timeout=180s")
	return r, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// release changes objects one after the other, and tells how long each took to be seen in both good members.
func (b *bench) release(ctx context.Context, prefix string) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var took []float64
	errs := make([]error, b.clients)
	var wg sync.WaitGroup
	for c := range b.clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := c; i < b.releases; i += b.clients {
				// Each client has objects of its own.
				own := b.objects / b.clients
				name, version := fmt.Sprintf("%s-%d", prefix, c*own+(i/b.clients)%own), fmt.Sprint(i+1)
				began := time.Now()
				_, err := b.onPlane.Resource(federated).Namespace(namespace).Patch(ctx, name, types.MergePatchType,
					[]byte(`{"spec":{"template":{"data":{"version":"`+version+`"}}}}`), metav1.PatchOptions{})
				for _, s := range b.sights {
					err = errors.Join(err, s.Await(ctx, name, version))
				}
				if err != nil {
					errs[c] = err
					return
				}
				mu.Lock()
				took = append(took, float64(time.Since(began).Microseconds())/1000)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return took, errors.Join(errs...)
}
