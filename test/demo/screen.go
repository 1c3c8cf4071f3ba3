package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen is what the visitor sees: narration, the commands, and their real output.
type screen struct {
	out         io.Writer
	tty         bool
	interactive bool
}

func newScreen(out, in *os.File) *screen {
	return &screen{out: out, tty: term.IsTerminal(int(out.Fd())), interactive: term.IsTerminal(int(in.Fd()))}
}

func (s *screen) styled(code, text string) string {
	if !s.tty {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// chapter begins a part of the story.
func (s *screen) chapter(title string) { s.plain("\n%s", s.styled("1;36", "── "+title)) }

// say tells what happens and why.
func (s *screen) say(format string, args ...any) {
	s.plain("\n%s", s.styled("1", fmt.Sprintf(format, args...)))
}

// command shows a command line as a user would type it.
func (s *screen) command(line string) { s.plain("%s", s.styled("33", "$ "+line)) }

// right tells of a check that held.
func (s *screen) right(format string, args ...any) {
	s.plain("%s %s", s.styled("32", "✓"), fmt.Sprintf(format, args...))
}

func (s *screen) plain(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// output shows what a command printed.
func (s *screen) output(text string) {
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		s.plain("  %s", line)
	}
}

// progress runs something that takes a while: a moving clock on a terminal, a line before and after in a pipe.
func (s *screen) progress(what string, do func() error) error {
	began := time.Now()
	if !s.tty {
		s.plain("%s …", what)
		err := do()
		s.plain("%s: %s (%.1fs)", what, verdict(err), time.Since(began).Seconds())
		return err
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	for i := 0; ; i++ {
		select {
		case err := <-done:
			fmt.Fprintf(s.out, "\r\x1b[K%s: %s (%.1fs)\n", what, verdict(err), time.Since(began).Seconds())
			return err
		case <-tick.C:
			fmt.Fprintf(s.out, "\r\x1b[K%c %s … %.0fs", frames[i%len(frames)], what, time.Since(began).Seconds())
		}
	}
}

func verdict(err error) string {
	if err != nil {
		return "failed"
	}
	return "done"
}
