package manager

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// unreadable is a plane that answers every list of secrets as if one of them could not be decrypted.
type unreadable struct{ asked *atomic.Int64 }

func (u unreadable) RoundTrip(r *http.Request) (*http.Response, error) {
	u.asked.Add(1)
	const body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500,"message":"one cannot be decrypted"}`
	return &http.Response{
		StatusCode: http.StatusInternalServerError, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

func TestAListOfSecretsThatCannotBeHadEndsNoPlane(t *testing.T) {
	quiet()
	// One of them slows errors down by the time of the last one, whichever test and clock that was of.
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	defer func() { utilruntime.ErrorHandlers = handlers }()
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		options := managerOptions(ctx, scheme)
		options.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
			m := meta.NewDefaultRESTMapper(nil)
			m.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
			return m, nil
		}
		m, err := ctrl.NewManager(&rest.Config{Host: "http://plane", Transport: unreadable{&asked}}, options)
		if err != nil {
			t.Fatal(err)
		}
		nothing := reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) { return reconcile.Result{}, nil })
		if err := ctrl.NewControllerManagedBy(m).For(&corev1.Secret{}).Complete(nothing); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		var ended atomic.Bool
		group.Go(func() {
			err = m.Start(ctx)
			ended.Store(true)
		})
		time.Sleep(24 * time.Hour)
		if ended.Load() {
			t.Errorf("the controllers ended with %v", err)
		}
		if asked.Load() < 10 {
			t.Errorf("secrets were asked for %d times", asked.Load())
		}
		cancel()
		group.Wait()
	})
}
