package mysqlproxy

import (
	"errors"
	"fmt"
)

// answer passes the server's answer to a statement on, with at most so many rows before the cut.
func (s *session) answer(st Statement, rows int) error {
	if st.Phase == Preparing {
		return s.preparedAnswer(st)
	}
	changes := s.proxy.rewriting(st)
	for {
		more, err := s.result(st, rows, changes)
		if err != nil {
			// Rows before the cut are the client's, and what comes after an error it cannot use.
			return errors.Join(err, s.toClient.flush())
		}
		if !more {
			return s.toClient.flush()
		}
	}
}

// preparedAnswer passes the answer to a PREPARE on and learns the statement's number.
func (s *session) preparedAnswer(st Statement) error {
	p, err := s.forward()
	if err != nil {
		return err
	}
	if p.first() != firstOK || len(p.payload) < prepareOKLength {
		return s.toClient.flush()
	}
	d := decoder{rest: p.payload[1:]}
	s.prepared[uint32(d.number(4))] = st.Text
	for _, definitions := range []uint64{d.number(2), d.number(2)} {
		if definitions > 0 && !s.deprecateEOF {
			definitions++
		}
		for range definitions {
			if _, err := s.forward(); err != nil {
				return err
			}
		}
	}
	return s.toClient.flush()
}

// forward passes one packet on.
func (s *session) forward() (packet, error) {
	p, err := s.next()
	if err != nil {
		return p, err
	}
	return p, s.write(p.payload)
}

// result passes one result on, and tells whether another follows.
func (s *session) result(st Statement, rows int, changes []RowFunc) (more bool, err error) {
	p, err := s.forward()
	if err != nil {
		return false, err
	}
	switch p.first() {
	case firstOK:
		return statusOfOK(p.payload)&statusMore != 0, nil
	case firstError:
		return false, nil
	case firstInfile:
		return false, errors.New("the server asks for a file, though the proxy told it that there are none")
	}
	count := decoder{rest: p.payload}
	columns := make([]column, count.length())
	for i := range columns {
		p, err := s.forward()
		if err != nil {
			return false, err
		}
		if columns[i], err = readColumn(p.payload); err != nil {
			return false, err
		}
	}
	if !s.deprecateEOF {
		if _, err := s.forward(); err != nil {
			return false, err
		}
	}
	return s.rows(st, columns, rows, changes)
}

func (s *session) rows(st Statement, columns []column, limit int, changes []RowFunc) (more bool, err error) {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	for sent := 0; ; sent++ {
		p, err := s.next()
		if err != nil {
			return false, err
		}
		if p.first() == firstError {
			return false, s.write(p.payload)
		}
		if sent == limit {
			return false, errCut
		}
		if status, ends := endOf(p.payload, s.deprecateEOF); ends {
			return status&statusMore != 0, s.write(p.payload)
		}
		payload, keep := p.payload, true
		if len(changes) > 0 {
			if payload, keep, err = s.change(st, names, columns, payload, changes); err != nil {
				return false, err
			}
		}
		if !keep {
			sent--
			continue
		}
		if err := s.write(payload); err != nil {
			return false, err
		}
	}
}

// change is a row after all rewrites, and whether it is still to be passed on.
func (s *session) change(st Statement, names []string, columns []column, payload []byte, changes []RowFunc) ([]byte, bool, error) {
	read := readTextRow
	if st.Prepared {
		read = readBinaryRow
	}
	values, err := read(payload, columns)
	if err != nil {
		return nil, false, fmt.Errorf("rewriting the answer to %q: %w", st.Text, err)
	}
	for _, change := range changes {
		if !change(st, names, values) {
			return nil, false, nil
		}
	}
	out, err := s.row(values, columns, st.Prepared)
	if err != nil {
		return nil, false, fmt.Errorf("rewriting the answer to %q: %w", st.Text, err)
	}
	return out, true, nil
}

func (s *session) row(values [][]byte, columns []column, prepared bool) ([]byte, error) {
	if prepared {
		return binaryRow(values, columns)
	}
	return textRow(values), nil
}
