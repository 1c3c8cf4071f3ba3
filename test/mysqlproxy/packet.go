package mysqlproxy

import (
	"bufio"
	"errors"
	"io"
)

// maxFrame is the length of a frame that says that its packet goes on in the next one.
const maxFrame = 1<<24 - 1

const frameHeader = 4

// packet is a whole packet: longer ones came in several frames, and are sent so again.
type packet struct {
	sequence byte // of its first frame
	payload  []byte
}

// frames is how many frames a packet takes: one that fills its last frame needs an empty one after it.
func (p packet) frames() int { return len(p.payload)/maxFrame + 1 }

// next is the sequence number after the packet.
func (p packet) next() byte { return p.sequence + byte(p.frames()) }

func (p packet) first() byte {
	if len(p.payload) == 0 {
		return 0
	}
	return p.payload[0]
}

func readPacket(in *bufio.Reader) (packet, error) {
	var out packet
	for frame := 0; ; frame++ {
		var header [frameHeader]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return packet{}, err
		}
		if frame == 0 {
			out.sequence = header[3]
		}
		length := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
		begin := len(out.payload)
		out.payload = append(out.payload, make([]byte, length)...)
		if _, err := io.ReadFull(in, out.payload[begin:]); err != nil {
			return packet{}, err
		}
		if length < maxFrame {
			return out, nil
		}
	}
}

// errCut says that a rule ended the connection.
var errCut = errors.New("cut by a rule")

// noLimit lets a writer write everything.
const noLimit = -1

// writer writes packets, up to a number of bytes if a rule says so.
type writer struct {
	out *bufio.Writer
	// left is how many bytes may still be written; noLimit for all.
	left int
}

func newWriter(out io.Writer) *writer {
	return &writer{out: bufio.NewWriterSize(out, 64<<10), left: noLimit}
}

// write adds a packet to what flush sends. At the limit it sends what there is up to it, and says so by errCut.
func (w *writer) write(p packet) error {
	rest := p.payload
	for sequence := p.sequence; ; sequence++ {
		length := min(len(rest), maxFrame)
		header := []byte{byte(length), byte(length >> 8), byte(length >> 16), sequence}
		if err := w.bytes(header); err != nil {
			return err
		}
		if err := w.bytes(rest[:length]); err != nil {
			return err
		}
		rest = rest[length:]
		if length < maxFrame {
			return nil
		}
	}
}

func (w *writer) bytes(b []byte) error {
	if w.left != noLimit && len(b) >= w.left {
		b = b[:w.left]
		if _, err := w.out.Write(b); err != nil {
			return err
		}
		return errors.Join(errCut, w.out.Flush())
	}
	if w.left != noLimit {
		w.left -= len(b)
	}
	_, err := w.out.Write(b)
	return err
}

func (w *writer) flush() error { return w.out.Flush() }

// send writes a packet at once.
func (w *writer) send(p packet) error {
	if err := w.write(p); err != nil {
		return err
	}
	return w.flush()
}
