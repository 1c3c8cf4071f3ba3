package floors

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheHouseKeepsItsLaws(t *testing.T) {
	packages, err := ReadHouse(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("only %d packages were found: this is not the house", len(packages))
	}
	for name, rule := range Rules {
		t.Run(name, func(t *testing.T) {
			for _, p := range packages {
				for _, fault := range rule(p) {
					t.Error(fault)
				}
			}
		})
	}
}

func TestSmallPackagesStaySmall(t *testing.T) {
	for name := range small {
		if _, err := os.Stat("../../" + name); os.IsNotExist(err) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", Module+"/"+name).Output()
			if err != nil {
				t.Fatalf("listing what it links: %v", err)
			}
			linked := strings.Fields(string(out))
			if len(linked) < 50 {
				t.Fatalf("only %d packages were listed", len(linked))
			}
			for _, fault := range LinksTooMuch(name, linked) {
				t.Error(fault)
			}
		})
	}
}

func TestPurePackagesLinkNoClient(t *testing.T) {
	packages, err := ReadHouse(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"list", "-deps"}
	for _, p := range packages {
		if floor, ok := floorOf(p.Dir); ok && floor.pure() {
			args = append(args, Module+"/"+p.Dir)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		t.Fatalf("listing what pure packages link: %v", err)
	}
	for _, linked := range strings.Fields(string(out)) {
		if within(linked, "k8s.io/client-go") || within(linked, "sigs.k8s.io/controller-runtime/pkg/client") {
			t.Errorf("pure packages link %s, through something that they import: values need no client", linked)
		}
	}
}

// TestEachLawCanBeBroken breaks each law in a made-up house, beside something alike that keeps it.
func TestEachLawCanBeBroken(t *testing.T) {
	const doc = "// Package x is documented.\n"
	tests := map[string]struct {
		rule   string
		broken map[string]string
		kept   map[string]string
		says   string
	}{
		"a package that nobody placed": {
			rule:   "every package has a floor",
			broken: map[string]string{"pkg/novel/a.go": "package novel"},
			kept:   map[string]string{"pkg/controllers/novel/a.go": "package novel", "test/novel/a.go": "package novel"},
			says:   "say on which floor pkg/novel lives",
		},
		"a law that imports a hand": {
			rule:   "imports go down",
			broken: map[string]string{"pkg/topology/a.go": `package topology; import _ "github.com/cellfed/cellfed/pkg/member"`},
			kept:   map[string]string{"pkg/member/a.go": `package member; import _ "github.com/cellfed/cellfed/pkg/topology"`},
			says:   "pkg/member is on floor L3 hands and this package on L1 laws",
		},
		"a room that imports a command": {
			rule:   "imports go down",
			broken: map[string]string{"pkg/cli/a.go": `package cli; import _ "github.com/cellfed/cellfed/cmd/cellfed/app"`},
			kept:   map[string]string{"cmd/cellfed/a.go": `package main; import _ "github.com/cellfed/cellfed/cmd/cellfed/app"`},
			says:   "is a command",
		},
		"a plan that takes a context": {
			rule:   "pure packages know values only",
			broken: map[string]string{"pkg/plan/a.go": `package plan; import _ "context"`},
			kept:   map[string]string{"pkg/plan/a_test.go": `package plan; import _ "context"`, "pkg/apply/a.go": `package apply; import _ "context"`},
			says:   "values wait for nothing",
		},
		"a law that reads the network": {
			rule:   "pure packages know values only",
			broken: map[string]string{"pkg/override/a.go": `package override; import _ "net/http"`},
			kept:   map[string]string{"pkg/override/a.go": `package override; import _ "strings"`},
			says:   "it talks to other machines",
		},
		"a law that uses a client": {
			rule:   "pure packages know values only",
			broken: map[string]string{"pkg/tenancy/a.go": `package tenancy; import _ "k8s.io/client-go/kubernetes"`},
			kept:   map[string]string{"pkg/tenancy/a.go": `package tenancy; import _ "k8s.io/apimachinery/pkg/labels"`},
			says:   "it reads and writes API servers",
		},
		"a plan that looks at the clock": {
			rule:   "pure packages know values only",
			broken: map[string]string{"pkg/plan/a.go": `package plan; import clock "time"; var x = clock.Now`},
			kept:   map[string]string{"pkg/plan/a.go": `package plan; import "time"; var x = time.Second`},
			says:   "the time arrives as a value",
		},
		"a law that starts a goroutine": {
			rule:   "pure packages know values only",
			broken: map[string]string{"pkg/placement/a.go": `package placement; func f() { go f() }`},
			kept:   map[string]string{"pkg/placement/a.go": `package placement; func f() { f() }`},
			says:   "starts a goroutine",
		},
		"a word that brings a controller": {
			rule:   "words say, and do nothing",
			broken: map[string]string{"pkg/apis/x/v1/a.go": `package v1; import _ "sigs.k8s.io/controller-runtime/pkg/client"`},
			kept:   map[string]string{"pkg/apis/x/v1/a.go": `package v1; import _ "sigs.k8s.io/controller-runtime/pkg/scheme"`},
			says:   "every binary links the words",
		},
		"a word that reads the machine": {
			rule:   "words say, and do nothing",
			broken: map[string]string{"pkg/version/a.go": `package version; import _ "os"`},
			kept:   map[string]string{"pkg/version/a.go": `package version; import _ "strings"`},
			says:   "words do not read the machine",
		},
		"Kubernetes by another door": {
			rule:   "heavy libraries have one door",
			broken: map[string]string{"pkg/manager/a.go": `package manager; import _ "k8s.io/kubernetes/pkg/controlplane"`},
			kept:   map[string]string{"pkg/playground/memberserver/a.go": `package memberserver; import _ "k8s.io/kubernetes/cmd/kube-apiserver/app"`},
			says:   "may be imported by pkg/apiserver, pkg/playground, cmd/cellfed-playground only",
		},
		"Kubernetes in a test by another door": {
			rule:   "heavy libraries have one door",
			broken: map[string]string{"test/e2e/a_test.go": `package e2e; import _ "k8s.io/kubernetes/pkg/controlplane"`},
			kept:   map[string]string{"test/e2e/a_test.go": `package e2e; import _ "k8s.io/kubernetes-like"`},
			says:   "takes minutes to build",
		},
		"Kine by another door": {
			rule:   "heavy libraries have one door",
			broken: map[string]string{"pkg/apiserver/a.go": `package apiserver; import _ "github.com/k3s-io/kine/pkg/server"`},
			kept:   map[string]string{"pkg/storage/a.go": `package storage; import _ "github.com/k3s-io/kine/pkg/server"`},
			says:   "may be imported by pkg/storage only",
		},
		"a controller that ends the process": {
			rule:   "nothing below cmd ends the process",
			broken: map[string]string{"pkg/controllers/a.go": `package controllers; import "os"; func f() { os.Exit(1) }`},
			kept: map[string]string{
				"cmd/cellfed/a.go":          `package main; import "os"; func main() { os.Exit(1) }`,
				"pkg/controllers/a_test.go": `package controllers; import "os"; func f() { os.Exit(1) }`,
			},
			says: "os.Exit ends the process",
		},
		"a hand that ends the process through the logger": {
			rule:   "nothing below cmd ends the process",
			broken: map[string]string{"webhooks/server/a.go": `package server; import "k8s.io/klog/v2"; func f() { klog.Fatalf("") }`},
			kept:   map[string]string{"webhooks/server/a.go": `package server; import "k8s.io/klog/v2"; func f() { klog.Info("") }`},
			says:   "ends the process",
		},
		"a package without a word about itself": {
			rule:   "every package says what it is",
			broken: map[string]string{"pkg/cli/a.go": "package cli"},
			kept:   map[string]string{"pkg/cli/a.go": "package cli", "pkg/cli/doc.go": doc + "package cli"},
			says:   "has no package comment",
		},
		"a package called util": {
			rule:   "a package's name says what is in it",
			broken: map[string]string{"pkg/controllers/util/a.go": "package controllers"},
			kept:   map[string]string{"pkg/controllers/unit/a.go": "package unit"},
			says:   "says nothing about what is in it",
		},
		"a package that ships and imports the harness": {
			rule:   "what ships does not depend on what tests it",
			broken: map[string]string{"cmd/cellfed/a.go": `package main; import _ "github.com/cellfed/cellfed/test/harness"`},
			kept:   map[string]string{"cmd/cellfed/a_test.go": `package main; import _ "github.com/cellfed/cellfed/test/harness"`},
			says:   "is there for tests",
		},
	}
	tested := map[string]bool{}
	for name, tt := range tests {
		tested[tt.rule] = true
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(faults(t, tt.rule, tt.broken), "\n"); !strings.Contains(got, tt.says) {
				t.Errorf("broken: got %q, want something with %q", got, tt.says)
			}
			if got := faults(t, tt.rule, tt.kept); len(got) > 0 {
				t.Errorf("kept: got %q", got)
			}
		})
	}
	for rule := range Rules {
		if !tested[rule] {
			t.Errorf("no case shows that %q can be broken", rule)
		}
	}
}

func faults(t *testing.T, rule string, sources map[string]string) []string {
	t.Helper()
	check, ok := Rules[rule]
	if !ok {
		t.Fatalf("there is no rule %q", rule)
	}
	files := fstest.MapFS{}
	for name, source := range sources {
		files[name] = &fstest.MapFile{Data: []byte(source)}
	}
	packages, err := ReadHouse(files)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range packages {
		out = append(out, check(p)...)
	}
	return out
}

func TestALargeLibraryInASmallBinaryIsFound(t *testing.T) {
	if got := LinksTooMuch("cmd/kubectl-cellfed", []string{"fmt", "k8s.io/kubernetes/pkg/apis/core"}); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	if got := LinksTooMuch("cmd/kubectl-cellfed", []string{"fmt", "k8s.io/kubernetes-like"}); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
