package storage

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	databases "github.com/cellfed/cellfed/test/harness/database"
)

func TestAnEtcdEndpointIsReadAs(t *testing.T) {
	for endpoint, want := range map[string]Transport{
		"etcd://a:2379":                       {Endpoints: []string{"http://a:2379"}, Prefix: "/registry"},
		"etcd://a,b:1/":                       {Endpoints: []string{"http://a:2379", "http://b:1"}, Prefix: "/registry"},
		"etcd://[::1]:2379,[::2]/bank/plane/": {Endpoints: []string{"http://[::1]:2379", "http://[::2]:2379"}, Prefix: "/bank/plane"},
		"etcd://a/p?ca-file=/c&cert-file=/d&key-file=/k": {Endpoints: []string{"https://a:2379"}, Prefix: "/p",
			CAFile: "/c", CertFile: "/d", KeyFile: "/k"},
	} {
		if got, err := parseEtcd(endpoint); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", endpoint, got, err)
		}
	}
}

func TestAnEtcdEndpointIsRefusedWhen(t *testing.T) {
	for name, tt := range map[string]struct{ endpoint, says string }{
		"it has a password":              {"etcd://root:s3cret@a:2379", "prove who the plane is by a certificate"},
		"a parameter is unknown":         {"etcd://a?cafile=/c", `unknown parameter "cafile"`},
		"a certificate is without a key": {"etcd://a?cert-file=/c", "only one of"},
		"a host is missing":              {"etcd://a,,b", "without a name"},
		"a file of TLS is not there":     {"etcd://a?ca-file=/nowhere/ca.crt", "ca-file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Config{Endpoint: tt.endpoint})
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want something with %q", err, tt.says)
			}
		})
	}
}

// address is where an etcd of the harness listens, as an endpoint of storage.
func address(e *databases.Etcd) string {
	_, host, _ := strings.Cut(e.Endpoint, "//")
	return "etcd://" + host
}

func TestAFitEtcdIsTaken(t *testing.T) {
	e := databases.RunEtcd(t, databases.EtcdOptions{TLS: true})
	// One that is away is no reason.
	s, err := Open(t.Context(), Config{Endpoint: address(e) + ",127.0.0.1:1?ca-file=" + e.Certificates.CA +
		"&cert-file=" + e.Certificates.ClientCert + "&key-file=" + e.Certificates.ClientKey})
	if err != nil {
		t.Fatal(err)
	}
	if at := s.Transport(); at.Endpoints[0] != e.Endpoint || at.KeyFile != e.Certificates.ClientKey || at.Prefix != "/registry" {
		t.Errorf("its transport is %+v", at)
	}
	if s.Done() != nil || s.Err() != nil || s.Close(t.Context()) != nil {
		t.Error("it has failed")
	}
}

func TestAnUnfitEtcdIsRefusedInOneLineWhen(t *testing.T) {
	secure := databases.RunEtcd(t, databases.EtcdOptions{TLS: true})
	stranger, err := databases.NewCertificates(filepath.Join(t.TempDir(), "stranger"))
	if err != nil {
		t.Fatal(err)
	}
	full := databases.RunEtcd(t, databases.EtcdOptions{Flags: []string{"--quota-backend-bytes=100000"}})
	for i := range 100 { // until it says that it is full
		body := bytes.NewBufferString(`{"key":"` + strings.Repeat("a", 4+i%4) + `","value":"` + strings.Repeat("aaaa", 5000) + `"}`)
		resp, err := http.Post(full.Endpoint+"/v3/kv/put", "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, tt := range map[string]struct{ endpoint, says string }{
		"nobody listens":                   {"etcd://127.0.0.1:1", "connection refused"},
		"nobody answers":                   {"etcd://" + listener.Addr().String(), "i/o timeout"},
		"it wants TLS":                     {address(secure), "give ca-file"},
		"it was signed by somebody else":   {address(secure) + "?ca-file=" + stranger.CA, "unknown authority"},
		"it wants a certificate":           {address(secure) + "?ca-file=" + secure.Certificates.CA, "certificate required"},
		"it wants another's certificate":   {address(secure) + "?ca-file=" + secure.Certificates.CA + "&cert-file=" + stranger.ClientCert + "&key-file=" + stranger.ClientKey, "remote error: tls"},
		"it has no space":                  {address(full), "alarm NOSPACE"},
		"one of two has no space, not all": {"etcd://127.0.0.1:1," + strings.TrimPrefix(address(full), "etcd://"), "alarm NOSPACE"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := Open(t.Context(), Config{Endpoint: tt.endpoint})
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want a line with %q", err, tt.says)
			}
			if took := time.Since(began); took > 2*etcdPatience || name != "nobody answers" && took >= etcdPatience {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestAStartThatIsGivenUpWaitsForNoEtcd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Endpoint: "etcd://127.0.0.1:1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
