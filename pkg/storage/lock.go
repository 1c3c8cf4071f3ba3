package storage

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process, or another server in this one, has the
// database open.
var ErrLocked = errors.New("the database is in use by another process")

// fileLock keeps a second server away from the database. SQLite itself would
// admit it, and two writers that each number revisions by themselves would
// tell their watchers different histories.
type fileLock struct{ file *os.File }

// lockFile takes the lock beside the database. The kernel drops it when the
// process ends, however it ends, so the file itself may stay.
func lockFile(path string) (*fileLock, error) {
	name := path + ".lock"
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return &fileLock{file: file}, nil
}

func (l *fileLock) unlock() error { return l.file.Close() }
