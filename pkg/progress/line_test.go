package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestALineTellsHowFarItHasCome(t *testing.T) {
	tests := map[string]struct {
		terminal bool
		total    int
		after    time.Duration
		want     string
	}{
		"a terminal gets a bar that is drawn over":    {true, 10, time.Second, "\r\x1b[Kcompiling [############............] 5/10 1s k8s.io/api"},
		"a pipe gets a whole line":                    {false, 10, plainPeriod, "compiling 5/10 10s k8s.io/api\n"},
		"a pipe gets nothing more before its period":  {false, 10, plainPeriod - 1, ""},
		"an unknown total is left out":                {true, 0, time.Second, "\r\x1b[Kcompiling 5 1s k8s.io/api"},
		"more than the total does not break the line": {true, 4, time.Second, "\r\x1b[Kcompiling [########################] 5/4 1s k8s.io/api"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			l := newLine(&out, tt.terminal, "")
			l.Set("compiling", 4, tt.total, "")
			l.Step("k8s.io/api")
			l.draw(l.start.Add(tt.after))
			if got := out.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestALineOnATerminalNeverWraps(t *testing.T) {
	var out bytes.Buffer
	l := newLine(&out, true, strings.Repeat("long ", 60))
	l.draw(l.start)
	if got := strings.TrimPrefix(out.String(), "\r\x1b[K"); len(got) > maxWidth {
		t.Errorf("%d characters, want at most %d", len(got), maxWidth)
	}
}
