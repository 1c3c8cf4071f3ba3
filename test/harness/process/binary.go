package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Binary finds a built binary: in CELLFED_BIN_DIR, else in bin/ of the repository.
func Binary(name string) (string, error) {
	dir := os.Getenv("CELLFED_BIN_DIR")
	if dir == "" {
		root, err := repositoryRoot()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, "bin")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is not there: run make build tools", path)
	} else if err != nil {
		return "", fmt.Errorf("finding binary: %w", err)
	}
	return path, nil
}

// repositoryRoot is the folder of go.mod, above the folder a test runs in.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("finding repository: no go.mod above the working directory; set CELLFED_BIN_DIR")
		}
		dir = parent
	}
}
