package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Numbers of the NBD protocol (proto.md), as far as libnbd uses them for SBC.
const (
	magicOption     = 0x49484156454F5054
	magicReply      = 0x3e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef

	optGo              = 7
	optStructuredReply = 8
	optSetMetaContext  = 10

	repAck       = 1
	repInfo      = 3
	repErrorBit  = 1 << 31
	infoExport   = 0
	infoBlock    = 3
	chunkDone    = 1
	chunkErrors  = 1 << 15
	clientFlags  = 3 // fixed newstyle, no zeroes
	canZeroes    = 1 << 6
	cmdWrite     = 1
	cmdZeroes    = 6
	maxOptReply  = 64 << 10
	maxReplyText = 64 << 10
)

// libnbd is an NBD connection as libnbd makes it for SBC: structured replies, a
// meta context where one is asked for, and the checks that libnbd makes before it
// sends a request. It is not the client of package nbd: a mistake in that one would
// otherwise go unnoticed in tests.
type libnbd struct {
	net.Conn
	size     int64
	minBlock int64
	flags    uint16

	mu     sync.Mutex // libnbd has one request of a handle in progress
	cookie uint64
	broken error
}

// dialNBD negotiates. Only ctx limits the time.
func dialNBD(ctx context.Context, address, export string, contexts ...string) (*libnbd, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &libnbd{Conn: conn, minBlock: 1}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = c.negotiate(export, contexts)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close() // the error above is reported
		return nil, err
	}
	return c, nil
}

func (c *libnbd) negotiate(export string, contexts []string) error {
	var greeting [18]byte
	if _, err := io.ReadFull(c, greeting[:]); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if binary.BigEndian.Uint64(greeting[8:]) != magicOption {
		return errors.New("not a newstyle NBD server")
	}
	if _, err := c.Write(binary.BigEndian.AppendUint32(nil, clientFlags)); err != nil {
		return err
	}
	name := append(binary.BigEndian.AppendUint32(nil, uint32(len(export))), export...)
	structured, err := c.option(optStructuredReply, nil)
	if err != nil {
		return err
	}
	if structured && len(contexts) > 0 {
		data := binary.BigEndian.AppendUint32(name[:len(name):len(name)], uint32(len(contexts)))
		for _, query := range contexts {
			data = append(binary.BigEndian.AppendUint32(data, uint32(len(query))), query...)
		}
		if _, err := c.option(optSetMetaContext, data); err != nil {
			return err
		}
	}
	data := binary.BigEndian.AppendUint16(name[:len(name):len(name)], 1)
	known, err := c.option(optGo, binary.BigEndian.AppendUint16(data, infoBlock))
	if err == nil && !known {
		err = fmt.Errorf("server has no export %q", export)
	}
	return err
}

// option says whether the server accepts; a refusal is no error of the connection.
func (c *libnbd) option(option uint32, data []byte) (bool, error) {
	message := binary.BigEndian.AppendUint64(nil, magicOption)
	message = binary.BigEndian.AppendUint32(message, option)
	message = binary.BigEndian.AppendUint32(message, uint32(len(data)))
	if _, err := c.Write(append(message, data...)); err != nil {
		return false, err
	}
	for {
		var header [20]byte
		if _, err := io.ReadFull(c, header[:]); err != nil {
			return false, fmt.Errorf("option %d: %w", option, err)
		}
		kind, length := binary.BigEndian.Uint32(header[12:]), binary.BigEndian.Uint32(header[16:])
		if binary.BigEndian.Uint64(header[:]) != magicReply || length > maxOptReply {
			return false, fmt.Errorf("option %d: not a reply of an NBD server", option)
		}
		reply := make([]byte, length)
		if _, err := io.ReadFull(c, reply); err != nil {
			return false, err
		}
		switch {
		case kind == repAck:
			return true, nil
		case kind&repErrorBit != 0:
			return false, nil
		case kind == repInfo:
			c.info(reply)
		}
	}
}

func (c *libnbd) info(item []byte) {
	if len(item) < 2 {
		return
	}
	switch kind := binary.BigEndian.Uint16(item); {
	case kind == infoExport && len(item) == 12:
		c.size, c.flags = int64(binary.BigEndian.Uint64(item[2:])), binary.BigEndian.Uint16(item[10:])
	case kind == infoBlock && len(item) == 14:
		c.minBlock = max(int64(binary.BigEndian.Uint32(item[2:])), 1)
	}
}

func (c *libnbd) write(data []byte, offset int64) error {
	return c.request(cmdWrite, offset, int64(len(data)), data)
}

func (c *libnbd) zero(offset, length int64) error {
	if c.flags&canZeroes == 0 {
		return errors.New("server does not support zero operations")
	}
	return c.request(cmdZeroes, offset, length, nil)
}

// request fails, as libnbd does, if a request is out of bounds or not aligned.
func (c *libnbd) request(command uint16, offset, length int64, data []byte) error {
	switch {
	case offset < 0 || offset > c.size || length > c.size-offset:
		return fmt.Errorf("request out of bounds: %w", syscall.ENOSPC)
	case offset%c.minBlock != 0 || length%c.minBlock != 0:
		return fmt.Errorf("request is unaligned: %w", syscall.EINVAL)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	c.cookie++
	message := binary.BigEndian.AppendUint32(nil, magicRequest)
	message = binary.BigEndian.AppendUint16(message, 0) // no FUA
	message = binary.BigEndian.AppendUint16(message, command)
	message = binary.BigEndian.AppendUint64(message, c.cookie)
	message = binary.BigEndian.AppendUint64(message, uint64(offset))
	message = binary.BigEndian.AppendUint32(message, uint32(length))
	buffers := net.Buffers{message, data}
	_, err := buffers.WriteTo(c.Conn)
	var errno syscall.Errno
	if err == nil {
		errno, err = c.reply()
	}
	if err != nil {
		c.broken = fmt.Errorf("connection lost: %w", err)
		return c.broken
	}
	if errno != 0 {
		return fmt.Errorf("server: %w", errno)
	}
	return nil
}

// reply reads the answer to a request that returns no data: a simple reply, or chunks
// up to the last.
func (c *libnbd) reply() (failed syscall.Errno, err error) {
	for {
		var header [16]byte
		if _, err := io.ReadFull(c, header[:]); err != nil {
			return 0, err
		}
		switch magic := binary.BigEndian.Uint32(header[:]); magic {
		case magicSimple:
			return syscall.Errno(binary.BigEndian.Uint32(header[4:])), nil
		case magicStructured:
		default:
			return 0, fmt.Errorf("reply begins with %#08x", magic)
		}
		var rest [4]byte
		if _, err := io.ReadFull(c, rest[:]); err != nil {
			return 0, err
		}
		length := binary.BigEndian.Uint32(rest[:])
		if length > maxReplyText {
			return 0, fmt.Errorf("chunk of %d bytes", length)
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(c, payload); err != nil {
			return 0, err
		}
		if kind := binary.BigEndian.Uint16(header[6:]); kind&chunkErrors != 0 && length >= 4 {
			failed = syscall.Errno(binary.BigEndian.Uint32(payload))
		}
		if binary.BigEndian.Uint16(header[4:])&chunkDone != 0 {
			return failed, nil
		}
	}
}
