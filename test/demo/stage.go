package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

var (
	deployments          = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	federatedDeployments = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federateddeployments"}
)

// cell is one cell of the story.
type cell struct{ name, member, memberNamespace string }

// stage is the plane, the members, and the hands that touch them.
type stage struct {
	*screen
	plane   *harness.Plane
	members *harness.MemberSet
	// agent holds the tunnel of the member behind the firewall.
	agent *process.Process
	// seen is cell × step → revision, for the table at the end.
	steps []string
	seen  map[string][]string
}

func (st *stage) open(ctx context.Context) error {
	st.seen = map[string][]string{}
	tunnels, err := process.FreePort("127.0.0.1")
	if err != nil {
		return err
	}
	if err := st.progress("starting the plane: one process, on SQLite", func() (err error) {
		st.plane, err = harness.StartPlane(ctx, harness.PlaneOptions{Args: []string{fmt.Sprintf("--tunnel-port=%d", tunnels)}})
		return err
	}); err != nil {
		return err
	}
	options := []harness.MembersOption{harness.MembersNamed("hz-1", "sh-1", "sz-1"), harness.MembersWithNodes(1)}
	if runtime.GOOS == "linux" { // The playground knows no firewall elsewhere.
		options = append(options, harness.MembersFirewalled(playground.BestFirewall, []string{firewalled},
			strings.TrimPrefix(st.plane.RestConfig().Host, "https://"), fmt.Sprintf("127.0.0.1:%d", tunnels)))
	}
	return st.progress("starting three real members: hz-1, sh-1, sz-1", func() (err error) {
		st.members, err = harness.StartMembers(ctx, 3, options...)
		return err
	})
}

func (st *stage) close() error {
	var errs []error
	if st.agent != nil {
		// Told to end it would wait for the connections of a plane that ends next.
		errs = append(errs, st.agent.End(syscall.SIGKILL, 15*time.Second))
	}
	if st.plane != nil {
		errs = append(errs, st.plane.Close())
	}
	if st.members != nil {
		errs = append(errs, st.members.Close())
	}
	return errors.Join(errs...)
}

// run runs a command as a user would, shows it with what it printed, and fails if it did.
func (st *stage) run(ctx context.Context, stdin, kubeconfig string, args ...string) error {
	_, err := st.output(ctx, stdin, kubeconfig, args...)
	return err
}

// inMember runs a command where the member can be reached.
func (st *stage) inMember(ctx context.Context, m *harness.Member, kubeconfig string, args ...string) (string, error) {
	args, err := m.Inside(args...)
	if err != nil {
		return "", err
	}
	return st.output(ctx, "", kubeconfig, args...)
}

// shown is a command line as a user would type it.
func (st *stage) shown(kubeconfig string, args []string) string {
	shown := strings.Join(args, " ")
	if kubeconfig != st.plane.Kubeconfig {
		for _, m := range st.members.Members {
			if m.Kubeconfig == kubeconfig {
				shown = "KUBECONFIG=" + m.Name + " " + shown
			}
		}
	}
	shown = strings.Replace(shown, args[0], path.Base(args[0]), 1)
	return st.short(strings.Replace(shown, " --dir="+st.members.Dir+" ", " ", 1))
}

// short leaves out of a text where this run of the demo keeps its files.
func (st *stage) short(text string) string { return strings.ReplaceAll(text, st.members.Dir+"/", "") }

// output is run, and returns what was printed.
func (st *stage) output(ctx context.Context, stdin, kubeconfig string, args ...string) (string, error) {
	shown := st.shown(kubeconfig, args)
	if stdin != "" {
		shown += " <<EOF\n" + indent(stdin) + "EOF"
	}
	st.command(shown)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	st.screen.output(st.short(out.String()))
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// startAgent runs an agent inside the member with the command line that join printed.
func (st *stage) startAgent(m *harness.Member, line string) error {
	words := strings.Fields(line)
	binary, err := harness.Binary(words[0])
	if err != nil {
		return err
	}
	words[0] = binary
	command, err := m.Inside(append(words, "--metrics-address=")...)
	if err != nil {
		return err
	}
	st.command(st.short(strings.ReplaceAll(st.shown(st.plane.Kubeconfig, command), binary, path.Base(binary))) + " &")
	st.agent, err = process.Start("the agent of "+m.Name, filepath.Join(st.members.Dir, m.Name, "agent.log"), exec.Command(command[0], command[1:]...))
	return err
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}

// kubectl runs kubectl on the plane.
func (st *stage) kubectl(ctx context.Context, args ...string) error {
	return st.run(ctx, "", st.plane.Kubeconfig, append([]string{"kubectl"}, args...)...)
}

// apply gives a manifest to the plane.
func (st *stage) apply(ctx context.Context, manifest string) error {
	return st.run(ctx, manifest, st.plane.Kubeconfig, "kubectl", "apply", "-f", "-")
}

func (st *stage) client() (dynamic.Interface, error) {
	return dynamic.NewForConfig(st.plane.RestConfig())
}

// deployment reads a cell's Deployment from its member; nil = there is none.
func (st *stage) deployment(ctx context.Context, c cell) (*unstructured.Unstructured, error) {
	m := st.members.Named(c.member)
	if m.Firewall != "" {
		out, err := m.Kubectl(ctx, m.Kubeconfig, "", "get", "deployment", "web", "-n", c.memberNamespace, "--ignore-not-found", "-o", "json")
		if err != nil || out == "" {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		return u, u.UnmarshalJSON([]byte(out))
	}
	client, err := dynamic.NewForConfig(m.Config)
	if err != nil {
		return nil, err
	}
	u, err := client.Resource(deployments).Namespace(c.memberNamespace).Get(ctx, "web", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return u, err
}

// eventually waits until something holds; the last reason why not is the error.
func eventually(ctx context.Context, limit time.Duration, what string, holds func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := holds()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// remember notes which revision each cell runs now.
func (st *stage) remember(ctx context.Context, step string) error {
	client, err := st.client()
	if err != nil {
		return err
	}
	revisions := map[string]string{}
	u, err := client.Resource(federatedDeployments).Namespace("acme-prod").Get(ctx, "web", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil {
		entries, _, _ := unstructured.NestedSlice(u.Object, "status", "topologies")
		for _, e := range entries {
			m := e.(map[string]any)
			name, _ := m["name"].(string)
			revision, _ := m["revision"].(string)
			revisions[name] = revision
		}
	}
	st.steps = append(st.steps, step)
	for _, c := range cells {
		st.seen[c.name] = append(st.seen[c.name], revisions[c.name])
	}
	return nil
}

// table shows cells × steps, each with the revision that the cell ran.
func (st *stage) table() {
	head := fmt.Sprintf("%-8s%-8s", "CELL", "MEMBER")
	for _, s := range st.steps {
		head += fmt.Sprintf("%-12s", strings.ToUpper(s))
	}
	st.plain("%s", head)
	for _, c := range cells {
		row := fmt.Sprintf("%-8s%-8s", c.name, c.member)
		for _, r := range st.seen[c.name] {
			if r == "" {
				r = "-"
			}
			row += fmt.Sprintf("%-12.8s", r)
		}
		st.plain("%s", row)
	}
}
