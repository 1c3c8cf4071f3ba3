package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Dir is a plane's data directory, held by this process.
type Dir struct {
	path string // absolute
	lock *os.File
}

// ErrInUse says that another process holds the data directory.
var ErrInUse = errors.New("it is in use by another process")

// OpenDir makes the data directory when it is not there, takes hold of it and
// checks that it can be written. Nobody else may look into it: it holds keys.
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding data directory %s: %w", path, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("making data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(abs, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening data directory %s: %w", abs, cause(err))
	}
	d := &Dir{path: abs, lock: lock}
	if err := d.take(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening data directory %s: %w", abs, cause(err)), d.Close())
	}
	return d, nil
}

// take locks the directory. The kernel gives the lock back when this process
// ends, however it ends.
func (d *Dir) take() error {
	err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(d.path, "pid"), fmt.Appendln(nil, os.Getpid()))
}

// Close lets go of the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// Path is the directory as an absolute path.
func (d *Dir) Path() string { return d.path }

// cause drops the path of a file whose name would only confuse the reader.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// Kubeconfig is the administrator's kubeconfig.
func (d *Dir) Kubeconfig() string { return filepath.Join(d.path, "admin.kubeconfig") }

// Database is the default SQLite database.
func (d *Dir) Database() string { return DatabaseIn(d.path) }

// DatabaseIn is the default SQLite database of a data directory that somebody else may hold.
func DatabaseIn(dir string) string { return filepath.Join(dir, "state.db") }

// StorageMark is where the storage keeps how much of its log this server has seen.
func (d *Dir) StorageMark() string { return filepath.Join(d.path, "storage.seen") }

// Sockets is an empty directory for sockets of this process. Whoever holds the data directory is alone in it, so what is
// found there was left behind by a process that was killed.
func (d *Dir) Sockets() (string, error) {
	dir := filepath.Join(d.path, "run")
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("clearing directory of sockets: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making directory of sockets: %w", err)
	}
	return dir, nil
}

// file is a file among the keys and certificates.
func (d *Dir) file(name string) string { return filepath.Join(d.path, "pki", name) }

// writeFile puts a file in place at once, readable for its owner alone. What a
// crash leaves behind is the old file, the new one, or none.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return place(path, data, os.Rename)
}

// writeNewFile is writeFile for a file that must not be there, which is fs.ErrExist.
func writeNewFile(path string, data []byte) error {
	// Seen before anything is written, and, where the file system has links, for sure when it gets its name: a link, unlike a
	// rename, never replaces what came there meanwhile.
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fs.ErrExist
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return place(path, data, func(from, to string) error {
		err := os.Link(from, to)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return os.Rename(from, to)
		}
		return err
	})
}

// place writes a file under a name of no meaning, and has it named when it is whole and safe.
func place(path string, data []byte, name func(from, to string) error) error {
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
		err = name(tmp.Name(), path)
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
