package tunnel

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

// tunnelTo runs kubectl cellfed tunnel hz-1 and returns its exit code, and what it and its command said.
func (s *site) tunnelTo(args ...string) (code int, out, errOut string) {
	s.Helper()
	binary, err := harness.Binary("kubectl-cellfed")
	if err != nil {
		s.Fatal(err)
	}
	cmd := exec.CommandContext(s.Context(), binary, append([]string{"tunnel", "hz-1", "--kubeconfig=" + s.plane.Kubeconfig}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func TestKubectlReachesAMemberThroughItsTunnel(t *testing.T) {
	s := newSite(t)
	_, command := s.join()
	t.Log("Without an agent")
	if code, _, said := s.tunnelTo("--wait=1s", "--", "true"); code != 1 || !strings.Contains(said, "no agent of member hz-1 is connected") {
		t.Errorf("code %d, %s", code, said)
	}
	s.agent(command)
	s.becomes("True", "1")

	t.Log("A command, as the plane and as somebody else")
	cellfed, err := harness.Binary("cellfed")
	if err != nil {
		t.Fatal(err)
	}
	kubectl := filepath.Join(filepath.Dir(cellfed), "tools", "kubectl")
	if code, out, said := s.tunnelTo("--", kubectl, "get", "namespace", "kube-system", "-o", "name"); code != 0 || out != "namespace/kube-system\n" {
		t.Errorf("code %d, %s%s", code, out, said)
	}
	if code, out, said := s.tunnelTo("--member-kubeconfig="+s.member.Kubeconfig, "--", kubectl, "auth", "can-i", "*", "*", "--all-namespaces"); code != 0 || out != "yes\n" {
		t.Errorf("code %d, %s%s", code, out, said)
	}
	t.Log("Its exit code is ours, and nothing stays")
	code, out, said := s.tunnelTo("--", "sh", "-c", "echo $KUBECONFIG; test -r $KUBECONFIG; exit 7")
	if file := strings.TrimSpace(out); code != 7 || said != "" || file == "" || exists(file) {
		t.Errorf("code %d, %s%s", code, out, said)
	}

	t.Log("A command that is told to end ends in its own way, and has the tunnel until then")
	log := filepath.Join(t.TempDir(), "command.log")
	binary, err := harness.Binary("kubectl-cellfed")
	if err != nil {
		t.Fatal(err)
	}
	running, err := process.Start("command", log, exec.Command(binary, "tunnel", "hz-1", "--kubeconfig="+s.plane.Kubeconfig, "--",
		"sh", "-c", `trap '"$0" get namespace default -o name; exit 5' TERM; trap '' INT; echo "$KUBECONFIG"; while :; do sleep 0.1; done`, kubectl))
	if err != nil {
		t.Fatal(err)
	}
	s.eventually("the command runs", func() bool { return strings.Contains(running.LogTail(), "kubeconfig") })
	given := strings.TrimSpace(running.LogTail())
	if err := syscall.Kill(running.PID(), syscall.SIGINT); err != nil { // which is the command's, and it does not mind
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := running.End(syscall.SIGTERM, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if !errors.As(running.Exit(), &ended) || ended.ExitCode() != 5 || !strings.Contains(running.LogTail(), "namespace/default") || exists(given) {
		t.Errorf("it ended with %v, the kubeconfig is there: %v; it said:\n%s", running.Exit(), exists(given), running.LogTail())
	}

	t.Log("What somebody wrote into the ConfigMap of proxy servers does not matter")
	s.kubectl("patch", "configmap", "cellfed-tunnel-peers", "-n", "kube-federation-system", "--type=merge", "-p", `{"data":{"a":"%zz:1","b":"no port","c":"127.0.0.1:1","d":"a:1\nb"}}`)
	if code, out, said := s.tunnelTo("--", "true"); code != 0 {
		t.Errorf("code %d, %s%s", code, out, said)
	}

	t.Log("A port that stays until it is told to end")
	file := filepath.Join(t.TempDir(), "hz-1.kubeconfig")
	port, err := process.Start("tunnel", filepath.Join(t.TempDir(), "log"), exec.Command(binary, "tunnel", "hz-1", "--kubeconfig="+s.plane.Kubeconfig, "--write-kubeconfig="+file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.End(os.Kill, time.Second) })
	s.eventually("the kubeconfig is there", func() bool { return exists(file) && strings.Contains(port.LogTail(), "until this command ends") })
	for range 3 {
		if out, err := harness.Kubectl(t.Context(), file, "", "get", "--raw", "/readyz"); err != nil || out != "ok" {
			t.Errorf("%s, %v", out, err)
		}
	}
	if code, _, said := s.tunnelTo("--write-kubeconfig="+file, "--", "true"); code != 1 || !strings.Contains(said, "file exists") {
		t.Errorf("over a file that is there: code %d, %s", code, said)
	}
	if err := port.End(syscall.SIGHUP, 10*time.Second); err != nil { // its terminal was closed
		t.Error(err)
	}
	if port.Exit() != nil || exists(file) {
		t.Errorf("it ended with %v, and its kubeconfig is there: %v", port.Exit(), exists(file))
	}

	t.Log("What it refuses")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--listen=0.0.0.0:0"}, 2, "loopback"},
		{[]string{"--wait=0s"}, 2, "--wait"},
		{[]string{"--member-context=x"}, 2, "--member-kubeconfig"},
		{[]string{"--wait=1s", "--tunnel-server=" + freeAddress(t), "--", "true"}, 1, "refused"},
		{[]string{"--", "/no/such/command"}, 1, "no such file"},
	} {
		if code, out, said := s.tunnelTo(c.args...); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%v: code %d, %s%s", c.args, code, out, said)
		}
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
