package mysqlproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Commands that clients send.
const (
	comQuit         = 0x01
	comInitDB       = 0x02
	comQuery        = 0x03
	comStatistics   = 0x09
	comPing         = 0x0e
	comPrepare      = 0x16
	comExecute      = 0x17
	comLongData     = 0x18
	comClose        = 0x19
	comReset        = 0x1a
	comSetOption    = 0x1b
	comResetSession = 0x1f
)

// First bytes of answers.
const (
	firstOK     = 0x00
	firstInfile = 0xfb
	firstEnd    = 0xfe
	firstError  = 0xff
)

// Capabilities that the proxy must know of: how results end, and what it takes away because it does not understand it.
const (
	capCompress     = 1 << 5
	capLocalFiles   = 1 << 7
	capSSL          = 1 << 11
	capDeprecateEOF = 1 << 24
	capOptionalMeta = 1 << 25
	capZstd         = 1 << 26
	capQueryAttrs   = 1 << 27
	capMultiFactor  = 1 << 28
	notUnderstood   = capCompress | capSSL | capLocalFiles | capOptionalMeta | capZstd | capQueryAttrs | capMultiFactor
)

const (
	greetingVersion = 10
	// statusMore says that another result follows.
	statusMore      = 0x0008
	prepareOKLength = 12
	// shortEOF is longer than an EOF packet; rows that begin with the same byte are.
	shortEOF = 9
)

var errShort = errors.New("the packet is too short")

// decoder reads a packet's fields and remembers the first fault.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.rest) {
		d.err = errors.Join(d.err, errShort)
		return nil
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out
}

// number reads an unsigned number of n bytes.
func (d *decoder) number(n int) uint64 {
	var out [8]byte
	copy(out[:], d.take(n))
	return binary.LittleEndian.Uint64(out[:])
}

// length reads a number that says how long it is.
func (d *decoder) length() uint64 {
	switch first := d.number(1); first {
	case 0xfc:
		return d.number(2)
	case 0xfd:
		return d.number(3)
	case 0xfe:
		return d.number(8)
	default:
		return first
	}
}

// text reads bytes that say how many they are.
func (d *decoder) text() []byte { return d.take(int(d.length())) }

// zero reads bytes up to a zero.
func (d *decoder) zero() []byte {
	end := bytes.IndexByte(d.rest, 0)
	out := d.take(end)
	d.take(1)
	return out
}

func appendLength(out []byte, n int) []byte {
	switch {
	case n < 0xfb:
		return append(out, byte(n))
	case n < 1<<16:
		return append(out, 0xfc, byte(n), byte(n>>8))
	case n < 1<<24:
		return append(out, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(out, 0xfe), uint64(n))
}

func appendText(out, text []byte) []byte { return append(appendLength(out, len(text)), text...) }

// greet rewrites a server's first packet: another version if one is given, and only what the proxy understands.
func greet(p packet, version string, withhold uint32) (packet, uint32, error) {
	d := decoder{rest: p.payload}
	if v := d.number(1); d.err == nil && v != greetingVersion {
		return p, 0, fmt.Errorf("the server greets with protocol version %d", v)
	}
	original := string(d.zero())
	if version == "" {
		version = original
	}
	d.take(4 + 8 + 1) // thread, half of the salt, filler
	capabilities := uint32(d.number(2))
	rest := d.rest
	d.take(1 + 2) // character set, status
	capabilities |= uint32(d.number(2)) << 16
	d.take(1 + 6) // length of the salt, reserved
	d.take(4)     // MariaDB's extensions
	if d.err != nil {
		return p, 0, fmt.Errorf("reading the greeting: %w", d.err)
	}
	capabilities &^= withhold | notUnderstood
	begin := len(p.payload) - len(rest) // after the lower capabilities
	payload := append([]byte{greetingVersion}, version...)
	payload = append(payload, p.payload[1+len(original):]...)
	shift := len(version) - len(original)
	binary.LittleEndian.PutUint16(payload[begin+shift-2:], uint16(capabilities))
	binary.LittleEndian.PutUint16(payload[begin+shift+3:], uint16(capabilities>>16))
	clear(payload[begin+shift+12 : begin+shift+16])
	return packet{sequence: p.sequence, payload: payload}, capabilities, nil
}

// Error is an error as a server answers it.
type Error struct {
	Code    uint16
	State   string
	Message string
}

func (e Error) packet(sequence byte) packet {
	out := binary.LittleEndian.AppendUint16([]byte{firstError}, e.Code)
	out = append(out, '#')
	out = append(out, (e.State + "HY000")[:5]...)
	return packet{sequence: sequence, payload: append(out, e.Message...)}
}

// column is what the proxy has to know of a column.
type column struct {
	name     string
	kind     byte
	unsigned bool
}

func readColumn(payload []byte) (column, error) {
	d := decoder{rest: payload}
	for range 4 { // catalog, schema, table, original table
		d.text()
	}
	c := column{name: string(d.text())}
	d.text()      // original name
	d.length()    // of the fixed part
	d.take(2 + 4) // character set, width
	c.kind = byte(d.number(1))
	c.unsigned = d.number(2)&0x20 != 0
	if d.err != nil {
		return c, fmt.Errorf("reading a column: %w", d.err)
	}
	return c, nil
}

// textColumn defines a column of text.
func textColumn(name string) []byte {
	out := appendText(nil, []byte("def"))
	for range 3 {
		out = appendText(out, nil)
	}
	out = appendText(appendText(out, []byte(name)), nil)
	const utf8mb4, width = 45, 1 << 16
	out = binary.LittleEndian.AppendUint16(append(out, 0x0c), utf8mb4)
	out = binary.LittleEndian.AppendUint32(out, width)
	return append(out, typeText, 0, 0, 0, 0, 0)
}

// endOf tells whether a packet among rows ends them, and the status it carries.
func endOf(payload []byte, deprecateEOF bool) (status uint16, ends bool) {
	if len(payload) == 0 || payload[0] != firstEnd {
		return 0, false
	}
	if !deprecateEOF {
		if len(payload) >= shortEOF {
			return 0, false
		}
		d := decoder{rest: payload[1:]}
		d.take(2) // warnings
		return uint16(d.number(2)), true
	}
	if len(payload) >= maxFrame {
		return 0, false // a row that begins with a very long text
	}
	return statusOfOK(payload), true
}

// statusOfOK is the status in an OK packet.
func statusOfOK(payload []byte) uint16 {
	d := decoder{rest: payload[1:]}
	d.length() // affected rows
	d.length() // last insert id
	return uint16(d.number(2))
}
