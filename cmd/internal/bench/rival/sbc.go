package rival

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/nbd"
)

// An SBC copies a disk as the real backup client does in a full copy: requests of 32 MiB over the second of two connections, from several
// workers with a part of the disk each; WRITE_ZEROES where five samples are zero, and the data if that is refused.
type SBC struct {
	Workers     int
	Request     int64 // bytes of one; SBCRequest if 0
	Connections int   // that carry data, the workers take turns; 1 if 0, as SBC
	exact       bool  // reads all data before it sends WRITE_ZEROES
}

// SBCRequest is the largest request of SBC, in bytes.
const SBCRequest int64 = 32 << 20

const sbcSample = 8 << 10

// Copied is the result of a copy.
type copied struct {
	Took     time.Duration
	Received int64 // data that was sent
	refused  int64 // refused WRITE_ZEROES
}

// Copy copies a source to an export, and flushes it.
func (c SBC) Copy(ctx context.Context, source, addr, export string) (done copied, err error) {
	f, err := os.Open(source)
	if err != nil {
		return done, err
	}
	defer f.Close()
	began := time.Now()
	first, err := nbd.Dial(ctx, addr, export)
	if err != nil {
		return done, err
	}
	defer first.Close()
	pipes, err := c.dial(ctx, addr, export)
	defer func() {
		for _, p := range pipes {
			_ = p.Close()
		}
	}()
	if err != nil {
		return done, err
	}
	request := cmp.Or(c.Request, SBCRequest)
	size := int64(first.Info.SizeBytes)
	third := size / int64(c.Workers) / 512 * 512
	var group errgroup.Group
	var received, refused atomic.Int64
	for i := range int64(c.Workers) {
		begin, end := i*third, (i+1)*third
		if i == int64(c.Workers)-1 {
			end = size
		}
		group.Go(func() error {
			buffer := make([]byte, request)
			for at := begin; at < end; at += request {
				if err := c.chunk(pipes[i%int64(len(pipes))], f, buffer[:min(request, end-at)], at, &received, &refused); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return done, err
	}
	err = first.Flush()
	return copied{time.Since(began), received.Load(), refused.Load()}, err
}

// dial opens the connections that carry data. It returns those that it opened also with an error.
func (c SBC) dial(ctx context.Context, addr, export string) (pipes []*pipe, err error) {
	for range max(c.Connections, 1) {
		p, err := dialPipe(ctx, addr, export)
		if err != nil {
			return pipes, err
		}
		pipes = append(pipes, p)
	}
	return pipes, nil
}

// chunk copies one request.
func (c SBC) chunk(p *pipe, source io.ReaderAt, data []byte, at int64, received, refused *atomic.Int64) error {
	zero, err := c.looksZero(source, data, at)
	if err != nil {
		return err
	}
	if zero {
		err := p.do(cmdWriteZeroes, at, len(data), nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EIO) {
			return err
		}
		refused.Add(int64(len(data)))
	}
	if _, err := source.ReadAt(data, at); err != nil {
		return err
	}
	received.Add(int64(len(data)))
	return p.do(cmdWrite, at, len(data), data)
}

// looksZero examines the samples, or everything.
func (c SBC) looksZero(source io.ReaderAt, data []byte, at int64) (bool, error) {
	if c.exact {
		_, err := source.ReadAt(data, at)
		return isZero(data), err
	}
	sample := make([]byte, sbcSample)
	for i := range int64(5) {
		if _, err := source.ReadAt(sample, at+i*(int64(len(data))-sbcSample)/4); err != nil {
			return false, err
		}
		if !isZero(sample) {
			return false, nil
		}
	}
	return true, nil
}

func isZero(data []byte) bool {
	for ; len(data) >= 8; data = data[8:] {
		if binary.NativeEndian.Uint64(data) != 0 {
			return false
		}
	}
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

// Numbers of the NBD protocol.
const (
	cmdWrite, cmdWriteZeroes = 1, 6
	requestMagic             = 0x25609513
	replyBytes               = 16
)

// A pipe is a connection with several requests in progress. An nbd.Conn has one.
type pipe struct {
	conn    net.Conn
	mu      sync.Mutex // guards what follows, and writing
	waiting map[uint64]chan error
	next    uint64
	read    chan struct{} // closed after the last reply
}

func dialPipe(ctx context.Context, addr, export string) (*pipe, error) {
	c, err := nbd.Dial(ctx, addr, export)
	if err != nil {
		return nil, err
	}
	p := &pipe{conn: c.Conn, waiting: map[uint64]chan error{}, read: make(chan struct{})}
	go p.replies()
	return p, nil
}

// Close ends it as SBC does, without NBD_CMD_DISC.
func (p *pipe) Close() error {
	err := p.conn.Close()
	<-p.read
	return err
}

// do sends one request and waits for its reply.
func (p *pipe) do(command uint16, at int64, length int, data []byte) error {
	answer := make(chan error, 1)
	p.mu.Lock()
	p.next++
	p.waiting[p.next] = answer
	head := binary.BigEndian.AppendUint32(nil, requestMagic)
	head = binary.BigEndian.AppendUint16(head, 0)
	head = binary.BigEndian.AppendUint16(head, command)
	head = binary.BigEndian.AppendUint64(head, p.next)
	head = binary.BigEndian.AppendUint64(head, uint64(at))
	head = binary.BigEndian.AppendUint32(head, uint32(length))
	message := net.Buffers{head}
	if data != nil {
		message = append(message, data)
	}
	_, err := message.WriteTo(p.conn)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-p.read:
		return fmt.Errorf("the connection is lost")
	}
}

// replies passes each reply to its request.
func (p *pipe) replies() {
	defer close(p.read)
	reply := make([]byte, replyBytes)
	for {
		if _, err := io.ReadFull(p.conn, reply); err != nil {
			return
		}
		cookie := binary.BigEndian.Uint64(reply[8:])
		p.mu.Lock()
		answer := p.waiting[cookie]
		delete(p.waiting, cookie)
		p.mu.Unlock()
		if answer == nil {
			return
		}
		if errno := binary.BigEndian.Uint32(reply[4:]); errno != 0 {
			answer <- syscall.Errno(errno)
		} else {
			answer <- nil
		}
	}
}
