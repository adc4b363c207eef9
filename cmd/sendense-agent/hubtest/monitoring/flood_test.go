package monitoring_test

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestFloodOfTheCallbacks: a local user opens all connections that there are, and more, and begins a request on each. The daemon keeps
// descriptors for everything else, answers on its socket, and a backup whose reports wait behind the flood completes.
func TestFloodOfTheCallbacks(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	const flood = 1500
	var held []net.Conn
	defer func() {
		for _, nc := range held {
			nc.Close()
		}
	}()
	for range flood {
		nc, err := net.DialTimeout("tcp", "127.0.0.1:8082", hubtest.Patience)
		hubtest.Must(t, err)
		held = append(held, nc)
		_, err = nc.Write([]byte("POST /api/v1/backups/x/complete HTTP/1.1\r\nHost: "))
		hubtest.Must(t, err)
	}
	descriptors := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.Daemon.Cmd.Process.Pid))
		hubtest.Must(t, err)
		return len(entries)
	}
	h.Eventually("the daemon takes what it will", func() bool { return descriptors() > 1000 })
	start, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
	hubtest.Must(t, err)
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if n := descriptors(); n > 1200 {
			t.Fatalf("%d descriptors are open", n)
		}
	}
	h.Completes(start.BackupID, sources)
}
