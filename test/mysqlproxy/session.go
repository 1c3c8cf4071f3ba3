package mysqlproxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// session is one client's connection and the one to the server that belongs to it.
type session struct {
	proxy  *Proxy
	id     int64
	ctx    context.Context
	cancel context.CancelFunc
	// ended is closed when both connections are.
	ended chan struct{}

	client, server         net.Conn
	toClient, toServer     *writer
	fromClient, fromServer <-chan packet
	// sequence numbers the packets of an answer: rows may be left out of it.
	sequence     byte
	deprecateEOF bool
	// prepared are the texts of prepared statements as the client wrote them.
	prepared map[uint32]string
}

func (s *session) run() {
	defer s.close()
	// Who reads or writes is woken by the end of its connection.
	context.AfterFunc(s.ctx, func() { _ = s.client.Close() })
	err := s.connect()
	for err == nil {
		select {
		case p, ok := <-s.fromClient:
			if !ok {
				return
			}
			err = s.command(p)
		case p, ok := <-s.fromServer:
			// The server speaks unasked when it says goodbye.
			if err = s.proxy.pass(s.ctx); err == nil && !ok {
				return
			}
			if err == nil {
				err = s.toClient.send(p)
			}
		case <-s.ctx.Done():
			return
		}
	}
	if !expected(err) {
		s.tell(Statement{Connection: s.id}, err.Error())
	}
}

func (s *session) close() {
	s.cancel()
	_ = s.client.Close() // it may be closed already
	if s.server != nil {
		_ = s.server.Close() // as above
	}
}

// expected tells whether a connection's end is nothing to speak of.
func expected(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errCut) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)
}

// packets reads a connection until it ends, and closes the channel then.
func (s *session) packets(conn net.Conn) <-chan packet {
	out := make(chan packet, 16)
	s.proxy.running.Go(func() {
		defer close(out)
		in := bufio.NewReaderSize(conn, 64<<10)
		for {
			p, err := readPacket(in)
			if err != nil {
				return
			}
			select {
			case out <- p:
			case <-s.ctx.Done():
				return
			}
		}
	})
	return out
}

// connect goes through the first phase of a connection, and its faults.
func (s *session) connect() error {
	if err := s.proxy.pass(s.ctx); err != nil {
		return err
	}
	st := Statement{Phase: Connecting, Connection: s.id}
	fault, rule := s.begin(st)
	if fault.before != nil {
		if err := fault.before(s.ctx); err != nil {
			return err
		}
	}
	if fault.cut == beforeForwarding {
		return errCut
	}
	if fault.fail != nil {
		return errors.Join(s.toClient.send(fault.fail.packet(0)), errCut)
	}
	if err := s.dial(); err != nil {
		return err
	}
	switch {
	case fault.cut == beforeAnswer:
		<-s.fromServer
		return errCut
	case fault.cut == inRequest:
		s.toServer.left = fault.at
	case fault.cut == atByte:
		s.toClient.left = fault.at
	case fault.after != nil:
		if err := fault.after(s.ctx); err != nil {
			return err
		}
	}
	return s.settle(fault, rule, s.authenticate())
}

func (s *session) dial() error {
	s.proxy.mu.Lock()
	address := s.proxy.server
	s.proxy.mu.Unlock()
	server, err := (&net.Dialer{}).DialContext(s.ctx, s.proxy.options.Network, address)
	if err != nil {
		return fmt.Errorf("connecting to the server: %w", err)
	}
	s.server, s.toServer = server, newWriter(server)
	context.AfterFunc(s.ctx, func() { _ = server.Close() })
	s.fromClient, s.fromServer = s.packets(s.client), s.packets(server)
	return nil
}

// authenticate passes everything on until the server lets the client in or not.
func (s *session) authenticate() error {
	greeting, ok := <-s.fromServer
	if !ok {
		return io.EOF
	}
	if greeting.first() == firstError {
		return errors.Join(s.toClient.send(greeting), io.EOF)
	}
	s.proxy.mu.Lock()
	version := s.proxy.version
	s.proxy.mu.Unlock()
	withhold := uint32(0)
	if s.proxy.options.OldEOF {
		withhold = capDeprecateEOF
	}
	greeting, offered, err := greet(greeting, version, withhold)
	if err != nil {
		return err
	}
	if err := s.toClient.send(greeting); err != nil {
		return err
	}
	for answered := false; ; {
		select {
		case p, ok := <-s.fromClient:
			if !ok {
				return io.EOF
			}
			if !answered {
				answered = true
				wanted := decoder{rest: p.payload}
				s.deprecateEOF = uint32(wanted.number(4))&offered&capDeprecateEOF != 0
			}
			if err := s.toServer.send(p); err != nil {
				return err
			}
		case p, ok := <-s.fromServer:
			if !ok {
				return io.EOF
			}
			if err := errors.Join(s.proxy.pass(s.ctx), s.toClient.send(p)); err != nil {
				return err
			}
			switch p.first() {
			case firstOK:
				return nil
			case firstError:
				return io.EOF
			}
		}
	}
}

// begin counts and tells a statement and chooses what happens to it.
func (s *session) begin(st Statement) (Fault, *Active) {
	s.proxy.counts.count(st)
	fault, rule := s.proxy.choose(st)
	s.tell(st, fault.name)
	if fault.cut != atRow && fault.cut != atByte && fault.cut != inRequest && fault.name != "" {
		rule.happened()
	}
	return fault, rule
}

// settle tells whether a cut at a place happened: the answer may have ended before it.
func (s *session) settle(fault Fault, rule *Active, err error) error {
	if fault.cut != atRow && fault.cut != atByte && fault.cut != inRequest {
		return err
	}
	if errors.Is(err, errCut) {
		rule.happened()
		return err
	}
	rule.passed()
	s.toClient.left, s.toServer.left = noLimit, noLimit
	return err
}

// command does what a client asks for.
func (s *session) command(p packet) error {
	if err := s.proxy.pass(s.ctx); err != nil {
		return err
	}
	s.sequence = p.next()
	body := p.payload[min(1, len(p.payload)):]
	switch p.first() {
	case comQuit:
		return errors.Join(s.toServer.send(p), io.EOF)
	case comClose:
		delete(s.prepared, number(body))
		return s.toServer.send(p)
	case comLongData:
		return s.toServer.send(p)
	case comQuery:
		return s.statement(Statement{Text: string(body), Connection: s.id}, p)
	case comPrepare:
		return s.statement(Statement{Text: string(body), Phase: Preparing, Connection: s.id}, p)
	case comExecute:
		return s.statement(Statement{Text: s.prepared[number(body)], Prepared: true, Connection: s.id}, p)
	case comInitDB, comPing, comStatistics, comReset, comSetOption, comResetSession:
		if err := s.toServer.send(p); err != nil {
			return err
		}
		answer, err := s.next()
		if err != nil {
			return err
		}
		return errors.Join(s.write(answer.payload), s.toClient.flush())
	}
	unknown := Error{1047, "08S01", fmt.Sprintf("mysqlproxy does not understand command %d", p.first())}
	return errors.Join(s.write(unknown.packet(0).payload), s.toClient.flush())
}

// number is a prepared statement's number at the beginning of a command's body.
func number(body []byte) uint32 {
	if len(body) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(body)
}

// statement does what a client asks for with the fault that it meets.
func (s *session) statement(st Statement, p packet) error {
	fault, rule := s.begin(st)
	if fault.before != nil {
		if err := errors.Join(fault.before(s.ctx), s.proxy.pass(s.ctx)); err != nil {
			return err
		}
	}
	switch {
	case fault.cut == beforeForwarding:
		return errCut
	case fault.fail != nil:
		return s.fail(*fault.fail)
	case fault.reply != nil:
		return s.reply(*fault.reply, st.Prepared)
	case fault.cut == inRequest:
		s.toServer.left = fault.at
	}
	if st.Phase == Preparing || !st.Prepared {
		p.payload = append(p.payload[:1:1], s.proxy.translated(st.Text)...)
	}
	if err := s.toServer.send(p); err != nil {
		return s.settle(fault, rule, err)
	}
	switch {
	case fault.cut == beforeAnswer:
		s.toClient = newWriter(io.Discard)
		return errors.Join(s.answer(st, noLimit), errCut)
	case fault.after != nil:
		if err := fault.after(s.ctx); err != nil {
			return err
		}
	case fault.cut == atByte:
		s.toClient.left = fault.at
	}
	rows := noLimit
	if fault.cut == atRow {
		rows = fault.at
	}
	if err := s.proxy.pass(s.ctx); err != nil {
		return err
	}
	return s.settle(fault, rule, s.answer(st, rows))
}

// fail answers with an error of the proxy's.
func (s *session) fail(e Error) error {
	if e.Code == ErrDeadlock.Code {
		if err := s.toServer.send(packet{payload: append([]byte{comQuery}, "ROLLBACK"...)}); err != nil {
			return err
		}
		if _, err := s.next(); err != nil {
			return err
		}
	}
	return errors.Join(s.write(e.packet(0).payload), s.toClient.flush())
}

// reply answers with a result of the proxy's.
func (s *session) reply(r Result, prepared bool) error {
	const autocommit = 2
	ok := func(first byte) []byte { return []byte{first, 0, 0, autocommit, 0, 0, 0} }
	end := ok(firstEnd)
	if !s.deprecateEOF {
		end = []byte{firstEnd, 0, 0, autocommit, 0}
	}
	if len(r.Columns) == 0 {
		return errors.Join(s.write(ok(firstOK)), s.toClient.flush())
	}
	packets := [][]byte{appendLength(nil, len(r.Columns))}
	columns := make([]column, len(r.Columns))
	for i, name := range r.Columns {
		columns[i] = column{name: name, kind: typeText}
		packets = append(packets, textColumn(name))
	}
	if !s.deprecateEOF {
		packets = append(packets, end)
	}
	for _, values := range r.Rows {
		row := make([][]byte, len(values))
		for i, v := range values {
			row[i] = []byte(v)
		}
		payload, err := s.row(row, columns, prepared)
		if err != nil {
			return err
		}
		packets = append(packets, payload)
	}
	for _, payload := range append(packets, end) {
		if err := s.write(payload); err != nil {
			return err
		}
	}
	return s.toClient.flush()
}

// next is the server's next packet. What was written for the client goes out while there is none.
func (s *session) next() (packet, error) {
	select {
	case p, ok := <-s.fromServer:
		if !ok {
			return p, io.EOF
		}
		return p, nil
	default:
	}
	if err := s.toClient.flush(); err != nil {
		return packet{}, err
	}
	select {
	case p, ok := <-s.fromServer:
		if !ok {
			return p, io.EOF
		}
		return p, nil
	case <-s.ctx.Done():
		return packet{}, s.ctx.Err()
	}
}

// write adds a packet to the answer.
func (s *session) write(payload []byte) error {
	p := packet{sequence: s.sequence, payload: payload}
	s.sequence = p.next()
	return s.toClient.write(p)
}

// tell adds a line to the log.
func (s *session) tell(st Statement, what string) {
	if s.proxy.options.Log == nil {
		return
	}
	const enough = 300
	text := strings.Join(strings.Fields(st.Text), " ")
	s.proxy.log.Lock()
	defer s.proxy.log.Unlock()
	// Who asked for a log that cannot be written has other sorrows.
	_, _ = fmt.Fprintf(s.proxy.options.Log, "%s %d %s %q %s\n", time.Now().Format("15:04:05.000000"), s.id, st.Phase, text[:min(len(text), enough)], what)
}
