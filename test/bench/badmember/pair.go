package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sort"
	"strings"
	"sync/atomic"
	"time"

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

// pair is one run without and one with a bad member. Which is the first is taken in turns: the plane remembers more with
// each release, and the second run would pay for the first one's.
func (b *bench) pair(ctx context.Context, kind string, turn int) (f figures, err error) {
	if turn%2 == 0 {
		if f.without, err = b.without(ctx); err != nil {
			return f, err
		}
		err = b.withBad(ctx, kind, &f)
		return f, err
	}
	if err := b.withBad(ctx, kind, &f); err != nil {
		return f, err
	}
	f.without, err = b.without(ctx)
	return f, err
}

func (b *bench) good() []string {
	return []string{b.members.Members[0].Name, b.members.Members[1].Name}
}

func (b *bench) without(ctx context.Context) (run, error) {
	r, err := b.measured(ctx, b.good(), func() error { return pause(ctx, b.idle) })
	if err != nil {
		return r, fmt.Errorf("without: %w", err)
	}
	return r, nil
}

func (b *bench) withBad(ctx context.Context, kind string, f *figures) error {
	m, err := b.newBad()
	if err != nil {
		return err
	}
	defer func() {
		m.server.CloseClientConnections()
		m.server.Close()
	}()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.server.Certificate().Raw}))
	if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, fmt.Sprintf(badMember, m.server.URL, ca), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := b.unitsReady(ctx); err != nil {
		return err
	}
	var before map[string]int
	f.with, err = b.measured(ctx, append(b.good(), "bad"), func() error {
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
		return fmt.Errorf("with: %w", err)
	}
	for _, args := range [][]string{
		{"delete", "unit/bad", "-n", namespace, "--timeout=120s"},
		{"delete", "kubefedcluster/bad", "secret/bad", "-n", "kube-federation-system", "--timeout=60s"},
	} {
		if _, err := harness.Kubectl(ctx, b.plane.Kubeconfig, "", args...); err != nil {
			return err
		}
	}
	return nil
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
	before, err := b.count(ctx)
	if err != nil {
		return r, err
	}
	took, err := b.release(ctx, prefix)
	if err == nil { // what was released last is still being told of
		err = pause(ctx, time.Second)
	}
	for _, do := range after {
		do()
	}
	if err != nil {
		return r, err
	}
	now, err := b.count(ctx)
	if err != nil {
		return r, err
	}
	r.cost = now.per(b.releases, before)
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
