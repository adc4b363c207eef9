package guestfiles

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
)

// longestLine limits an answer: the reader that sends it has read an untrusted disk.
const longestLine = 64 << 20

// mostPiece is the largest piece of content, in bytes.
const mostPiece = 1 << 20

// Ask sends a request to the reader on the socket, and returns the answer. For a "read" it also returns a stream of the
// content, which the caller closes; otherwise the stream is nil.
func Ask(ctx context.Context, socket string, r Request) (Answer, *Stream, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return Answer{}, nil, fmt.Errorf("reader of the files: %w", err)
	}
	s := &Stream{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	line, err := json.Marshal(r)
	if err == nil {
		_, err = conn.Write(append(line, '\n'))
	}
	var answer Answer
	if err == nil {
		answer, err = s.answer()
	}
	if err != nil || r.Op != OpRead {
		return answer, nil, errors.Join(s.because(ctx, err), s.Close())
	}
	return answer, s, nil
}

// A Stream is the content of a file, or a tar archive.
type Stream struct {
	conn net.Conn
	r    *bufio.Reader
	stop func() bool
	left uint32 // of the current piece
	err  error  // io.EOF when the content is complete
}

// Read returns io.EOF only when the content is complete.
func (s *Stream) Read(p []byte) (int, error) {
	if s.err == nil && s.left == 0 {
		s.err = s.piece()
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p[:min(len(p), int(s.left))])
	s.left -= uint32(n)
	if err != nil {
		s.err = cutOff(err)
	}
	return n, s.err
}

// piece starts the next piece.
func (s *Stream) piece() error {
	var head [4]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return cutOff(err)
	}
	s.left = binary.BigEndian.Uint32(head[:])
	switch {
	case s.left > mostPiece:
		return fmt.Errorf("reader of the files: a piece of %d bytes is too large", s.left)
	case s.left > 0:
		return nil
	}
	if _, err := s.answer(); err != nil {
		return err
	}
	return io.EOF
}

// Close ends the connection. The rest of the content is lost.
func (s *Stream) Close() error {
	s.stop()
	if err := s.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// answer reads one line.
func (s *Stream) answer() (Answer, error) {
	var a Answer
	var line []byte
	for {
		part, err := s.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > longestLine:
			return a, errors.New("reader of the files: the answer is too long")
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return a, cutOff(err)
		}
		break
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("reader of the files: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// ErrEnded is the error when the reader ended before the content was complete. The record of the restore says why.
var ErrEnded = errors.New("the reader of the files ended before everything was sent")

func cutOff(err error) error {
	return fmt.Errorf("%w (%w)", ErrEnded, noEOF(err))
}

// noEOF makes an early end of the connection an error that no caller takes for the normal end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *Stream) because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
