package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/test/harness"
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
	// seen is cell × step → revision, for the table at the end.
	steps []string
	seen  map[string][]string
}

func (st *stage) open(ctx context.Context) error {
	st.seen = map[string][]string{}
	if err := st.progress("starting the plane: one process, on SQLite", func() (err error) {
		st.plane, err = harness.StartPlane(ctx, harness.PlaneOptions{})
		return err
	}); err != nil {
		return err
	}
	return st.progress("starting three real members: hz-1, sh-1, sz-1", func() (err error) {
		st.members, err = harness.StartMembers(ctx, 3, harness.MembersNamed("hz-1", "sh-1", "sz-1"), harness.MembersWithNodes(1))
		return err
	})
}

func (st *stage) close() error {
	var errs []error
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
	shown := strings.Join(args, " ")
	if kubeconfig != st.plane.Kubeconfig {
		for _, m := range st.members.Members {
			if m.Kubeconfig == kubeconfig {
				shown = "KUBECONFIG=" + m.Name + " " + shown
			}
		}
	}
	for _, m := range st.members.Members {
		shown = strings.ReplaceAll(shown, m.Kubeconfig, m.Name+"/kubeconfig")
	}
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
	st.output(out.String())
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
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
	client, err := dynamic.NewForConfig(st.members.Named(c.member).Config)
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
