package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is a plane's data directory, as an absolute path.
type Dir string

// OpenDir makes the data directory when it is not there and checks that it can
// be written. Nobody else may look into it: it holds keys.
func OpenDir(path string) (Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding data directory %s: %w", path, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return "", fmt.Errorf("making data directory: %w", err)
	}
	probe, err := os.CreateTemp(abs, ".writable-*")
	if err != nil {
		return "", fmt.Errorf("data directory %s cannot be written: %w", abs, cause(err))
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return "", fmt.Errorf("data directory %s cannot be written: %w", abs, cause(err))
	}
	return Dir(abs), nil
}

// cause drops the path of a probe file, which would only confuse its reader.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// Kubeconfig is the administrator's kubeconfig.
func (d Dir) Kubeconfig() string { return filepath.Join(string(d), "admin.kubeconfig") }

// Database is the default SQLite database.
func (d Dir) Database() string { return filepath.Join(string(d), "state.db") }

// file is a file among the keys and certificates.
func (d Dir) file(name string) string { return filepath.Join(string(d), "pki", name) }

// writeFile puts a file in place at once, readable for its owner alone. What a
// crash leaves behind is the old file, the new one, or none.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

// syncDir makes a rename outlive a power cut. An encryption key that is used but
// gone after one would take all stored secrets with it.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
