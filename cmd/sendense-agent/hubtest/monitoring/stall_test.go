package monitoring_test

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestScrapesThatStall: scrapes that do not end, and scrapes whose answer is not read, delay no other scrape, no request, no backup and
// not the stop of the daemon. They are cut.
func TestScrapesThatStall(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	var stalled []net.Conn
	for i := range 40 {
		nc, err := net.DialTimeout("tcp", "127.0.0.1:9185", hubtest.Patience)
		hubtest.Must(t, err)
		t.Cleanup(func() { nc.Close() })
		request := "GET /metrics HTTP/1.1\r\nHost: x\r\n"
		if i%2 == 1 {
			request += "\r\n" // a whole one; nobody reads the answer
		}
		_, err = io.WriteString(nc, request)
		hubtest.Must(t, err)
		stalled = append(stalled, nc)
	}
	began := time.Now()
	h.Eventually("a scrape is answered", func() bool {
		_, text := hubtest.Fetch(t, "/metrics")
		return strings.Contains(text, "sendense_agent_build_info")
	})
	_, err := h.Dial().Status(t.Context())
	hubtest.Must(t, err)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("a scrape and a request took %s", took)
	}
	start, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
	hubtest.Must(t, err)
	h.Completes(start.BackupID, sources)
	hubtest.Must(t, stalled[0].SetReadDeadline(time.Now().Add(hubtest.Patience)))
	if _, err := io.Copy(io.Discard, stalled[0]); err != nil {
		t.Errorf("a request that does not end is not cut: %v", err)
	}
	nc, err := net.DialTimeout("tcp", "127.0.0.1:9185", hubtest.Patience)
	hubtest.Must(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, "GET /metrics HTTP/1.1\r\n")
	hubtest.Must(t, err)
	began = time.Now()
	h.Daemon.End(syscall.SIGTERM)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the stop took %s", took)
	}
	h.Boot()
}
