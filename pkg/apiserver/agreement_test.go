package apiserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/host"
)

func TestAServerThatCannotAgreeOnEncryptionIsToldWhatToDo(t *testing.T) {
	vault := &host.KMS{Name: "vault", Endpoint: "unix:///run/vault.sock"}
	const broken = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500,"message":"no such key"}`
	const forbidden = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"not you"}`
	const missing = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"none"}`
	for name, tc := range map[string]struct {
		kms        *host.KMS
		get, write string // what the plane answers
		code       [2]int
		says       []string
		not        string
	}{
		"with a local key, when it cannot read":  {nil, broken, "", [2]int{500}, []string{"cannot read", "keys export and import", "no such key"}, "KMS"},
		"with a KMS, when it cannot read":        {vault, broken, "", [2]int{500}, []string{"KMS vault", "unix:///run/vault.sock is well and has the key", "keys export and import", "no such key"}, ""},
		"with a KMS, when it cannot write":       {vault, missing, broken, [2]int{404, 500}, []string{"KMS vault", "unix:///run/vault.sock is well and has the key", "no such key"}, ""},
		"with a KMS, when it is something other": {vault, forbidden, "", [2]int{403}, []string{"agreeing with other servers on encryption", "not you"}, "KMS"},
	} {
		t.Run(name, func(t *testing.T) {
			plane := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				code, body := http.StatusOK, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system"}}`
				if strings.Contains(r.URL.Path, "/secrets") {
					if code, body = tc.code[0], tc.get; r.Method == http.MethodPost {
						code, body = tc.code[1], tc.write
					}
				}
				w.WriteHeader(code)
				_, _ = w.Write([]byte(body))
			}))
			defer plane.Close()
			err := recordAgreement(t.Context(), Config{KMS: tc.kms}, &rest.Config{Host: plane.URL}, nil)
			if err == nil {
				t.Fatal("it agrees")
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("it says %q, want something with %q", err, s)
				}
			}
			if tc.not != "" && strings.Contains(err.Error(), tc.not) {
				t.Errorf("it says %q, which has nothing to do with %q", err, tc.not)
			}
		})
	}
}
