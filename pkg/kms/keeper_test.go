package kms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/klog/v2/textlogger"
	kmsservice "k8s.io/kms/pkg/service"
)

// backend is what stands behind a real plugin server.
type backend struct {
	mu     sync.Mutex
	key    string
	health string
	delay  time.Duration
}

func (b *backend) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *backend) Status(context.Context) (*kmsservice.StatusResponse, error) {
	b.mu.Lock()
	delay := b.delay
	defer b.mu.Unlock()
	time.Sleep(delay)
	return &kmsservice.StatusResponse{Version: "v2", Healthz: b.health, KeyID: b.key}, nil
}

func (b *backend) Encrypt(_ context.Context, _ string, plain []byte) (*kmsservice.EncryptResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health == "no encryption" {
		return nil, errors.New("no")
	}
	return &kmsservice.EncryptResponse{Ciphertext: append([]byte("c"), plain...), KeyID: b.key}, nil
}

func (b *backend) Decrypt(_ context.Context, _ string, r *kmsservice.DecryptRequest) ([]byte, error) {
	return r.Ciphertext[1:], nil
}

// serve runs a plugin on a socket until the returned function is called.
func serve(t *testing.T, socket string, b *backend) (stop func()) {
	t.Helper()
	s := kmsservice.NewGRPCService(socket, time.Minute, b)
	done := make(chan struct{})
	go func() {
		_ = s.ListenAndServe() // ends with an error when it is closed
		close(done)
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			s.Close()
			<-done
		})
	}
	t.Cleanup(stop)
	return stop
}

type world struct {
	keeper  *Keeper
	service kmsservice.Service
	socket  string
	// primed counts how often the library was made to ask.
	primed func() int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{socket: filepath.Join(t.TempDir(), "s"), keeper: NewKeeper(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(io.Discard))))}
}

func (w *world) connect(t *testing.T) {
	t.Helper()
	service, err := w.keeper.Service(t.Context(), "unix://"+w.socket, "vault", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.service = service
	var mu sync.Mutex
	primed := 0
	w.primed = func() int {
		mu.Lock()
		defer mu.Unlock()
		return primed
	}
	// As the API server's library does: the status, then a data key of the key it told.
	w.keeper.Checks([]healthz.HealthChecker{healthz.NamedCheck("kms-providers", func(r *http.Request) error {
		mu.Lock()
		primed++
		mu.Unlock()
		if _, err := service.Status(r.Context()); err != nil {
			return err
		}
		_, err := service.Encrypt(r.Context(), "u", []byte("seed"))
		return err
	})})
	go w.keeper.Run(t.Context())
}

func (w *world) check(t *testing.T) error {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.keeper.Check(r)
}

// eventually waits for the check to say something, or nothing.
func (w *world) eventually(t *testing.T, limit time.Duration, want string) {
	t.Helper()
	begun := time.Now()
	for {
		err := w.check(t)
		if want == "" && err == nil || want != "" && err != nil && strings.Contains(err.Error(), want) {
			return
		}
		if time.Since(begun) > limit {
			t.Fatalf("after %s the check says %v, want %q", limit, err, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAPluginThatIsNotThereYetIsToldAndUsedWhenItComes(t *testing.T) {
	w := newWorld(t)
	w.connect(t)
	if _, err := w.service.Status(t.Context()); err == nil || !strings.Contains(err.Error(), w.socket) {
		t.Errorf("the first answer is %v", err)
	}
	w.eventually(t, time.Second, w.socket)
	time.Sleep(2 * time.Second) // the library waits in the status by now
	if err := w.keeper.Ready(); err == nil {
		t.Error("it is relied on before it is there")
	}
	serve(t, w.socket, &backend{key: "1", health: "ok"})
	if err := w.keeper.Await(t.Context()); err != nil {
		t.Error(err)
	}
	w.eventually(t, time.Second, "")
}

func TestAPluginThatDiesIsNoticedAndNoticedWhenItIsBack(t *testing.T) {
	w := newWorld(t)
	b := &backend{key: "1", health: "ok"}
	stop := serve(t, w.socket, b)
	time.Sleep(50 * time.Millisecond)
	w.connect(t)
	w.eventually(t, time.Second, "")
	stop()
	w.eventually(t, time.Second, "KMS vault: for ")
	if _, err := w.service.Decrypt(t.Context(), "u", &kmsservice.DecryptRequest{Ciphertext: []byte("cx"), KeyID: "1"}); err == nil || !strings.Contains(err.Error(), "KMS plugin vault") {
		t.Errorf("decrypting gives %v", err)
	}
	serve(t, w.socket, b)
	w.eventually(t, time.Second, "")
}

func TestAPluginIsNotWellWhen(t *testing.T) {
	for name, tc := range map[string]struct {
		fault func(*backend)
		want  string
	}{
		"it says so":                 {func(b *backend) { b.health = "locked" }, `it says "locked"`},
		"it does not answer in time": {func(b *backend) { b.delay = 2 * time.Second }, "DeadlineExceeded"},
		"it cannot use its new key":  {func(b *backend) { b.key, b.health = "2", "no encryption" }, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := &backend{key: "1", health: "ok"}
			serve(t, w.socket, b)
			time.Sleep(50 * time.Millisecond)
			w.connect(t)
			w.eventually(t, time.Second, "")
			b.set(func() { tc.fault(b) })
			w.eventually(t, 4*time.Second, tc.want)
			b.set(func() { b.key, b.health, b.delay = "2", "ok", 0 })
			w.eventually(t, 4*time.Second, "")
		})
	}
}

func TestALibraryIsToldOfANewKeyAndThenLeftAlone(t *testing.T) {
	w := newWorld(t)
	b := &backend{key: "1", health: "ok"}
	serve(t, w.socket, b)
	time.Sleep(50 * time.Millisecond)
	w.connect(t)
	p := w.service.(*plugin)
	settled := func(key string) func() error {
		return func() error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.used != key {
				return fmt.Errorf("the key used is %q", p.used)
			}
			return nil
		}
	}
	await(t, 2*time.Second, settled("1"))
	b.set(func() { b.key = "2" })
	await(t, 4*time.Second, settled("2"))
	time.Sleep(time.Second)
	before := w.primed()
	time.Sleep(2 * time.Second)
	if n := w.primed() - before; n > 0 {
		t.Errorf("the library was made to ask %d times though nothing changed", n)
	}
}

func await(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	begun := time.Now()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Since(begun) > limit {
			t.Fatalf("after %s: %v", limit, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAPluginThatIsBackIsNotReliedOnBeforeTheLibraryKnows(t *testing.T) {
	w := newWorld(t)
	b := &backend{key: "1", health: "ok"}
	serve(t, w.socket, b)
	time.Sleep(50 * time.Millisecond)
	w.connect(t)
	w.eventually(t, 2*time.Second, "")
	p := w.service.(*plugin)
	p.mu.Lock()
	p.well = time.Now().Add(-coast - time.Second)
	p.mu.Unlock()
	if err := p.ready(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("readiness is %v", err)
	}
	w.eventually(t, 2*time.Second, "")
}

func TestAServiceThatIsNoSocketIsRefused(t *testing.T) {
	if _, err := NewKeeper(textlogger.NewLogger(textlogger.NewConfig())).Service(t.Context(), "tcp://a:1", "a", time.Second); err == nil {
		t.Error("it was accepted")
	}
}
