package backup_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// TestLargeRequests: an exporter writes requests as large as SBC's without a page fault for each page of their buffers, in its sandbox. It
// keeps none of the buffers.
func TestLargeRequests(t *testing.T) {
	const count = 8
	w := agenttest.New(t)
	w.PutVM("vm", count*nbd.MaxPayload)
	w.SNA.Hold("disk/0")
	defer w.SNA.Release("disk/0")
	b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.Must(t, err)
	b, err = w.Agent.Records.Backup(b.ID)
	agenttest.Must(t, err)
	run := b.Runs[0]
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", run.PID))
	agenttest.Must(t, err)
	for _, setting := range qemu.ServerEnvironment() {
		if !bytes.Contains(environ, []byte(setting+"\x00")) {
			t.Errorf("no %s in %q", setting, environ)
		}
	}
	c, err := nbd.Dial(t.Context(), net.JoinHostPort(w.Config.NBD.Host, strconv.Itoa(int(run.Port))), run.ExportName)
	agenttest.Must(t, err)
	data := make([]byte, nbd.MaxPayload)
	_, _ = rand.Read(data)
	before := agenttest.PageFaults(t, run.PID)
	for i := range int64(count) {
		_, err := c.WriteAt(data, i*nbd.MaxPayload)
		agenttest.Must(t, err)
	}
	agenttest.Must(t, c.Close())
	mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	agenttest.Must(t, err)
	const pages = count * nbd.MaxPayload / 4096
	faults := agenttest.PageFaults(t, run.PID) - before
	if huge := !bytes.Contains(mode, []byte("[never]")); huge == (faults > pages/2) {
		t.Errorf("%d page faults for %d pages; huge pages: %s", faults, pages, mode)
	}
	resident := func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", run.PID))
		agenttest.Must(t, err)
		var size, pages int64
		_, err = fmt.Sscan(string(status), &size, &pages)
		agenttest.Must(t, err)
		return pages*4096 < 64<<20
	}
	w.Eventually("the exporter keeps less than two requests", resident)
}
