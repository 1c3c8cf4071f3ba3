package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	terminalPeriod = 100 * time.Millisecond
	plainPeriod    = 10 * time.Second
	barWidth       = 24
	// maxWidth keeps the line from wrapping: a wrapped line cannot be drawn over.
	maxWidth = 78
)

// Line is what is shown. Its methods may be called from any goroutine.
type Line struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	start    time.Time

	label       string
	done, total int
	note        string

	lastDrawn time.Time
	lastPlain string
	stop      chan struct{}
	stopped   sync.WaitGroup
}

// Start begins to show label on f until Stop.
func Start(f *os.File, label string) *Line {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	l := newLine(f, terminal, label)
	l.stopped.Go(l.run)
	return l
}

func newLine(out io.Writer, terminal bool, label string) *Line {
	now := time.Now()
	return &Line{out: out, terminal: terminal, start: now, lastDrawn: now, label: label, stop: make(chan struct{})}
}

// Set says what is being done now. A total of 0 means that it is not known.
func (l *Line) Set(label string, done, total int, note string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.label, l.done, l.total, l.note = label, done, total, note
}

// Step counts one more and says what it was.
func (l *Line) Step(note string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done++
	l.note = note
}

// Printf writes a line that stays.
func (l *Line) Printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
	fmt.Fprintf(l.out, format+"\n", args...)
}

// Elapsed is the time since Start, to the tenth of a second.
func (l *Line) Elapsed() time.Duration { return time.Since(l.start).Round(100 * time.Millisecond) }

// Stop ends the showing and removes the line.
func (l *Line) Stop() {
	close(l.stop)
	l.stopped.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
}

func (l *Line) run() {
	tick := time.NewTicker(terminalPeriod)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-tick.C:
			l.draw(now)
		}
	}
}

func (l *Line) draw(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text(now)
	switch {
	case l.terminal:
		fmt.Fprintf(l.out, "\r\x1b[K%s", text)
	case now.Sub(l.lastDrawn) >= plainPeriod && text != l.lastPlain:
		fmt.Fprintln(l.out, text)
		l.lastDrawn, l.lastPlain = now, text
	}
}

func (l *Line) clear() {
	if l.terminal {
		fmt.Fprint(l.out, "\r\x1b[K")
	}
}

func (l *Line) text(now time.Time) string {
	var b strings.Builder
	b.WriteString(l.label)
	if l.total > 0 {
		filled := min(barWidth, barWidth*l.done/l.total)
		if l.terminal {
			fmt.Fprintf(&b, " [%s%s]", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled))
		}
		fmt.Fprintf(&b, " %d/%d", l.done, l.total)
	} else if l.done > 0 {
		fmt.Fprintf(&b, " %d", l.done)
	}
	fmt.Fprintf(&b, " %s", now.Sub(l.start).Round(time.Second))
	if l.note != "" {
		fmt.Fprintf(&b, " %s", l.note)
	}
	if s := b.String(); len(s) > maxWidth && l.terminal {
		return s[:maxWidth]
	}
	return b.String()
}
