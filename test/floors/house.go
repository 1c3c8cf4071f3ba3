package floors

import "strings"

// Module is the path of this module.
const Module = "github.com/cellfed/cellfed"

// Floor is a height in the house. Imports go down or stay.
type Floor int

// The floors.
const (
	Words Floor = iota
	Laws
	Plan
	Hands
	Rooms
	Doors
)

func (f Floor) String() string {
	return [...]string{"L0 words", "L1 laws", "L2 plan", "L3 hands", "L4 rooms", "L5 doors"}[f]
}

// pure floors turn values into values.
func (f Floor) pure() bool { return f == Laws || f == Plan }

// house says on which floor each package lives. A folder speaks for what is in it.
var house = map[string]Floor{
	"pkg/apis":     Words,
	"pkg/features": Words,
	"pkg/version":  Words,
	// The embedded definitions are words too: YAML made from pkg/apis.
	"config/crd": Words,

	"pkg/topology":   Laws,
	"pkg/tenancy":    Laws,
	"pkg/glob":       Laws,
	"pkg/placement":  Laws,
	"pkg/annotation": Laws,
	"pkg/override":   Laws,
	"pkg/retain":     Laws,
	"pkg/health":     Laws,
	"pkg/federated":  Laws,
	"pkg/typeschema": Laws,
	// KubeFed's hashes and versions.
	"pkg/propagatedversion": Laws,
	"pkg/settings":          Laws,
	// Whom an agent's certificate names and who gets one: decided alike by the proxy, the agent and the signer.
	"proxy/identity":  Laws,
	"proxy/enrolment": Laws,

	"pkg/render": Plan,
	"pkg/plan":   Plan,
	"pkg/report": Plan,

	"pkg/member":    Hands,
	"pkg/metrics":   Hands,
	"pkg/apply":     Hands,
	"pkg/inventory": Hands,
	"pkg/typewatch": Hands,
	"pkg/storage":   Hands,
	"pkg/host":      Hands,
	"pkg/kms":       Hands,
	"pkg/progress":  Hands,
	"pkg/election":  Hands,
	"webhooks":      Hands,
	"proxy":         Hands,

	"pkg/controllers": Rooms,
	"pkg/apiserver":   Rooms,
	"pkg/manager":     Rooms,
	"pkg/tunnels":     Rooms,
	"pkg/cli":         Rooms,
	"pkg/reencrypt":   Rooms,
	"pkg/playground":  Rooms,

	"cmd": Doors,
}

// doors are the heavy libraries and the only packages that may import them.
var doors = []struct {
	library string
	allowed []string
	// tests says whether test files must keep to it as well: a test binary that links Kubernetes takes minutes to build.
	tests  bool
	reason string
}{
	{"k8s.io/kubernetes", []string{"pkg/apiserver", "pkg/playground", "cmd/cellfed-playground"}, true,
		"it is not meant to be a library and changes with every release, so one package speaks to it; and every binary and test that links it takes minutes to build"},
	{"github.com/k3s-io/kine", []string{"pkg/storage"}, true,
		"what must not be lost depends on details of its drivers, and one package knows them"},
	{"sigs.k8s.io/apiserver-network-proxy", []string{"proxy"}, false,
		"its stock server isolates no cluster from another, and only proxy wraps it so that it does"},
}

// impure are the packages that a pure package must not import, and why.
var impure = []struct{ library, reason string }{
	{"k8s.io/client-go", "it reads and writes API servers"},
	{"k8s.io/apiserver", "it serves"},
	{"sigs.k8s.io/controller-runtime", "it reads and writes API servers"},
	{"k8s.io/klog", "it logs: return what there is to say"},
	{"github.com/go-logr/logr", "it logs: return what there is to say"},
	{"k8s.io/component-base/logs", "it logs: return what there is to say"},
	{"log", "it logs: return what there is to say"},
	{"context", "what takes a context waits for something, and values wait for nothing"},
	{"net", "it talks to other machines"},
	{"os", "it reads the machine"},
	{"sync", "it is for goroutines, and pure code runs in its caller's"},
	{"math/rand", "the same input must give the same output"},
	{"crypto/rand", "the same input must give the same output"},
}

// notWords are what the ground floor must not import: everything links it.
var notWords = []struct{ library, reason string }{
	{"k8s.io/client-go", "every binary links the words, also those that talk to nobody"},
	{"k8s.io/apiserver", "every binary links the words, also those that serve nothing"},
	{"net/http", "words do not talk"},
	{"os", "words do not read the machine"},
}

// clock are the functions of package time that look at the clock.
var clock = map[string]bool{"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTicker": true, "NewTimer": true}

// exits are the functions that end the process.
var exits = map[string]bool{
	"os.Exit": true, "log.Fatal": true, "log.Fatalf": true, "log.Fatalln": true, "syscall.Exit": true,
	"k8s.io/klog/v2.Fatal": true, "k8s.io/klog/v2.Fatalf": true, "k8s.io/klog/v2.Fatalln": true, "k8s.io/klog/v2.FatalDepth": true,
	"k8s.io/klog/v2.Exit": true, "k8s.io/klog/v2.Exitf": true, "k8s.io/klog/v2.Exitln": true,
}

// homeless are package names that say nothing about what is in them.
var homeless = map[string]bool{"util": true, "utils": true, "helper": true, "helpers": true, "common": true, "misc": true,
	"shared": true, "lifted": true}

// small are packages that must stay small, what they must not link, and why.
var small = map[string]struct {
	forbidden []string
	reason    string
}{
	"cmd/kubectl-cellfed": {
		[]string{"k8s.io/kubernetes", "k8s.io/apiserver", "github.com/k3s-io/kine", "sigs.k8s.io/controller-runtime/pkg/manager", "sigs.k8s.io/controller-runtime/pkg/client"},
		"it is downloaded to laptops"},
	"cmd/cellfed-agent": {
		[]string{"k8s.io/kubernetes", "k8s.io/apiserver", "k8s.io/client-go", "k8s.io/api", "github.com/k3s-io/kine", "sigs.k8s.io/controller-runtime",
			"sigs.k8s.io/apiserver-network-proxy/pkg", "github.com/prometheus"},
		"it runs in every member, in as little memory as can be"},
	"test/harness/database": {
		[]string{"k8s.io/kubernetes", "k8s.io/client-go", "k8s.io/apimachinery", "github.com/k3s-io/kine", "go.etcd.io/etcd"},
		"tests of storage import it, and must be built in seconds and judge storage by nothing that storage is made of"},
}

// floorOf finds the floor of a package by its folder in the module.
func floorOf(dir string) (Floor, bool) {
	for d := dir; d != "" && d != "."; {
		if f, ok := house[d]; ok {
			return f, true
		}
		i := strings.LastIndex(d, "/")
		if i < 0 {
			break
		}
		d = d[:i]
	}
	return 0, false
}

// within tells whether a path is a folder or something in it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}
