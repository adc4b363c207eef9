package sockets

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait, for a machine that is very busy: what takes longer hangs.
const patience = 5 * time.Minute

func listen(t *testing.T, addr string) (*net.TCPListener, uint16) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.(*net.TCPListener), uint16(listener.Addr().(*net.TCPAddr).Port)
}

func wantEstablished(t *testing.T, port uint16, want int) {
	t.Helper()
	var got int
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var err error
		if got, err = Established(port); err != nil {
			t.Fatal(err)
		}
		text, err := procSockets(port, tcpEstablished)
		if err != nil {
			t.Fatal(err)
		}
		all, err := Clients()
		if err != nil {
			t.Fatal(err)
		}
		if _, listed := all[port]; listed != (all[port] > 0) {
			t.Fatalf("a port without a client is listed: %v", all)
		}
		if got == want && len(text) == want && all[port] == want {
			return
		}
	}
	t.Fatalf("%d established connections, want %d", got, want)
}

func TestEstablished(t *testing.T) {
	// "[::]" accepts IPv4 clients too, on sockets of the IPv6 family.
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		listener, port := listen(t, addr)
		wantEstablished(t, port, 0)
		var clients []net.Conn
		for n := 1; n <= 3; n++ {
			client, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, client)
			wantEstablished(t, port, n) // also before they are accepted
		}
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		clients[0].Close()
		wantEstablished(t, port, 2) // although the server has not closed its end
		clients[1].Close()
		clients[2].Close()
		wantEstablished(t, port, 0)
	}
}

func TestDiagIsAvailable(t *testing.T) {
	_, port := listen(t, "127.0.0.1:0")
	inodes, err := diagSockets(port, tcpListen)
	if err != nil || len(inodes) != 1 {
		t.Fatalf("%v, %v", inodes, err)
	}
	text, err := procSockets(port, tcpListen)
	if err != nil || len(text) != 1 || text[0].port != inodes[0].port || text[0].inode != inodes[0].inode {
		t.Fatalf("netlink %v, /proc %v, %v", inodes, text, err)
	}
}

// BenchmarkClients measures what the agent does once a second, for 1,000 connections with both ends on this host.
func BenchmarkClients(b *testing.B) {
	for range 100 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer listener.Close()
		for range 10 {
			client, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			server, err := listener.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
		}
	}
	for name, list := range map[string]func(uint16, uint8) ([]socket, error){"netlink": diagSockets, "proc": procSockets} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, err := list(anyPort, tcpEstablished); err != nil || len(got) < 2000 {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

func TestListener(t *testing.T) {
	listener, port := listen(t, "127.0.0.1:0")
	if got, want := Listener(port), fmt.Sprintf("(pid %d)", os.Getpid()); !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	listener.Close()
	if got := Listener(port); got != "unknown" {
		t.Errorf("%q, want unknown", got)
	}
}

func FuzzProcNet(f *testing.F) {
	if table, err := os.ReadFile("/proc/net/tcp"); err == nil {
		f.Add(table[:min(len(table), 2000)])
	}
	f.Add([]byte("heading\n 0: 0100007F:2779 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 20911 1 0 100 0 0 10 0\n"))
	f.Fuzz(func(_ *testing.T, table []byte) {
		_, _ = parseProcNet(table, 0x2779, tcpListen)
		_, _ = parseProcNet(table, anyPort, tcpListen)
	})
}

func FuzzDiag(f *testing.F) {
	message := func(kind uint16, body []byte) []byte {
		m := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
		binary.NativeEndian.PutUint32(m, uint32(cap(m)))
		binary.NativeEndian.PutUint16(m[4:], kind)
		return append(m, body...)
	}
	socket := make([]byte, diagMessageBytes)
	socket[diagStateOffset], socket[diagPortOffset], socket[diagPortOffset+1], socket[diagInodeOffset] = tcpListen, 0x27, 0x79, 7
	one := message(sockDiagByFamily, socket)
	for _, answer := range [][]byte{
		one, append(one, message(unix.NLMSG_DONE, make([]byte, 4))...), message(unix.NLMSG_ERROR, []byte{0xff, 0xff, 0xff, 0xff}),
		message(unix.NLMSG_ERROR, nil), one[:40],
		{},
	} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		inodes, done, err := parseDiag(answer, 0x2779, tcpListen)
		if len(inodes) > len(answer)/diagMessageBytes || err != nil && (done || inodes != nil) {
			t.Fatalf("%v, done %v, error %v", inodes, done, err)
		}
		all, _, _ := parseDiag(answer, anyPort, tcpListen)
		if len(all) > len(answer)/diagMessageBytes || len(all) < len(inodes) {
			t.Fatalf("%d sockets on any port, %d on one, of %d bytes", len(all), len(inodes), len(answer))
		}
	})
}
