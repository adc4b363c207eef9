package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

// dialAs connects as another user. The thread that became that user is discarded.
func dialAs(t *testing.T, socket string, uid int) net.Conn {
	t.Helper()
	type answer struct {
		nc  net.Conn
		err error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread()
		var a answer
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			a.err = fmt.Errorf("become user %d: %w: run the tests as root", uid, errno)
		} else {
			a.nc, a.err = net.Dial("unix", socket)
		}
		done <- a
	}()
	a := <-done
	if a.err != nil {
		t.Fatal(a.err)
	}
	t.Cleanup(func() { a.nc.Close() })
	a.nc.SetDeadline(time.Now().Add(patience))
	return a.nc
}

// forEverybody lets every user reach a socket.
func forEverybody(t *testing.T, socket string) {
	t.Helper()
	for _, path := range []string{socket, filepath.Dir(socket), filepath.Dir(filepath.Dir(socket))} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

// answers sends one request and returns the first line of the answer.
func answers(t *testing.T, nc net.Conn) string {
	t.Helper()
	io.WriteString(nc, sum1) // it may be refused already: the answer says so
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// TestOneUserTakesAllConnections: others, and root, are still served.
func TestOneUserTakesAllConnections(t *testing.T) {
	socket := serve(t, Options{MaxConnections: 16}, specTable())
	forEverybody(t, socket)
	for _, hostile := range []int{4001, 4002} { // two of them can take all connections except those reserved for root
		served := 0
		for range 20 {
			if reason(t, answers(t, dialAs(t, socket, hostile))) == "" {
				served++
			}
		}
		// 16 less two for root are 14; root has one connection open when the second comes.
		if want := map[int]int{4001: 8, 4002: 5}[hostile]; served != want {
			t.Errorf("user %d has %d connections, want %d", hostile, served, want)
		}
		if got := reason(t, answers(t, dialAs(t, socket, 0))); got != "" {
			t.Errorf("root is refused while user %d floods: %s", hostile, got)
		}
	}
	if got := reason(t, answers(t, dialAs(t, socket, 4003))); got != rpc.ReasonTooManyConnections {
		t.Errorf("%q", got)
	}
}

// TestFloodOfLargeMessages: what one user sends beyond the limit waits unread, and others are served.
func TestFloodOfLargeMessages(t *testing.T) {
	release := make(chan struct{})
	var held atomic.Int64
	table := append(specTable(), row("hold", read, func(_ context.Context, params json.RawMessage) (any, error) {
		held.Add(int64(len(params)))
		<-release
		return nil, nil
	}))
	const share, size = 4 << 20, 1 << 18
	socket := serve(t, Options{MaxUserBytes: share}, table)
	defer close(release)
	forEverybody(t, socket)
	message := `{"jsonrpc":"2.0","method":"hold","id":1,"params":["` + strings.Repeat("x", size) + `"]}`
	const connections, each = 8, 16 // 32 MiB
	for range connections {
		nc := dialAs(t, socket, 4001)
		go func() {
			for range each {
				if _, err := io.WriteString(nc, message); err != nil {
					return // it waits until the test ends
				}
			}
		}()
	}
	for deadline := time.Now().Add(patience); held.Load() < share-2*size; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are held", held.Load())
		}
	}
	for range 20 { // enough time for what must not happen
		if got := reason(t, answers(t, dialAs(t, socket, 4002))); got != "" {
			t.Fatalf("another user: %s", got)
		}
	}
	if held.Load() > share {
		t.Errorf("%d bytes of one user are in memory", held.Load())
	}
}
