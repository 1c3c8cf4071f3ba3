package process

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start("a shell", filepath.Join(t.TempDir(), "log"), exec.Command("sh", "-c", script))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.End(syscall.SIGKILL, time.Minute) })
	return p
}

func awaitLog(t *testing.T, p *Process, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.LogTail(), want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log is %q, want %q in it", p.LogTail(), want)
		}
	}
}

func TestAProcessThatIsPausedStandsUntilItContinues(t *testing.T) {
	p := start(t, "while :; do echo step; done")
	awaitLog(t, p, "step")
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if p.runs() {
		t.Error("the process runs while it is paused")
	}
	if err := p.Continue(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !p.runs(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process stands after it was let go on")
		}
	}
}

func TestAProcessThatDoesNotEndInTimeIsKilledWhichIsAnError(t *testing.T) {
	p := start(t, "trap '' TERM; echo deaf; while :; do sleep 1; done")
	awaitLog(t, p, "deaf")
	err := p.End(syscall.SIGTERM, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "a shell") || !strings.Contains(err.Error(), "deaf") {
		t.Errorf("got %v, want an error with the name and the log", err)
	}
	select {
	case <-p.Gone():
	default:
		t.Error("the process is there")
	}
}

func TestAProcessThatEndsByItselfTellsHow(t *testing.T) {
	p := start(t, "exit 3")
	<-p.Gone()
	if p.Exit() == nil || p.Exit().Error() != "exit status 3" {
		t.Errorf("got %v", p.Exit())
	}
	if err := p.End(syscall.SIGTERM, time.Second); err != nil {
		t.Errorf("ending it once more: %v", err)
	}
}
