package floors

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Package is what the source of one folder names.
type Package struct {
	Dir        string // in the module, with slashes
	Name       string
	Documented bool
	Files      []File
}

// File is one source file.
type File struct {
	Path    string
	Test    bool
	Imports []string
	// Calls are functions of other packages that the file names, as "import/path.Name".
	Calls []Place
	// Goroutines are the places of go statements.
	Goroutines []Place
}

// Place is something at a line.
type Place struct {
	What string
	Line int
}

// ReadHouse reads every Go package of a module. Folders that Go ignores are left out.
func ReadHouse(module fs.FS) ([]Package, error) {
	packages := map[string]*Package{}
	err := fs.WalkDir(module, ".", func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if p != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := fs.ReadFile(module, p)
		if err != nil {
			return err
		}
		return readFile(packages, p, source)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the house: %w", err)
	}
	var out []Package
	for _, p := range packages {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Package) int { return strings.Compare(a.Dir, b.Dir) })
	return out, nil
}

func readFile(packages map[string]*Package, p string, source []byte) error {
	positions := token.NewFileSet()
	parsed, err := parser.ParseFile(positions, p, source, parser.ParseComments)
	if err != nil {
		return err
	}
	dir := path.Dir(p)
	pkg := packages[dir]
	if pkg == nil {
		pkg = &Package{Dir: dir}
		packages[dir] = pkg
	}
	f := File{Path: p, Test: strings.HasSuffix(p, "_test.go")}
	if !f.Test || pkg.Name == "" {
		pkg.Name = parsed.Name.Name
	}
	pkg.Documented = pkg.Documented || parsed.Doc != nil

	// What a package is called in this file, by its path's last part unless the file says otherwise.
	called := map[string]string{}
	for _, imp := range parsed.Imports {
		importPath, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return err
		}
		f.Imports = append(f.Imports, importPath)
		called[localName(imp, importPath)] = importPath
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			f.Goroutines = append(f.Goroutines, Place{"go", positions.Position(n.Pos()).Line})
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && called[x.Name] != "" {
				f.Calls = append(f.Calls, Place{called[x.Name] + "." + n.Sel.Name, positions.Position(n.Pos()).Line})
			}
		}
		return true
	})
	pkg.Files = append(pkg.Files, f)
	return nil
}

func localName(imp *ast.ImportSpec, importPath string) string {
	if imp.Name != nil {
		return imp.Name.Name
	}
	last := path.Base(importPath)
	if strings.HasPrefix(last, "v") && strings.Trim(last[1:], "0123456789") == "" {
		last = path.Base(path.Dir(importPath))
	}
	return last
}
