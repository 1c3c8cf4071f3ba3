package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// mark is the high-water mark beside the plane: how much of which log this server
// has seen. A database that was restored from an older copy, or whose successor
// lacks the last rows, shows by it, also after a restart. It is written with each
// publication, which a kill of the process cannot undo, and synced now and then: a
// power cut of this machine and a loss in the database at the same moment are
// beyond it.
type mark struct {
	mu     sync.Mutex
	file   *os.File // nil = none is kept
	synced time.Time
}

const (
	markWord   = "cellfed-seen-1"
	markFormat = markWord + " %019d %019d %019d\n" // revision, epoch, stamp; always as long, so that one write replaces all
	markSync   = time.Second
)

// openMark opens the file, or makes it, and tells what it says; zero = nothing.
func openMark(path string) (*mark, tip, error) {
	if path == "" {
		return &mark{}, tip{}, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, tip{}, fmt.Errorf("opening the record of what was seen: %w", err)
	}
	var t tip
	content, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<10))
	if err == nil && len(content) > 0 {
		_, err = fmt.Sscanf(string(content), markWord+" %d %d %d", &t.revision, &t.epoch, &t.stamp)
	}
	if err != nil {
		return nil, tip{}, errors.Join(fmt.Errorf("reading the record of what was seen: %s is damaged, remove it if the database has lost nothing: %w", path, err), file.Close())
	}
	return &mark{file: file}, t, nil
}

func (m *mark) set(t tip) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return
	}
	_, err := m.file.WriteAt(fmt.Appendf(nil, markFormat, t.revision, t.epoch, t.stamp), 0)
	if err == nil && time.Since(m.synced) > markSync {
		m.synced = time.Now()
		err = m.file.Sync()
	}
	if err != nil {
		// A full disk here is no reason to stop: the mark only falls behind.
		klog.V(1).InfoS("Recording what was seen failed", "err", err)
	}
}

func (m *mark) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	err := errors.Join(m.file.Sync(), m.file.Close())
	m.file = nil
	return err
}
