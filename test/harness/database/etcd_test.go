package database

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// call asks etcd's JSON gateway, so that these tests need no client of etcd.
func call(t *testing.T, e *Etcd, path, body string) (string, error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	if e.Certificates != nil {
		transport.TLSClientConfig = e.Certificates.Client()
	}
	client := &http.Client{Transport: transport, Timeout: time.Second}
	response, err := client.Post(e.Endpoint+path, "application/json", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	out, err := io.ReadAll(response.Body)
	return string(out), err
}

func encode(s string) string { return `"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"` }

func TestWhatEtcdAcknowledgedIsThereAfterAKillOnTheSamePort(t *testing.T) {
	for name, options := range map[string]EtcdOptions{"without TLS": {}, "with TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			e := RunEtcd(t, options)
			_, err := call(t, e, "/v3/kv/put", `{"key":`+encode("a")+`,"value":`+encode("1")+`}`)
			must(t, err)
			for _, end := range []func() error{e.Kill, e.Stop} {
				must(t, end())
				if _, err := call(t, e, "/v3/kv/range", `{"key":`+encode("a")+`}`); err == nil {
					t.Error("etcd answers after its end")
				}
				must(t, e.Start(t.Context()))
				got, err := call(t, e, "/v3/kv/range", `{"key":`+encode("a")+`}`)
				must(t, err)
				if !strings.Contains(got, `"value":`+encode("1")) {
					t.Errorf("got %s", got)
				}
			}
		})
	}
}

func TestAPausedEtcdAnswersNobodyUntilItContinues(t *testing.T) {
	e := SharedEtcd(t)
	must(t, e.Pause())
	if _, err := call(t, e, "/v3/maintenance/status", "{}"); err == nil {
		t.Error("a paused etcd answers")
	}
	must(t, e.Continue())
	_, err := call(t, e, "/v3/maintenance/status", "{}")
	must(t, err)
}

func TestEtcdWithTLSRefusesWhoHasNoCertificate(t *testing.T) {
	e := RunEtcd(t, EtcdOptions{TLS: true})
	config := e.Certificates.Client()
	config.Certificates = nil
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 5 * time.Second}
	response, err := client.Get(e.Endpoint + "/health")
	if err == nil {
		_ = response.Body.Close()
		t.Errorf("got %s", response.Status)
	} else if !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}
