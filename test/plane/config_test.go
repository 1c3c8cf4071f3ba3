package plane

import (
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/test/harness"
)

func TestAPlaneSaysLittle(t *testing.T) {
	t.Parallel()
	p := harness.RunPlane(t, harness.PlaneOptions{})
	if _, _, err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	want := []string{`"Starting"`, `"Ready"`, `"Stopping"`}
	if len(lines) != len(want) {
		t.Fatalf("an uneventful life is told in %d lines:\n%s", len(lines), data)
	}
	for i, w := range want {
		if !strings.Contains(lines[i], w) {
			t.Errorf("line %d is %s, want %s", i, lines[i], w)
		}
	}
	for _, w := range []string{p.DataDir, p.Kubeconfig, "https://127.0.0.1:"} {
		if !strings.Contains(lines[0], w) {
			t.Errorf("the first line does not tell %s: %s", w, lines[0])
		}
	}
}

func TestPartsAreSwitchedByTheFileAndFlagsWin(t *testing.T) {
	t.Parallel()
	p := harness.RunPlane(t, harness.PlaneOptions{
		Config: "apiVersion: config.cellfed.io/v1alpha1\nkind: CellFedConfiguration\ncomponents: ['*']\nlogging: {verbosity: 2}\n",
		Args:   []string{"--controllers=*,-garbagecollector"},
	})
	c := client(t, p)
	ctx := t.Context()
	if _, err := c.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "Starting namespace controller") {
		t.Error("the namespace controller does not run, or the file's verbosity is not heeded")
	}
	if strings.Contains(string(data), "garbagecollector.go") {
		t.Error("the garbage collector runs")
	}
}
