package mysqlproxy

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// Types of columns that do not travel as text in binary rows.
const (
	typeTiny      = 0x01
	typeShort     = 0x02
	typeLong      = 0x03
	typeFloat     = 0x04
	typeDouble    = 0x05
	typeNull      = 0x06
	typeTimestamp = 0x07
	typeLongLong  = 0x08
	typeInt24     = 0x09
	typeDate      = 0x0a
	typeTime      = 0x0b
	typeDateTime  = 0x0c
	typeYear      = 0x0d
	typeText      = 0xfd
)

const (
	// null stands for a value in rows of text.
	null = 0xfb
	// unusedNulls are the first bits of a binary row's null map, which mean nothing.
	unusedNulls = 2
)

// widths are how many bytes numbers take in binary rows.
var widths = map[byte]int{typeTiny: 1, typeShort: 2, typeYear: 2, typeLong: 4, typeInt24: 4, typeLongLong: 8, typeFloat: 4, typeDouble: 8}

// readTextRow reads the values of a row, nil for NULL.
func readTextRow(payload []byte, columns []column) ([][]byte, error) {
	d := decoder{rest: payload}
	out := make([][]byte, len(columns))
	for i := range columns {
		if len(d.rest) > 0 && d.rest[0] == null {
			d.take(1)
			continue
		}
		out[i] = append([]byte{}, d.text()...)
	}
	if d.err != nil {
		return nil, fmt.Errorf("reading a row: %w", d.err)
	}
	return out, nil
}

func textRow(values [][]byte) []byte {
	var out []byte
	for _, v := range values {
		if v == nil {
			out = append(out, null)
		} else {
			out = appendText(out, v)
		}
	}
	return out
}

// readBinaryRow reads the values of a row of a prepared statement as text. Times stay as they travel.
func readBinaryRow(payload []byte, columns []column) ([][]byte, error) {
	d := decoder{rest: payload}
	d.take(1)
	nulls := d.take((len(columns) + unusedNulls + 7) / 8)
	out := make([][]byte, len(columns))
	for i, c := range columns {
		if bit := i + unusedNulls; d.err != nil || nulls[bit/8]&(1<<(bit%8)) != 0 {
			continue
		}
		switch width, number := widths[c.kind]; {
		case number:
			out[i] = c.text(d.number(width))
		case c.kind == typeNull:
		case c.kind == typeDate, c.kind == typeDateTime, c.kind == typeTimestamp, c.kind == typeTime:
			out[i] = append([]byte{}, d.take(int(d.number(1)))...)
		default:
			out[i] = append([]byte{}, d.text()...)
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("reading a binary row: %w", d.err)
	}
	return out, nil
}

// text is a number of the column's type as people write it.
func (c column) text(bits uint64) []byte {
	switch {
	case c.kind == typeFloat:
		return strconv.AppendFloat(nil, float64(math.Float32frombits(uint32(bits))), 'g', -1, 32)
	case c.kind == typeDouble:
		return strconv.AppendFloat(nil, math.Float64frombits(bits), 'g', -1, 64)
	case c.unsigned:
		return strconv.AppendUint(nil, bits, 10)
	}
	unused := 64 - 8*widths[c.kind]
	return strconv.AppendInt(nil, int64(bits<<unused)>>unused, 10)
}

// bits is the opposite of text.
func (c column) bits(text []byte) (uint64, error) {
	switch {
	case c.kind == typeFloat:
		f, err := strconv.ParseFloat(string(text), 32)
		return uint64(math.Float32bits(float32(f))), err
	case c.kind == typeDouble:
		f, err := strconv.ParseFloat(string(text), 64)
		return math.Float64bits(f), err
	case c.unsigned:
		return strconv.ParseUint(string(text), 10, 8*widths[c.kind])
	}
	i, err := strconv.ParseInt(string(text), 10, 8*widths[c.kind])
	return uint64(i), err
}

func binaryRow(values [][]byte, columns []column) ([]byte, error) {
	nulls := make([]byte, (len(columns)+unusedNulls+7)/8)
	var body []byte
	for i, c := range columns {
		v := values[i]
		if v == nil {
			bit := i + unusedNulls
			nulls[bit/8] |= 1 << (bit % 8)
			continue
		}
		switch width, number := widths[c.kind]; {
		case number:
			bits, err := c.bits(v)
			if err != nil {
				return nil, fmt.Errorf("writing column %s: %w", c.name, err)
			}
			body = append(body, binary.LittleEndian.AppendUint64(nil, bits)[:width]...)
		case c.kind == typeDate, c.kind == typeDateTime, c.kind == typeTimestamp, c.kind == typeTime:
			body = append(append(body, byte(len(v))), v...)
		default:
			body = appendText(body, v)
		}
	}
	return append(append([]byte{firstOK}, nulls...), body...), nil
}
