package nbd

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// fakeConn is a Conn to a server that sends one reply.
func fakeConn(t *testing.T, reply func(request []byte) []byte) *Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	var done sync.WaitGroup
	done.Go(func() {
		defer theirs.Close()
		request := make([]byte, requestHeader)
		if _, err := io.ReadFull(theirs, request); err == nil {
			_, _ = theirs.Write(reply(request))
		}
	})
	t.Cleanup(func() { ours.Close(); done.Wait() })
	info := newExportInfo()
	info.SizeBytes, info.MinBlock = MiB, 512
	return &Conn{Conn: ours, Info: info}
}

func simpleReply(magic, errno uint32, cookie []byte) []byte {
	reply := binary.BigEndian.AppendUint32(nil, magic)
	return append(binary.BigEndian.AppendUint32(reply, errno), cookie...)
}

func TestStrangeReplies(t *testing.T) {
	for name, test := range map[string]struct {
		reply func([]byte) []byte
		want  error
	}{
		"no magic":       {func(r []byte) []byte { return simpleReply(1, 0, r[8:16]) }, ErrNotNBD},
		"another cookie": {func(r []byte) []byte { return simpleReply(magicSimple, 0, make([]byte, 8)) }, ErrNotNBD},
		"no space":       {func(r []byte) []byte { return simpleReply(magicSimple, 28, r[8:16]) }, syscall.ENOSPC},
		"half a reply":   {func(r []byte) []byte { return simpleReply(magicSimple, 0, nil) }, io.ErrUnexpectedEOF},
		"half the data":  {func(r []byte) []byte { return append(simpleReply(magicSimple, 0, r[8:16]), 1, 2) }, io.ErrUnexpectedEOF},
		"nothing":        {func([]byte) []byte { return nil }, io.EOF},
	} {
		conn := fakeConn(t, test.reply)
		if n, err := conn.ReadAt(make([]byte, 512), 512); !errors.Is(err, test.want) || n != 0 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	conn := fakeConn(t, func([]byte) []byte { return nil })
	if _, err := conn.ReadAt(make([]byte, 100), 0); err == nil {
		t.Error("a read of less than the least block")
	}
	if err := conn.WriteZeroes(0, 512); err == nil {
		t.Error("zeroes to an export that does not take them")
	}
}
