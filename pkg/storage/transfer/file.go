package transfer

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// A file is
//
//	magic, a line of text
//	compressed by gzip:
//	  length, header as JSON
//	  length > 0, record    (once for each object, in the order of their keys)
//	  0, number of records
//	sha256 of all that stands before it
//
// where numbers are variable-length integers and a record is
//
//	length, key, lease, time to live, value
const (
	magic  = "CellFed backup, format 1\n"
	family = "CellFed backup, format "

	// longestRecord keeps a file from asking for all memory.
	longestRecord = 256 << 20
)

// header says where a file's objects come from.
type header struct {
	// Revision of the source at which they were read.
	Revision int64 `json:"revision"`
	// Prefix of all keys. It cannot be another one at the target: what is encrypted
	// is bound to its whole key.
	Prefix string    `json:"prefix"`
	Taken  time.Time `json:"taken"`
	// Program that wrote the file.
	Program string `json:"program"`
}

var errDamaged = errors.New("the file is damaged or cut short")

// fileWriter writes a file's content.
type fileWriter struct {
	file    *bufio.Writer
	sum     hash.Hash
	zip     *gzip.Writer
	records uint64
	scratch []byte
}

func newFileWriter(out io.Writer, h header) (*fileWriter, error) {
	w := &fileWriter{file: bufio.NewWriterSize(out, 1<<20), sum: sha256.New()}
	both := io.MultiWriter(w.file, w.sum)
	if _, err := io.WriteString(both, magic); err != nil {
		return nil, err
	}
	var err error
	if w.zip, err = gzip.NewWriterLevel(both, gzip.BestSpeed); err != nil {
		return nil, err
	}
	data, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return w, w.frame(data)
}

func (w *fileWriter) frame(data []byte) error {
	if _, err := w.zip.Write(binary.AppendUvarint(nil, uint64(len(data)))); err != nil {
		return err
	}
	_, err := w.zip.Write(data)
	return err
}

func (w *fileWriter) add(r record) error {
	b := binary.AppendUvarint(w.scratch[:0], uint64(len(r.key)))
	b = append(b, r.key...)
	b = binary.AppendVarint(b, r.lease)
	b = binary.AppendVarint(b, r.ttl)
	w.scratch = append(b, r.value...)
	w.records++
	return w.frame(w.scratch)
}

// finish writes what makes the file whole.
func (w *fileWriter) finish() error {
	if _, err := w.zip.Write(binary.AppendUvarint([]byte{0}, w.records)); err != nil {
		return err
	}
	if err := w.zip.Close(); err != nil {
		return err
	}
	if _, err := w.file.Write(w.sum.Sum(nil)); err != nil {
		return err
	}
	return w.file.Flush()
}

// fileReader reads a file's content, from its beginning each time.
type fileReader struct {
	in      io.ReaderAt
	size    int64
	header  header
	records int
}

// openFile takes a file that is whole in every respect, and no other.
func openFile(in io.ReaderAt, size int64) (*fileReader, error) {
	f := &fileReader{in: in, size: size}
	if err := f.checkSum(); err != nil {
		return nil, err
	}
	// The sum is right, but only what can be read to its end is known to be of use.
	for r, err := range f.all() {
		switch {
		case err != nil:
			return nil, err
		case !space{f.header.Prefix}.contains(string(r.key)):
			return nil, fmt.Errorf("the file holds key %q, which does not begin with %s/", r.key, f.header.Prefix)
		}
		f.records++
	}
	return f, nil
}

func (f *fileReader) checkSum() error {
	begin := make([]byte, len(magic))
	n, err := f.in.ReadAt(begin, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch begin = begin[:n]; {
	case string(begin) == magic:
	case len(begin) > len(family) && string(begin[:len(family)]) == family:
		return fmt.Errorf("the file says %q: a newer program wrote it", begin[:len(begin)-1])
	default:
		return errors.New("the file is no backup of a plane")
	}
	body := f.size - sha256.Size
	if body < int64(len(magic)) {
		return errDamaged
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f.in, 0, body)); err != nil {
		return err
	}
	said := make([]byte, sha256.Size)
	if _, err := f.in.ReadAt(said, body); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(sum.Sum(nil)) != string(said) {
		return errDamaged
	}
	return nil
}

// all gives the records in order. It ends with an error unless it gave all.
func (f *fileReader) all() func(yield func(record, error) bool) {
	return func(yield func(record, error) bool) {
		from := int64(len(magic))
		zip, err := gzip.NewReader(bufio.NewReaderSize(io.NewSectionReader(f.in, from, f.size-sha256.Size-from), 1<<20))
		if err != nil {
			yield(record{}, fmt.Errorf("%w: %w", errDamaged, err))
			return
		}
		zip.Multistream(false)
		in := bufio.NewReaderSize(zip, 1<<20)
		head, err := readFrame(in)
		if err == nil {
			err = json.Unmarshal(head, &f.header)
		}
		if err != nil {
			yield(record{}, fmt.Errorf("%w: reading its header: %w", errDamaged, err))
			return
		}
		eachRecord(in, yield)
	}
}

// eachRecord reads what follows the header.
func eachRecord(in *bufio.Reader, yield func(record, error) bool) {
	var last string
	for n := uint64(0); ; n++ {
		frame, err := readFrame(in)
		var r record
		switch {
		case err != nil:
		case frame == nil:
			said, err := binary.ReadUvarint(in)
			if err != nil || said != n {
				yield(r, fmt.Errorf("%w: it holds %d objects and says %d", errDamaged, n, said))
			}
			return
		default:
			r, err = parseRecord(frame)
		}
		if err == nil && n > 0 && string(r.key) <= last {
			err = fmt.Errorf("key %q comes after %q", r.key, last)
		}
		if err != nil {
			yield(r, fmt.Errorf("%w: object %d: %w", errDamaged, n+1, err))
			return
		}
		if last = string(r.key); !yield(r, nil) {
			return
		}
	}
}

// readFrame reads what a length stands before; nil = the end.
func readFrame(in *bufio.Reader) ([]byte, error) {
	size, err := binary.ReadUvarint(in)
	switch {
	case err != nil:
		return nil, err
	case size == 0:
		return nil, nil
	case size > longestRecord:
		return nil, fmt.Errorf("it is said to have %d bytes", size)
	}
	frame := make([]byte, size)
	_, err = io.ReadFull(in, frame)
	return frame, err
}

func parseRecord(b []byte) (record, error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return record{}, errors.New("its key cannot be read")
	}
	r := record{key: b[n : n+int(size)]}
	b = b[n+int(size):]
	for _, number := range []*int64{&r.lease, &r.ttl} {
		if *number, n = binary.Varint(b); n <= 0 {
			return record{}, fmt.Errorf("the lease of %q cannot be read", r.key)
		}
		b = b[n:]
	}
	r.value = b
	return r, nil
}
