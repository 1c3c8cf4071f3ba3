package reencrypt

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
)

type silent struct{}

func (silent) Set(string, int, int, string) {}

// look is what a plane tells when it is asked once how it encrypts.
type look struct {
	config  byte // names its configuration
	pending bool
}

// plane has one secret, which is encrypted as it should be, and tells at each look what stands there; at the last one from then on.
func plane(t *testing.T, looks ...look) (config *rest.Config, rounds *atomic.Int64) {
	t.Helper()
	rounds = &atomic.Int64{}
	var asked atomic.Int64
	secret := `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b","resourceVersion":"7"}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := secret
		switch r.URL.Path {
		case "/readyz/kms-providers":
			http.NotFound(w, r)
			return
		case "/metrics":
			l := looks[min(int(asked.Add(1)), len(looks))-1]
			answer = fmt.Sprintf("apiserver_encryption_config_controller_last_config_info{hash=\"sha256:%064x\"} 1\n", l.config)
			if l.pending {
				answer += "cellfed_kms_key_pending{provider=\"vault\"} 1\n"
			}
		case "/api/v1/secrets":
			rounds.Add(1)
			answer = `{"apiVersion":"v1","kind":"SecretList","metadata":{},"items":[` + secret + `]}`
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}, rounds
}

func TestAPlaneThatWasStartedOtherwiseBeforeTheVerdictGetsNone(t *testing.T) {
	for name, tc := range map[string]struct {
		looks  []look
		hash   byte // of the file at hand; 0 = none is
		says   string
		rounds int64
	}{
		"as the file says, all the time":             {[]look{{config: 1}}, 1, "", 1},
		"as nobody knows, all the time":              {[]look{{config: 1}}, 0, "", 1},
		"otherwise than the file from the start":     {[]look{{config: 2}}, 1, "restart it first", 0},
		"otherwise in the end":                       {[]look{{config: 1}, {config: 2}}, 1, "run this again", 1},
		"otherwise in the end, with no file":         {[]look{{config: 1}, {config: 2}}, 0, "run this again", 1},
		"with a new key of its service in the end":   {[]look{{config: 1}, {config: 1, pending: true}, {config: 1}}, 1, "", 2},
		"with a new key of its service at the start": {[]look{{config: 1, pending: true}, {config: 1}}, 1, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, rounds := plane(t, tc.looks...)
			o := Options{Config: config, Resources: []string{"secrets"}, Progress: silent{}}
			if tc.hash != 0 {
				o.Hash = fmt.Sprintf("sha256:%064x", tc.hash)
			}
			v, err := Run(t.Context(), o)
			if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error is %v, want %q", err, tc.says)
			}
			if rounds.Load() != tc.rounds || int64(v.Rounds) != tc.rounds {
				t.Errorf("it took %d rounds, told as %d, want %d", rounds.Load(), v.Rounds, tc.rounds)
			}
		})
	}
}
