package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Conn is an NBD connection in the transmission phase. It has what a copying
// client needs: read, write, write zeroes, flush, disconnect. SBC never flushes
// (contract §5), so data that it has written may not be on the disk yet.
//
// One request is in progress at a time; methods may be called from several
// goroutines and wait for each other. After the connection itself has failed,
// every call returns that error. Deadlines are set on the net.Conn; do not call
// its Read and Write.
type Conn struct {
	net.Conn
	Info ExportInfo

	mu     sync.Mutex
	broken error
	closed bool
}

// CommandError is the server's error for one request. The connection still
// works. Unwrap returns the errno, such as syscall.ENOSPC.
type CommandError struct {
	Command string // "read", "write", "write zeroes"
	Offset  uint64 // in bytes
	Length  uint32 // in bytes
	Err     syscall.Errno
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("%s of %d bytes at %d: server: %v", e.Command, e.Length, e.Offset, e.Err)
}

func (e *CommandError) Unwrap() error { return e.Err }

// WriteAt writes p at byte off, in requests of at most 32 MiB or the server's
// own limit. Offset and length must be multiples of Info.MinBlock and lie
// within the export. It returns how many bytes the server acknowledged. The
// server's errors are *CommandError; for a read-only export the error is
// syscall.EROFS, and nothing is sent.
func (c *Conn) WriteAt(p []byte, off int64) (int, error) {
	if c.Info.ReadOnly() {
		return 0, fmt.Errorf("write: export is read-only: %w", syscall.EROFS)
	}
	return c.transfer("write", off, int64(len(p)), func(at uint64, from, to int64) error {
		return c.request(cmdWrite, at, uint32(to-from), p[from:to], nil)
	})
}

// ReadAt reads len(p) bytes from byte off, under the rules of WriteAt.
func (c *Conn) ReadAt(p []byte, off int64) (int, error) {
	return c.transfer("read", off, int64(len(p)), func(at uint64, from, to int64) error {
		return c.request(cmdRead, at, uint32(to-from), nil, p[from:to])
	})
}

// WriteZeroes makes length bytes from byte off read as zeroes, under the rules
// of WriteAt. The server may free the space. 28 bytes cross the wire for each
// 32 MiB. It fails if the export does not have FlagSendWriteZeroes.
func (c *Conn) WriteZeroes(off, length int64) error {
	if c.Info.ReadOnly() {
		return fmt.Errorf("write zeroes: export is read-only: %w", syscall.EROFS)
	}
	if c.Info.Flags&FlagSendWriteZeroes == 0 {
		return errors.New("write zeroes: not supported by this export")
	}
	_, err := c.transfer("write zeroes", off, length, func(at uint64, from, to int64) error {
		return c.request(cmdWriteZeroes, at, uint32(to-from), nil, nil)
	})
	return err
}

// Flush makes the server write all data of all clients to the disk, with its own
// metadata. Its error is the only sign of a disk that fails: qemu-nbd exits with
// status 0 all the same. It fails if the export does not have FlagSendFlush.
func (c *Conn) Flush() error {
	if c.Info.Flags&FlagSendFlush == 0 {
		return errors.New("flush: not supported by this export")
	}
	return c.request(cmdFlush, 0, 0, nil, nil)
}

// Close tells the server that this client is done (NBD_CMD_DISC) and closes
// the connection. If another goroutine has a request in progress, that request
// fails and the server is not told; to get that at any time, close the embedded
// Conn.
func (c *Conn) Close() error {
	if !c.mu.TryLock() {
		return c.Conn.Close()
	}
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	if c.broken == nil {
		c.broken = net.ErrClosed
		_ = c.SetWriteDeadline(time.Now().Add(closeTimeout))
		_, _ = c.Write(requestMessage(cmdDisconnect, nextCookie(), 0, 0))
	}
	return c.Conn.Close()
}

// Disconnect is Close, and waits until the server has closed its end too: then
// no packet of this connection is left in the network. The deadline of the
// connection bounds the wait.
func (c *Conn) Disconnect() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	c.broken, c.closed = net.ErrClosed, true
	_, err := c.Write(requestMessage(cmdDisconnect, nextCookie(), 0, 0))
	if err == nil {
		_, err = io.Copy(io.Discard, c.Conn)
	}
	return errors.Join(err, c.Conn.Close())
}

// transfer splits a range into requests that the server accepts.
func (c *Conn) transfer(command string, off, length int64, do func(at uint64, from, to int64) error) (int, error) {
	size, block := c.Info.SizeBytes, int64(max(c.Info.MinBlock, 1))
	if off < 0 || length < 0 || uint64(off) > size || uint64(length) > size-uint64(off) {
		return 0, fmt.Errorf("%s of %d bytes at %d: outside the export of %d bytes", command, length, off, size)
	}
	if off%block != 0 || length%block != 0 {
		return 0, fmt.Errorf("%s of %d bytes at %d: not a multiple of the export's block size %d", command, length, off, block)
	}
	step := min(int64(c.Info.MaxBlock), MaxPayload) / block * block
	if step <= 0 {
		step = block
	}
	for done := int64(0); done < length; {
		next := min(done+step, length)
		if err := do(uint64(off+done), done, next); err != nil {
			return int(done), err
		}
		done = next
	}
	return int(length), nil
}

// request sends one request and waits for its reply. No structured replies were
// negotiated, so every reply is simple (proto.md, "Simple reply message").
func (c *Conn) request(command uint16, at uint64, length uint32, payload, into []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	errno, err := c.exchange(command, at, length, payload, into)
	if err != nil {
		c.broken = fmt.Errorf("%s of %d bytes at %d: connection lost: %w", commandName(command), length, at, err)
		return c.broken
	}
	if errno != 0 {
		return &CommandError{Command: commandName(command), Offset: at, Length: length, Err: syscall.Errno(errno)}
	}
	return nil
}

func (c *Conn) exchange(command uint16, at uint64, length uint32, payload, into []byte) (errno uint32, err error) {
	cookie := nextCookie()
	// One writev: Nagle's algorithm would delay the data as a second segment.
	message := net.Buffers{requestMessage(command, cookie, at, length)}
	if len(payload) > 0 {
		message = append(message, payload)
	}
	if _, err := message.WriteTo(c.Conn); err != nil {
		return 0, err
	}
	var reply [simpleHeader]byte
	if _, err := io.ReadFull(c.Conn, reply[:]); err != nil {
		return 0, err
	}
	if magic := binary.BigEndian.Uint32(reply[:]); magic != magicSimple {
		return 0, fmt.Errorf("%w: reply begins with %#08x", ErrNotNBD, magic)
	}
	if got := binary.BigEndian.Uint64(reply[8:]); got != cookie {
		return 0, fmt.Errorf("%w: reply to request %d instead of %d", ErrNotNBD, got, cookie)
	}
	if errno = binary.BigEndian.Uint32(reply[4:]); errno != 0 {
		return errno, nil // a failed read carries no data
	}
	_, err = io.ReadFull(c.Conn, into)
	return 0, err
}

func requestMessage(command uint16, cookie, at uint64, length uint32) []byte {
	message := make([]byte, 0, requestHeader)
	message = binary.BigEndian.AppendUint32(message, magicRequest)
	message = binary.BigEndian.AppendUint16(message, 0) // command flags
	message = binary.BigEndian.AppendUint16(message, command)
	message = binary.BigEndian.AppendUint64(message, cookie)
	message = binary.BigEndian.AppendUint64(message, at)
	return binary.BigEndian.AppendUint32(message, length)
}

func commandName(command uint16) string {
	switch command {
	case cmdRead:
		return "read"
	case cmdWrite:
		return "write"
	case cmdWriteZeroes:
		return "write zeroes"
	case cmdFlush:
		return "flush"
	}
	return fmt.Sprintf("command %d", command)
}
