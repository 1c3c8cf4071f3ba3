package database

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// owner is the file that says, by its lock, that somebody still uses a directory.
const owner = "owner"

// directory is a temporary directory that goes with its owner, at the latest when the next one is made.
type directory struct {
	path string
	lock *os.File
}

// newDirectory makes a directory for a database, and removes those of test binaries that were killed: they are large.
func newDirectory(kind string) (_ *directory, err error) {
	prefix := "cellfed-" + kind + "-"
	if err := removeOrphans(prefix); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, fmt.Errorf("making directory for %s: %w", kind, err)
	}
	// Nobody may see the file before it is locked.
	lock, err := os.CreateTemp(path, owner+"-")
	if err != nil {
		return nil, fmt.Errorf("making directory for %s: %w", kind, err)
	}
	err = errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX), os.Rename(lock.Name(), filepath.Join(path, owner)))
	if err != nil {
		return nil, fmt.Errorf("locking directory for %s: %w", kind, err)
	}
	return &directory{path: path, lock: lock}, nil
}

func removeOrphans(prefix string) error {
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*", owner))
	if err != nil {
		return fmt.Errorf("looking for directories left behind: %w", err)
	}
	for _, l := range locks {
		file, err := os.Open(l)
		if err != nil {
			continue // another test binary was quicker, or it is another user's
		}
		if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = os.RemoveAll(filepath.Dir(l))
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("removing a directory left behind: %w", err)
		}
	}
	return nil
}

func (d *directory) remove() error {
	if err := errors.Join(os.RemoveAll(d.path), d.lock.Close()); err != nil {
		return fmt.Errorf("removing directory of a database: %w", err)
	}
	return nil
}
