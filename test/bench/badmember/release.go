package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// release changes objects one after the other, and tells how long each took to be seen in both good members.
func (b *bench) release(ctx context.Context, prefix string) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if b.rate > 0 {
		return b.paced(ctx, prefix)
	}
	return b.closed(ctx, prefix)
}

// paced begins releases at their times, whether or not those before have arrived, and counts from the time at which each
// was to begin: people do not wait for each other's releases.
func (b *bench) paced(ctx context.Context, prefix string) ([]float64, error) {
	took, errs := make([]float64, b.releases), make([]error, b.releases)
	one := make([]sync.Mutex, b.objects) // of the releases of an object, the next begins when the last has arrived
	began := time.Now()
	var wg sync.WaitGroup
	for i := range b.releases {
		at := began.Add(time.Duration(float64(i) / b.rate * float64(time.Second)))
		if err := pause(ctx, time.Until(at)); err != nil {
			errs[i] = err
			break
		}
		wg.Go(func() {
			object := i % b.objects
			one[object].Lock()
			defer one[object].Unlock()
			errs[i] = b.releaseOne(ctx, fmt.Sprintf("%s-%d", prefix, object), fmt.Sprint(i+1))
			took[i] = milliseconds(time.Since(at))
		})
	}
	wg.Wait()
	return took, errors.Join(errs...)
}

// closed has clients that begin a release when their last one has arrived.
func (b *bench) closed(ctx context.Context, prefix string) ([]float64, error) {
	took, errs := make([]float64, b.releases), make([]error, b.clients)
	var wg sync.WaitGroup
	for c := range b.clients {
		wg.Go(func() {
			for i := c; i < b.releases && errs[c] == nil; i += b.clients {
				// Each client has objects of its own.
				own := b.objects / b.clients
				began := time.Now()
				errs[c] = b.releaseOne(ctx, fmt.Sprintf("%s-%d", prefix, c*own+(i/b.clients)%own), fmt.Sprint(i+1))
				took[i] = milliseconds(time.Since(began))
			}
		})
	}
	wg.Wait()
	return took, errors.Join(errs...)
}

// releaseOne changes one object, and returns when both good members show it.
func (b *bench) releaseOne(ctx context.Context, name, version string) error {
	_, err := b.onPlane.Resource(federated).Namespace(namespace).Patch(ctx, name, types.MergePatchType,
		[]byte(`{"spec":{"template":{"data":{"version":"`+version+`"}}}}`), metav1.PatchOptions{})
	for _, s := range b.sights {
		err = errors.Join(err, s.Await(ctx, name, version))
	}
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
