package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serve answers one connection with bytes and closes it, or keeps it open.
func serve(t *testing.T, answer []byte, hold bool) string {
	t.Helper()
	listener := listen(t)
	var done sync.WaitGroup
	done.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write(answer)
		if tcp := conn.(*net.TCPConn); !hold {
			_ = tcp.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, conn) // until the client disconnects
	})
	t.Cleanup(func() { listener.Close(); done.Wait() })
	return listener.Addr().String()
}

func greeting(flags uint16) []byte {
	message := binary.BigEndian.AppendUint64(nil, magicServer)
	message = binary.BigEndian.AppendUint64(message, magicOption)
	return binary.BigEndian.AppendUint16(message, flags)
}

func optReply(option, kind uint32, data []byte) []byte {
	message := binary.BigEndian.AppendUint64(nil, magicOptReply)
	message = binary.BigEndian.AppendUint32(message, option)
	message = binary.BigEndian.AppendUint32(message, kind)
	message = binary.BigEndian.AppendUint32(message, uint32(len(data)))
	return append(message, data...)
}

func exportItem(size uint64, flags uint16) []byte {
	item := binary.BigEndian.AppendUint16(nil, infoExport)
	item = binary.BigEndian.AppendUint64(item, size)
	return binary.BigEndian.AppendUint16(item, flags)
}

func blockItem(sizes ...uint32) []byte {
	item := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, size := range sizes {
		item = binary.BigEndian.AppendUint32(item, size)
	}
	return item
}

func TestStrangeServers(t *testing.T) {
	hello := greeting(flagFixedNewstyle | flagNoZeroes)
	after := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{hello}, parts...), nil) }
	ack := optReply(optInfo, repAck, nil)
	good := optReply(optInfo, repInfo, exportItem(MiB, 1))
	huge := optReply(optInfo, repInfo, nil)
	binary.BigEndian.PutUint32(huge[16:], 1<<31)
	oldStyle := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, magicServer), magicOldStyle)
	for name, test := range map[string]struct {
		answer []byte
		want   error // nil: it works
	}{
		"works":                   {after(good, ack), nil},
		"no NO_ZEROES":            {append(greeting(flagFixedNewstyle), append(good, ack...)...), nil},
		"unknown item":            {after(optReply(optInfo, repInfo, []byte{0, 99, 1}), good, ack), nil},
		"silent":                  {nil, ErrClosedEarly},
		"half a greeting":         {hello[:11], ErrClosedEarly},
		"only a greeting":         {hello, ErrClosedEarly},
		"half a reply":            {after(good[:30]), ErrClosedEarly},
		"HTTP":                    {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrNotNBD},
		"SSH":                     {[]byte("SSH-2.0-OpenSSH_9.2\r\n"), ErrNotNBD},
		"old style":               {append(oldStyle, make([]byte, 136)...), ErrNotNBD},
		"unfixed newstyle":        {greeting(0), ErrNotNBD},
		"wrong continuation":      {append(hello[:8:8], "whatever else"...), ErrNotNBD},
		"wrong reply magic":       {after(make([]byte, 20)), ErrNotNBD},
		"reply to another option": {after(optReply(optGo, repAck, nil)), ErrNotNBD},
		"ack without export":      {after(ack), ErrNotNBD},
		"huge reply":              {after(huge), ErrNotNBD},
		"endless replies":         {after(bytes.Repeat(good, 1000)), ErrNotNBD},
		"short export":            {after(optReply(optInfo, repInfo, exportItem(1, 1)[:11]), ack), ErrNotNBD},
		"empty item":              {after(optReply(optInfo, repInfo, nil), ack), ErrNotNBD},
		"size beyond int64":       {after(optReply(optInfo, repInfo, exportItem(1<<63, 1)), ack), ErrNotNBD},
		"block sizes 0":           {after(optReply(optInfo, repInfo, blockItem(0, 0, 0)), good, ack), ErrNotNBD},
		"block sizes upside down": {after(optReply(optInfo, repInfo, blockItem(4096, 512, 4096)), good, ack), ErrNotNBD},
		"block sizes cut":         {after(optReply(optInfo, repInfo, blockItem(1, 1)), good, ack), ErrNotNBD},
		"other reply":             {after(optReply(optInfo, 2, nil)), ErrNotNBD},
		"no such export":          {after(optReply(optInfo, repErrUnknown, []byte("nope\x1b[31m"))), ErrNoSuchExport},
	} {
		_, err := Probe(testContext(t), serve(t, test.answer, false), "vm-disk0")
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\r\n") {
			t.Errorf("%s: raw bytes of the server in %q", name, err)
		}
	}
}

func TestProbeErrors(t *testing.T) {
	hello := greeting(flagFixedNewstyle)
	for _, code := range []uint32{repErrUnsup, repErrPolicy, repErrTLS, repErrStop, repErrorBit | 77} {
		var option *OptionError
		_, err := Probe(testContext(t), serve(t, append(hello[:18:18], optReply(optInfo, code, []byte("its words"))...), false), "vm-disk0")
		if !errors.As(err, &option) || option.Code != code || !strings.Contains(err.Error(), "its words") || errors.Is(err, ErrNoSuchExport) {
			t.Errorf("%#x: %v", code, err)
		}
	}
	for name, answer := range map[string][]byte{"silent": nil, "stalls": hello} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := Probe(ctx, serve(t, answer, true), "vm-disk0")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("changed my mind")
	timer := time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	defer timer.Stop()
	if _, err := Dial(ctx, serve(t, nil, true), "vm-disk0"); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	listener := listen(t)
	addr := listener.Addr().String()
	listener.Close()
	if _, err := Probe(testContext(t), addr, "vm-disk0"); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "vm-disk0") {
		t.Errorf("%v", err)
	}
}

// script is a server whose answers do not depend on the requests.
type script struct {
	io.Reader
	heard bytes.Buffer
}

func (s *script) Write(p []byte) (int, error) { return s.heard.Write(p) }

func FuzzHandshake(f *testing.F) {
	hello := greeting(flagFixedNewstyle | flagNoZeroes)
	good := optReply(optGo, repInfo, exportItem(MiB, 1))
	ack := optReply(optGo, repAck, nil)
	for _, parts := range [][][]byte{
		{hello, good, ack},
		{hello, optReply(optGo, repInfo, blockItem(1, 4096, 32*MiB)), good, ack},
		{hello, optReply(optGo, repInfo, append([]byte{0, infoDescription}, "text"...)), good, ack},
		{hello, optReply(optGo, repErrUnknown, []byte("export 'x' not present"))},
		{hello[:5]},
		{[]byte("HTTP/1.1 200 OK\r\n\r\n")},
	} {
		f.Add(bytes.Join(parts, nil))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		server := &script{Reader: bytes.NewReader(answer)}
		info, err := handshake(server, optGo, "vm-disk0")
		if server.heard.Len() > 128 {
			t.Fatalf("%d bytes sent", server.heard.Len())
		}
		if err != nil {
			if info != (ExportInfo{}) || strings.ContainsAny(err.Error(), "\x00\x1b\n") {
				t.Fatalf("%+v, %q", info, err)
			}
			return
		}
		if info.MinBlock == 0 || info.MaxBlock < info.MinBlock || info.SizeBytes > 1<<63-1 || len(info.Description) > 4096 {
			t.Fatalf("%+v", info)
		}
	})
}
