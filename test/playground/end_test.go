package playground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/test/harness"
)

// TestKillingThePlaygroundLeavesNoProcessAndItsDirectoryCanBeUsedAgain has one member that could notice the end
// itself and one that is paused and cannot, in a directory whose name is too long for a socket.
func TestKillingThePlaygroundLeavesNoProcessAndItsDirectoryCanBeUsedAgain(t *testing.T) {
	// With a long name sockets are made among the system's temporary files, where a killed process leaves them.
	temporary, err := os.MkdirTemp("", "playground-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	t.Setenv("TMPDIR", temporary)
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-name/", 15))
	set := harness.Members(t, 2, harness.MembersIn(dir))
	configMap(t, clientOf(t, set.Members[0].Config), "kept")
	set.Members[1].Pause(t)
	pids := processesOf(t, set)
	if err := syscall.Kill(set.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	noneLeft(t, pids)
	if out, err := run(t, "down", "--dir", dir); err == nil || !strings.Contains(out, "no playground runs on") {
		t.Errorf("down on what a killed playground left: %v, %q", err, out)
	}

	again := harness.Members(t, 1, harness.MembersIn(dir))
	// The old client configuration, on purpose: port and certificates are the same.
	_, err = clientOf(t, set.Members[0].Config).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil {
		t.Errorf("what was written before: %v", err)
	}
	pids = processesOf(t, again)
	if err := syscall.Kill(again.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	noneLeft(t, pids)
}

func TestAPlaygroundToldToEndWhileItStartsLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := command(t, "up", "--dir", dir)
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The certificates are among the first things a member makes.
	eventually(t, 20*time.Second, func() error {
		_, err := os.Stat(filepath.Join(dir, "member-1", "kubeconfig"))
		return err
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), "ended before all members were ready") {
		t.Errorf("up: %v, %q; want an error that says so", err, out.String())
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	if found := processesWith(t, dir); len(found) > 0 {
		t.Errorf("processes left: %v", found)
	}
}

func TestWhatCannotWorkIsToldInOneLine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	taken := t.TempDir()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	if err := os.Mkdir(filepath.Join(taken, "member-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(taken, "member-1", "port"), []byte(port), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for sentence, test := range map[string]struct {
		args []string
		want string
	}{
		"a member's port is taken":           {[]string{"up", "--dir", taken}, "address already in use"},
		"the directory is a file":            {[]string{"up", "--dir", file}, "not a directory"},
		"no members":                         {[]string{"up", "--members=0"}, "at least one"},
		"a name twice":                       {[]string{"up", "--names=a,a"}, `"a" is there twice`},
		"a name that is no label":            {[]string{"up", "--names=A_b"}, `"A_b"`},
		"names and number disagree":          {[]string{"up", "--names=a,b", "--members=3"}, "--names has 2"},
		"less nodes than none":               {[]string{"up", "--nodes=-1"}, "-1 nodes"},
		"an unknown form of output":          {[]string{"up", "-o", "xml"}, "table or json"},
		"an unknown flag":                    {[]string{"up", "--member=2"}, "unknown flag"},
		"an unknown command":                 {[]string{"upp"}, "unknown command"},
		"a member of no playground":          {[]string{"stop", "hz-1"}, "no playground runs on"},
		"a status that never comes":          {[]string{"status", "--wait=1ms"}, "no playground runs on"},
		"a firewall before nobody":           {[]string{"up", "--firewalled=hz-1"}, "no member is named so"},
		"an unknown firewall":                {[]string{"up", "--firewall=moat"}, "namespace"},
		"a way out to elsewhere":             {[]string{"up", "--way-out=10.0.0.1:443"}, "has to be an address on loopback"},
		"inside a member of no playground":   {[]string{"exec", "hz-1", "--", "true"}, "no playground runs on"},
		"inside a member, nothing":           {[]string{"exec", "hz-1"}, "at least 2 arg"},
		"ending what does not run":           {[]string{"down"}, "no playground runs on"},
		"a member's name that was forgotten": {[]string{"pause"}, "accepts 1 arg"},
	} {
		t.Run(sentence, func(t *testing.T) {
			cmd := command(t, test.args...)
			cmd.Dir = t.TempDir()
			var out bytes.Buffer
			cmd.Stderr = &out
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want exit status 1", err)
			}
			said := strings.TrimPrefix(out.String(), "member member-1 is starting\n")
			if !strings.Contains(said, test.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("it said %q, want one line with %q", said, test.want)
			}
		})
	}
}

// command is the playground's binary, killed if the test ends first.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := harness.Binary("cellfed-playground")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	return cmd
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := command(t, args...).CombinedOutput()
	return string(out), err
}

// processesOf are the playground and all its members.
func processesOf(t *testing.T, set *harness.MemberSet) []int {
	t.Helper()
	status, err := set.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pids := []int{set.PID()}
	for _, m := range status.Members {
		if m.PID == 0 {
			t.Fatalf("member %s is %s", m.Name, m.State)
		}
		pids = append(pids, m.PID)
	}
	return pids
}

// noneLeft fails unless all processes end soon.
func noneLeft(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, 15*time.Second, func() error {
		for _, pid := range pids {
			if alive(pid) {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	})
}

// alive tells whether a process runs; one that has ended and waits for its parent to take note does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// processesWith finds running processes by a word of their command line.
func processesWith(t *testing.T, word string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte(word)) {
			continue // It ended meanwhile, or is another.
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
