package database

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared are the databases that all tests of a package use, each started when the first test asks.
var shared struct {
	sync.Mutex
	// kept says that Main will end them.
	kept    bool
	mariadb once[*MariaDB]
	etcd    once[*Etcd]
}

// once starts something once, and tells everybody who asks what came of it.
type once[T any] struct {
	started bool
	value   T
	err     error
}

func (o *once[T]) get(start func() (T, error)) (T, error) {
	if !o.started {
		o.started = true
		o.value, o.err = start()
	}
	return o.value, o.err
}

// Main runs the tests of a package and ends the shared databases afterwards:
//
//	func TestMain(m *testing.M) { os.Exit(database.Main(m)) }
func Main(m *testing.M) int {
	shared.Lock()
	shared.kept = true
	shared.Unlock()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	for _, err := range []error{shared.mariadb.close((*MariaDB).Close), shared.etcd.close((*Etcd).Close)} {
		if err != nil {
			fmt.Fprintln(os.Stderr, "after the tests:", err)
			code = max(code, 1)
		}
	}
	return code
}

func (o *once[T]) close(end func(T) error) error {
	if !o.started || o.err != nil {
		return nil
	}
	return end(o.value)
}

// SharedMariaDB is the MariaDB of this package's tests. Each test makes itself a Database in it; one that kills, pauses
// or sets the server up differently takes RunMariaDB instead.
func SharedMariaDB(t testing.TB) *MariaDB {
	t.Helper()
	return share(t, &shared.mariadb, func(ctx context.Context) (*MariaDB, error) { return StartMariaDB(ctx, MariaDBOptions{}) })
}

// SharedEtcd is the etcd of this package's tests. Each test takes keys of its own; one that kills or pauses it takes
// RunEtcd instead.
func SharedEtcd(t testing.TB) *Etcd {
	t.Helper()
	return share(t, &shared.etcd, func(ctx context.Context) (*Etcd, error) { return StartEtcd(ctx, EtcdOptions{}) })
}

func share[T any](t testing.TB, which *once[T], start func(context.Context) (T, error)) T {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.kept {
		t.Fatal("a shared database needs database.Main in TestMain, which ends it")
	}
	value, err := which.get(func() (T, error) { return start(context.WithoutCancel(t.Context())) })
	if err != nil {
		t.Fatal(err)
	}
	return value
}
