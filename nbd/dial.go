package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// closeTimeout is how long Probe waits for the server to close its end too, and
// Close for its last message to be sent.
const closeTimeout = time.Second

// Probe asks the server at addr ("127.0.0.1:10105") about one export and
// disconnects. It neither reads nor writes the disk: the connection never enters
// the transmission phase.
//
// It proves more than a connection does: qemu-nbd listens before it has opened
// its image, and with socket activation the kernel accepts connections before
// qemu-nbd runs. Only a server that serves sends the greeting (contract §6).
//
// Give ctx a deadline. A server at its limit of connections does not answer at
// all; the error then wraps ctx's. Others are ErrNoSuchExport, ErrNotNBD,
// ErrClosedEarly, *OptionError, and syscall.ECONNREFUSED.
//
// When Probe returns, the server has closed the connection too, unless that took
// longer than a second: package sockets does not count the probe as a client.
func Probe(ctx context.Context, addr, export string) (ExportInfo, error) {
	conn, info, err := negotiate(ctx, addr, optInfo, export)
	if err != nil {
		return ExportInfo{}, err
	}
	defer conn.Close()
	// An error from here on does not change the answer.
	_ = conn.SetDeadline(time.Now().Add(closeTimeout))
	if _, err := conn.Write(optionMessage(optAbort, nil)); err == nil {
		_, _ = io.CopyN(io.Discard, conn, maxOptReply)
	}
	return info, nil
}

// Dial connects to one export and enters the transmission phase. ctx bounds
// connecting and negotiating only. Errors are those of Probe.
func Dial(ctx context.Context, addr, export string) (*Conn, error) {
	conn, info, err := negotiate(ctx, addr, optGo, export)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, Info: info}, nil
}

func negotiate(ctx context.Context, addr string, option uint32, export string) (net.Conn, ExportInfo, error) {
	fail := func(err error) (net.Conn, ExportInfo, error) {
		return nil, ExportInfo{}, fmt.Errorf("export %s at %s: %w", export, addr, err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	info, err := handshake(quickAck{conn}, option, export)
	if !stop() && err == nil {
		err = context.Cause(ctx) // the deadline is set, or about to be
	}
	if err == nil {
		return conn, info, nil
	}
	_ = conn.Close()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("no answer in time: all connections of the export may be in use: %w", context.Cause(ctx))
	}
	return fail(err)
}

// quickAck acknowledges at once what it reads. qemu-nbd leaves Nagle's algorithm on
// during the handshake, so its second small reply waits for our acknowledgment,
// which the kernel delays by 40 ms by default. The kernel resets the option, so
// it is set before each read.
type quickAck struct{ net.Conn }

func (q quickAck) Read(p []byte) (int, error) {
	if tcp, ok := q.Conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
			})
		}
	}
	return q.Conn.Read(p)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

var cookies atomic.Uint64

// nextCookie returns a number that this process has not used before.
func nextCookie() uint64 { return cookies.Add(1) }
