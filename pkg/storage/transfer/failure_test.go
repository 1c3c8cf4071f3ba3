package transfer

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cellfed/cellfed/test/harness/database"
)

// What makes the test binary a process that works on its own: what to do, from where, to where.
const childWork = "CELLFED_TRANSFER_TEST_CHILD"

func TestMain(m *testing.M) {
	if work := os.Getenv(childWork); work != "" {
		if err := child(strings.Fields(work)); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(database.Main(m))
}

// child restores or backs up, in a process of its own: this is its top.
func child(work []string) (err error) {
	ctx := context.Background()
	switch work[0] {
	case "restore":
		_, err = Restore(ctx, work[1], work[2], loud{})
	case "backup-small-files":
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}); err != nil {
			return err
		}
		_, err = Backup(ctx, work[1], work[2], silent{})
	}
	return err
}

// loud says each step on standard output.
type loud struct{ silent }

func (loud) Set(label string, done, _ int, _ string) { fmt.Printf("%s %d\n", label, done) }

// command is the test binary with work to do.
func command(t *testing.T, work ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), childWork+"="+strings.Join(work, " "), "GOCOVERDIR="+t.TempDir(), "TMPDIR="+t.TempDir())
	c.Stderr = os.Stderr
	return c
}

// backedUp gives a backup of some objects, and these.
func backedUp(t *testing.T, objects int) (file string, want map[string]string) {
	t.Helper()
	dir := t.TempDir()
	source := serve(t, sqliteIn(dir))
	source.fill(t, objects)
	file = filepath.Join(dir, "backup")
	if _, err := Backup(t.Context(), sqliteIn(dir), file, silent{}); err != nil {
		t.Fatal(err)
	}
	return file, source.content(t)
}

func TestAKilledRestoreIsRefusedByPlanesAndTakenUp(t *testing.T) {
	file, want := backedUp(t, 300)
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			to, refused := backend(t), 0
			for round := range 5 {
				// In the first round early, in the others anywhere; each finds what the last one left.
				lines := 1 + rand.IntN(2*len(want)*min(round, 1)+1)
				killedAfter(t, command(t, "restore", file, to), lines)
				target := serve(t, to)
				err := RefuseUnfinished(t.Context(), target.at)
				content := target.content(t)
				target.close()
				switch {
				case err != nil && strings.Contains(err.Error(), "half restored"):
					refused++
				case err != nil:
					t.Fatal(err)
				case !cmp.Equal(want, content):
					t.Fatalf("after %d steps the target counts as whole, with %d objects of %d", lines, len(content), len(want))
				default:
					to = backend(t) // it had ended
				}
			}
			t.Logf("%d kills left an unfinished target", refused)
			if refused == 0 {
				t.Error("no kill came in the middle")
			}
			if _, err := Restore(t.Context(), file, to, silent{}); err != nil {
				t.Fatal(err)
			}
			target := serve(t, to)
			target.mustBe(t, want)
			if err := RefuseUnfinished(t.Context(), target.at); err != nil {
				t.Error(err)
			}
		})
	}
}

// pausing pauses a database once some objects are written, for longer than the storage waits for an answer.
type pausing struct {
	silent
	once   sync.Once
	t      *testing.T
	server *database.MariaDB
}

func (p *pausing) Set(label string, done, _ int, _ string) {
	if label != "writing objects" || done < 100 {
		return
	}
	p.once.Do(func() {
		if err := p.server.Pause(); err != nil {
			p.t.Error(err)
		}
		time.AfterFunc(4*time.Second, func() {
			if err := p.server.Continue(); err != nil {
				p.t.Error(err)
			}
		})
	})
}

func TestARestoreSitsOutADatabaseThatIsAwayForSeconds(t *testing.T) {
	file, want := backedUp(t, 500)
	server := database.RunMariaDB(t, database.MariaDBOptions{})
	to := databaseIn(t, server)
	summary, err := Restore(t.Context(), file, to, &pausing{t: t, server: server})
	if err != nil || summary.Took < 4*time.Second {
		t.Fatalf("%+v, %v", summary, err)
	}
	serve(t, to).mustBe(t, want)
}

// killedAfter kills a process once it has said so many lines.
func killedAfter(t *testing.T, c *exec.Cmd, lines int) {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	for n := 0; n < lines && said.Scan(); n++ {
		if strings.HasPrefix(said.Text(), "failed:") {
			t.Error(said.Text())
		}
	}
	_ = c.Process.Signal(syscall.SIGKILL) // it may have ended
	for said.Scan() {
	}
	_ = c.Wait() // it was killed
}

func TestABackupThatFindsNoRoomLeavesNoFile(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	source := serve(t, sqliteIn(dir))
	source.fill(t, 500)
	said, err := command(t, "backup-small-files", sqliteIn(dir), filepath.Join(out, "backup")).Output()
	if err == nil || !strings.Contains(string(said), "file too large") {
		t.Errorf("it says %q, %v", said, err)
	}
	left, err := os.ReadDir(out)
	if err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func TestAnExistingFileIsNotOverwritten(t *testing.T) {
	file, _ := backedUp(t, 1)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Backup(t.Context(), sqliteIn(filepath.Dir(file)), file, silent{}); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second backup of that name: %v", err)
	}
	after, err := os.ReadFile(file)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file has changed, %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(file)); len(entries) > 5 { // the database's four, and the backup
		t.Errorf("it left %v", entries)
	}
}

func TestADamagedFileIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	file, _ := backedUp(t, 100)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	flip := func(n int) func([]byte) []byte { return func(b []byte) []byte { b[n] ^= 1; return b } }
	tests := map[string]struct {
		change func([]byte) []byte
		says   string
	}{
		"empty":                {cut(0), "no backup of a plane"},
		"another file":         {func([]byte) []byte { return []byte(strings.Repeat("apiVersion: v1\n", 10)) }, "no backup of a plane"},
		"a database":           {func([]byte) []byte { return append([]byte("SQLite format 3\x00"), good...) }, "no backup of a plane"},
		"a newer format":       {func(b []byte) []byte { return append([]byte("CellFed backup, format 2\n"), b[len(magic):]...) }, "a newer program"},
		"cut after the line":   {cut(len(magic)), "damaged or cut short"},
		"cut in the middle":    {cut(len(good) / 2), "damaged or cut short"},
		"cut before the sum":   {cut(len(good) - 32), "damaged or cut short"},
		"cut by a byte":        {cut(len(good) - 1), "damaged or cut short"},
		"longer by a byte":     {func(b []byte) []byte { return append(b, 0) }, "damaged or cut short"},
		"a bit of the header":  {flip(len(magic) + 30), "damaged or cut short"},
		"a bit in the middle":  {flip(len(good) / 2), "damaged or cut short"},
		"a bit of the sum":     {flip(len(good) - 1), "damaged or cut short"},
		"two that were joined": {func(b []byte) []byte { return append(b, b...) }, "damaged or cut short"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bad := filepath.Join(dir, "bad")
			if err := os.WriteFile(bad, test.change(append([]byte{}, good...)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Restore(t.Context(), bad, sqliteIn(dir), silent{})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
			if _, err := os.Stat(filepath.Join(dir, "state.db")); !os.IsNotExist(err) {
				t.Errorf("the target was made: %v", err)
			}
		})
	}
}

func TestAHalfRestoredDatabaseIsNotBackedUp(t *testing.T) {
	dir := t.TempDir()
	source := serve(t, sqliteIn(dir))
	r := &restorer{target: on(source.Client)}
	if _, err := r.claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Backup(t.Context(), sqliteIn(dir), filepath.Join(dir, "backup"), silent{}); err == nil || !strings.Contains(err.Error(), "half restored") {
		t.Errorf("backing it up: %v", err)
	}
}

func TestOfTwoRestoresAtOnceTheFirstFails(t *testing.T) {
	target := serve(t, sqliteIn(t.TempDir()))
	first, second := &restorer{target: on(target.Client)}, &restorer{target: on(target.Client)}
	if unfinished, err := first.claim(t.Context()); err != nil || unfinished {
		t.Fatal(unfinished, err)
	}
	if unfinished, err := second.claim(t.Context()); err != nil || !unfinished {
		t.Fatal(unfinished, err)
	}
	if err := first.release(t.Context()); err == nil || !strings.Contains(err.Error(), "took the target over") {
		t.Errorf("the first ends with %v", err)
	}
	if err := second.release(t.Context()); err != nil {
		t.Errorf("the second ends with %v", err)
	}
}

func TestASourceThatIsNotThereIsNotMade(t *testing.T) {
	dir := t.TempDir()
	_, err := Backup(t.Context(), sqliteIn(dir), filepath.Join(dir, "backup"), silent{})
	if left, _ := os.ReadDir(dir); err == nil || len(left) != 0 {
		t.Errorf("%v left %v", err, left)
	}
}
