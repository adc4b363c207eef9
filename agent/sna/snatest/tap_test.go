package snatest_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// sent is one NBD request as it was on the wire.
type sent struct {
	conn    int // the number of its connection
	flags   uint16
	command uint16
	offset  int64
	length  int64
}

// asked is one NBD_OPT_SET_META_CONTEXT.
type asked struct {
	conn int
	data []byte
}

const (
	cmdWrite       = 1
	cmdWriteZeroes = 6
)

// tap is a proxy between SBC and an export that records what SBC sends.
type tap struct {
	port int

	mu       sync.Mutex
	conns    int
	requests []sent
	contexts []asked
	trouble  error
}

func newTap(t *testing.T, to *export) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{port: listener.Addr().(*net.TCPAddr).Port}
	address := to.address() // now: the caller puts the tap in its place
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			relays.Go(func() { p.relay(client, address) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); relays.Wait() })
	return p
}

func (p *tap) relay(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	number := p.conns
	p.conns++
	p.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(client, server) })
	if err := p.listen(number, io.TeeReader(client, server)); err != io.EOF {
		p.mu.Lock()
		p.trouble = err
		p.mu.Unlock()
	}
	_ = server.Close()
	back.Wait()
}

// listen reads what a client says: its flags, options up to NBD_OPT_GO, requests.
func (p *tap) listen(number int, r io.Reader) error {
	if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
		return err
	}
	for option := uint32(0); option != 7; {
		var header [16]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		option = binary.BigEndian.Uint32(header[8:])
		data := make([]byte, binary.BigEndian.Uint32(header[12:]))
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		if option == 10 {
			p.mu.Lock()
			p.contexts = append(p.contexts, asked{number, data})
			p.mu.Unlock()
		}
	}
	for {
		var header [28]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		one := sent{
			number, binary.BigEndian.Uint16(header[4:]), binary.BigEndian.Uint16(header[6:]),
			int64(binary.BigEndian.Uint64(header[16:])), int64(binary.BigEndian.Uint32(header[24:])),
		}
		p.mu.Lock()
		p.requests = append(p.requests, one)
		p.mu.Unlock()
		if one.command == cmdWrite {
			if _, err := io.CopyN(io.Discard, r, one.length); err != nil {
				return err
			}
		}
	}
}

func (p *tap) seen(t *testing.T) []sent {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble != nil {
		t.Errorf("tap: %v", p.trouble)
	}
	return append([]sent{}, p.requests...)
}
