package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cellfed/cellfed/pkg/progress"
)

func TestFiguresCountWhatGoTestReports(t *testing.T) {
	tests := map[string]struct {
		in   []string
		want figures
		says []string
	}{
		"tests that pass are counted, and their package": {
			in: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			want: figures{Packages: 1, Passed: 1},
			says: []string{"ok   p"},
		},
		"a failed test is told with what it said": {
			in: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"the reason\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: figures{Packages: 1, Failed: 1},
			says: []string{"the reason", "FAIL p"},
		},
		"a package that ends without a failed test counts as one, and its last words are told": {
			in: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: figures{Packages: 1, Failed: 1},
			says: []string{"panic: oh", "FAIL p"},
		},
		"a skipped test is told": {
			in:   []string{`{"Action":"skip","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p"}`},
			want: figures{Packages: 1, Skipped: 1},
			says: []string{"SKIP p TestA"},
		},
		"a package without tests is not counted": {
			in:   []string{`{"Action":"skip","Package":"p"}`},
			want: figures{},
		},
		"what a compiler says is told": {
			in:   []string{`{"Action":"build-output","ImportPath":"p","Output":"p.go:1: undefined: x\n"}`},
			says: []string{"p.go:1: undefined: x"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			line := progress.Start(file, "")
			r := newReader(line)
			if err := r.read(strings.NewReader(strings.Join(tt.in, "\n"))); err != nil {
				t.Fatal(err)
			}
			line.Stop()
			if r.figures != tt.want {
				t.Errorf("got %+v, want %+v", r.figures, tt.want)
			}
			out, err := os.ReadFile(file.Name())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range tt.says {
				if !strings.Contains(string(out), s) {
					t.Errorf("%q is not in what was printed:\n%s", s, out)
				}
			}
		})
	}
}
