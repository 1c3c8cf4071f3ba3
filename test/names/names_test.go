package names

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/database"
)

func TestMain(m *testing.M) { os.Exit(database.Main(m)) }

// backends give the arguments of a plane on each database. The first is what the others are compared with.
var backends = []struct {
	name string
	args func(t *testing.T) []string
}{
	{"SQLite", func(*testing.T) []string { return nil }},
	{"MariaDB", func(t *testing.T) []string {
		server := database.SharedMariaDB(t)
		return []string{"--storage=" + server.URL(server.Database(t))}
	}},
	{"etcd", func(t *testing.T) []string {
		return []string{"--storage=etcd" + strings.TrimPrefix(database.RunEtcd(t, database.EtcdOptions{}).Endpoint, "http")}
	}},
}

// answer is what a plane says to a step, as far as it must be the same everywhere.
type answer struct {
	Step   string
	Code   int
	Reason metav1.StatusReason
	// Says is the message of a refusal.
	Says  string
	Names []string
	Pages int
}

// reply has the fields of a Status, a list, and an object.
type reply struct {
	Kind     string              `json:"kind"`
	Reason   metav1.StatusReason `json:"reason"`
	Message  string              `json:"message"`
	Metadata metav1.ListMeta     `json:"metadata"`
	Items    []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	} `json:"items"`
}

// asker sends steps to a plane.
type asker struct {
	t      *testing.T
	client *http.Client
	host   string
}

func (a asker) send(s step, query string) (int, reply) {
	a.t.Helper()
	separator := "?"
	if strings.Contains(s.path, "?") {
		separator = "&"
	}
	if query != "" {
		query = separator + query
	}
	request, err := http.NewRequestWithContext(a.t.Context(), s.method, a.host+s.path+query, strings.NewReader(s.body))
	if err != nil {
		a.t.Fatalf("%s: %v", s, err)
	}
	if s.contentType != "" {
		request.Header.Set("Content-Type", s.contentType)
	}
	response, err := a.client.Do(request)
	if err != nil {
		a.t.Fatalf("%s: %v", s, err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatalf("%s: %v", s, err)
	}
	var r reply
	if err := json.Unmarshal(data, &r); err != nil && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		a.t.Fatalf("%s: %v", s, err)
	}
	return response.StatusCode, r
}

// ask sends a step and follows the pages of a list.
func (a asker) ask(s step) answer {
	a.t.Helper()
	code, r := a.send(s, "")
	for begun := time.Now(); s.method == http.MethodPost && code == http.StatusNotFound && time.Since(begun) < 10*time.Second; {
		time.Sleep(50 * time.Millisecond) // a type that was just defined is not served yet
		code, r = a.send(s, "")
	}
	out := answer{Step: s.String(), Code: code, Reason: r.Reason, Pages: 1}
	if r.Kind == "Status" {
		out.Says = r.Message
	}
	for {
		for _, item := range r.Items {
			out.Names = append(out.Names, item.Metadata.Name)
		}
		if r.Metadata.Continue == "" || out.Pages > 1000 {
			return out
		}
		out.Pages++
		if code, r = a.send(s, "continue="+url.QueryEscape(r.Metadata.Continue)); code != http.StatusOK {
			a.t.Errorf("%s: page %d: %d %s %s", s, out.Pages, code, r.Reason, r.Message)
		}
	}
}

func TestNamesAreTheSameOnEveryBackend(t *testing.T) {
	steps := script()
	var first []answer
	for _, backend := range backends {
		t.Run(backend.name, func(t *testing.T) {
			p := harness.RunPlane(t, harness.PlaneOptions{Args: backend.args(t)})
			config := p.RestConfig()
			client, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			a := asker{t, client, config.Host}
			answers := make([]answer, 0, len(steps))
			for _, s := range steps {
				answers = append(answers, a.ask(s))
			}
			t.Logf("%d requests", len(answers))
			if first == nil {
				first = answers
				mustBeSane(t, answers)
				return
			}
			for n := range answers {
				if diff := cmp.Diff(first[n], answers[n]); diff != "" {
					t.Errorf("%s is answered otherwise than on %s:\n%s", answers[n].Step, backends[0].name, diff)
				}
			}
		})
	}
}

// mustBeSane says what the answers must be, whatever they are elsewhere.
func mustBeSane(t *testing.T, answers []answer) {
	t.Helper()
	names := nasty()
	for n, name := range names {
		want := http.StatusCreated
		switch {
		case name == "admin" || name == "view": // the plane's own
			want = http.StatusConflict
		case len(name) > 512 || name == "." || name == ".." || strings.ContainsAny(name, "/%"):
			want = http.StatusUnprocessableEntity
		}
		made := answers[3*n]
		if made.Code != want {
			t.Errorf("creating %.40q (%d bytes): %d %s, want %d", name, len(name), made.Code, made.Says, want)
		}
		if len(name) > 512 && !strings.Contains(made.Says, fmt.Sprintf("may not be more than 512 bytes, and has %d", len(name))) {
			t.Errorf("creating a name of %d bytes: %.300s", len(name), made.Says)
		}
		if again := answers[3*n+2]; want == http.StatusCreated && again.Reason != metav1.StatusReasonAlreadyExists {
			t.Errorf("creating %.40q again: %d %s", name, again.Code, again.Says)
		}
		if got := answers[3*n+1]; want == http.StatusCreated && got.Code != http.StatusOK {
			t.Errorf("reading %.40q: %d %s", name, got.Code, got.Says)
		}
	}
	for n, a := range answers {
		if a.Code >= 500 {
			t.Errorf("%s: %d %s", a.Step, a.Code, a.Says)
		}
		if len(a.Names) == 0 {
			continue
		}
		if !slices.IsSorted(a.Names) {
			t.Errorf("%s is not in the order of bytes: %.500q", a.Step, a.Names)
		}
		if a.Pages > 1 && answers[n-1].Pages == 1 && len(answers[n-1].Names) > 0 && !slices.Equal(a.Names, answers[n-1].Names) {
			t.Errorf("%s: %d names in pages, and %d at once", a.Step, len(a.Names), len(answers[n-1].Names))
		}
	}
}
