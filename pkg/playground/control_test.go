package playground

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// served is a supervisor of one member that does not run, with its control open.
func served(t *testing.T) (*Supervisor, string) {
	t.Helper()
	dir := t.TempDir()
	layout, err := NewLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{layout: layout, reporter: newReporter(io.Discard), down: make(chan struct{})}
	s.members = []*member{{args: MemberArgs{Name: "hz-1", Port: 20001}, layout: layout, reporter: s.reporter, state: Stopped}}
	closeControl, err := s.serveControl()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeControl(); err != nil {
			t.Error(err)
		}
		s.reporter.close()
	})
	return s, dir
}

func TestThePlaygroundAnswersOnlyWhoReadItsFile(t *testing.T) {
	s, dir := served(t)
	client, err := NewClient(dir)
	if err != nil {
		t.Fatal(err)
	}
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Members) != 1 || status.Members[0].State != Stopped || status.Members[0].Server != "https://127.0.0.1:20001" {
		t.Errorf("status %+v", status)
	}
	client.file.Token = "guessed"
	if _, err := client.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "wrong token") {
		t.Errorf("a guessed token: %v", err)
	}
	if err := client.Down(t.Context()); err == nil {
		t.Error("a guessed token could ask it down")
	}
	select {
	case <-s.down:
		t.Error("it goes down")
	default:
	}
	info, err := os.Stat(filepath.Join(dir, "playground.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the token has mode %s", info.Mode())
	}
}

func TestWrongActionsAreRefusedWithTheReason(t *testing.T) {
	_, dir := served(t)
	client, err := NewClient(dir)
	if err != nil {
		t.Fatal(err)
	}
	for sentence, test := range map[string]struct {
		action Action
		name   string
		want   string
	}{
		"an unknown member":         {ActionStop, "hz-2", `no member is named "hz-2"`},
		"an unknown action":         {"explode", "hz-1", `unknown action "explode"`},
		"pausing what is stopped":   {ActionPause, "hz-1", "member hz-1 is Stopped, not Ready"},
		"resuming what is stopped":  {ActionResume, "hz-1", "member hz-1 is Stopped, not Paused"},
		"stopping what is stopped":  {ActionStop, "hz-1", ""},
		"stopping it a second time": {ActionStop, "hz-1", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			err := client.Do(t.Context(), test.action, test.name)
			if test.want == "" && err != nil {
				t.Errorf("got %v", err)
			}
			if test.want != "" && (err == nil || err.Error() != test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestAFileThatAKilledPlaygroundLeftMeansThatNoneRuns(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewClient(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a file: %v", err)
	}
	// Port 1 on loopback: nobody listens there.
	stale := []byte(`{"address":"127.0.0.1:1","token":"t","pid":1}`)
	if err := os.WriteFile(filepath.Join(dir, "playground.json"), stale, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with an old file: %v", err)
	}
}

func TestProgressInAPipeIsPlainLines(t *testing.T) {
	var out bytes.Buffer
	r := newReporter(&out)
	r.starting("hz-1")
	r.ready("hz-1", 0)
	r.ended("hz-1", true, "")
	r.ended("hz-2", false, "killed")
	r.close()
	want := "member hz-1 is starting\nmember hz-1 is ready after 0.0s\nmember hz-1 has stopped\nmember hz-2 died: killed\n"
	if out.String() != want {
		t.Errorf("it printed %q, want %q", out.String(), want)
	}
}

func TestNobodyEntersAMemberWithoutAFirewall(t *testing.T) {
	_, dir := served(t)
	client, err := NewClient(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"hz-1": "behind no firewall: run the command as it is", "sh-1": `no member is named "sh-1"`} {
		if err := client.Enter(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("entering %s: %v; want %q in it", name, err, want)
		}
	}
}
