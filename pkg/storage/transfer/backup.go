package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cellfed/cellfed/pkg/storage"
	"github.com/cellfed/cellfed/pkg/version"
)

// Progress is told how far the work has come. progress.Line is one.
type Progress interface {
	Set(label string, done, total int, note string)
	Printf(format string, args ...any)
}

// Summary is what was done.
type Summary struct {
	Objects  int           // what the snapshot holds
	Source   int64         // the revision at which the source was read
	Revision int64         // the target's revision in the end
	Raised   int64         // throw-away writes that raised it
	Expired  int           // objects whose time to live ended before they were checked
	Bytes    int64         // the size of the file
	Took     time.Duration // all in all
}

// Backup writes a snapshot of a database to a new file. The plane on it may go on
// serving. The file has its name only once it is whole, on the disk, and was read again.
func Backup(ctx context.Context, from, out string, progress Progress) (s Summary, err error) {
	begun := time.Now()
	if _, err := os.Lstat(out); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = os.ErrExist
		}
		return s, fmt.Errorf("writing backup %s: %w", out, err)
	}
	file, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+".*.unfinished") // mode 0600
	if err != nil {
		return s, fmt.Errorf("writing backup: %w", err)
	}
	defer func() {
		_ = file.Close()
		if err != nil {
			_ = os.Remove(file.Name()) // the first error tells more
		}
	}()
	whole, err := snapshot(ctx, from, file, progress)
	if err != nil {
		return s, fmt.Errorf("writing backup %s: %w", out, err)
	}
	if err := settle(file, out); err != nil {
		return s, fmt.Errorf("writing backup %s: %w", out, err)
	}
	return Summary{Objects: whole.records, Source: whole.header.Revision, Bytes: whole.size, Took: time.Since(begun)}, nil
}

// settle gives a file its name, for good.
func settle(file *os.File, name string) error {
	if err := file.Sync(); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces what came there meanwhile.
	if err := os.Link(file.Name(), name); err != nil {
		if errors.Is(err, os.ErrExist) {
			return err
		}
		return errors.Join(os.Rename(file.Name(), name), syncDirectory(filepath.Dir(name)))
	}
	return errors.Join(os.Remove(file.Name()), syncDirectory(filepath.Dir(name)))
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// snapshot writes all objects of a database to a file, and reads the file again.
func snapshot(ctx context.Context, from string, file *os.File, progress Progress) (*fileReader, error) {
	source, err := openStore(ctx, storage.Config{Endpoint: from, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	err = source.writeTo(ctx, file, progress)
	if err := errors.Join(err, source.close(ctx)); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return openFile(file, size)
}

func (s *store) writeTo(ctx context.Context, out io.Writer, progress Progress) error {
	if err := s.refuseMarked(ctx); err != nil {
		return err
	}
	// One revision, asked for first: the first page of a list need not be as new as its header says.
	revision, err := s.revision(ctx)
	if err != nil {
		return err
	}
	total, err := s.count(ctx, revision)
	if err != nil {
		return err
	}
	w, err := newFileWriter(out, header{Revision: revision, Prefix: s.prefix, Taken: time.Now().UTC().Truncate(time.Second), Program: "cellfed " + version.String()})
	if err != nil {
		return err
	}
	begun, leases := time.Now(), &leases{client: s.client, left: map[int64]int64{}}
	for kv, err := range s.walk(ctx, revision) {
		if err != nil {
			return err
		}
		ttl, err := leases.ttl(ctx, kv.Lease)
		if err != nil {
			return err
		}
		if err := w.add(record{key: kv.Key, value: kv.Value, lease: kv.Lease, ttl: ttl}); err != nil {
			return err
		}
		progress.Set("reading objects", int(w.records), int(total), rate(int64(w.records), begun))
	}
	return w.finish()
}

// Copy carries the objects of one database into another, empty one. It goes
// through a file, because the source keeps a revision for minutes only and a
// target may take longer.
func Copy(ctx context.Context, from, to string, progress Progress) (s Summary, err error) {
	begun := time.Now()
	file, err := os.CreateTemp("", "cellfed-copy-*") // mode 0600
	if err != nil {
		return s, fmt.Errorf("making a temporary file: %w", err)
	}
	defer func() { _ = file.Close() }()
	// Without a name it is gone when this process is, however that ends.
	if err := os.Remove(file.Name()); err != nil {
		return s, fmt.Errorf("making a temporary file: %w", err)
	}
	whole, err := snapshot(ctx, from, file, progress)
	if err != nil {
		return s, fmt.Errorf("reading the source: %w", err)
	}
	s, err = restore(ctx, whole, to, progress)
	s.Took = time.Since(begun)
	return s, err
}
