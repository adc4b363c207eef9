package monitoring_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// hangJournald stops journald and fills its socket, so that the next line that anybody logs waits. It returns what lets it go on.
func hangJournald(t *testing.T) (resume func()) {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "--property=MainPID", "--value", "systemd-journald.service").Output()
	hubtest.Must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	hubtest.Must(t, err)
	if pid <= 1 {
		t.Fatalf("journald has the process id %d", pid)
	}
	systemdtest.StopProcess(t, pid)
	resume = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(resume)
	for fill(t) > 0 {
	}
	return resume
}

// fill sends lines to journald until none is taken, and returns how many were. The buffer of the sender may be full before the queue of
// journald is, so it takes more than one sender.
func fill(t *testing.T) (lines int) {
	t.Helper()
	socket, err := net.Dial("unixgram", "/run/systemd/journal/socket")
	hubtest.Must(t, err)
	t.Cleanup(func() { socket.Close() })
	for ; ; lines++ {
		hubtest.Must(t, socket.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
		_, err := socket.Write([]byte("PRIORITY=7\nMESSAGE=filler\n"))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return lines
		}
		hubtest.Must(t, err)
	}
}

// TestJournaldHangs: while journald does not take a line, the daemon answers at once, a backup completes, and the daemon stops in time.
// What it logged is in the journal afterwards.
func TestJournaldHangs(t *testing.T) {
	h := hubtest.ServiceHub(t, "[http]")
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	resume := hangJournald(t)
	began := time.Now()
	if code, _, stderr := h.CTL("status"); code != 0 || time.Since(began) > time.Minute {
		t.Errorf("status: code %d after %s: %s", code, time.Since(began), stderr)
	}
	start, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
	hubtest.Must(t, err)
	h.Completes(start.BackupID, sources)
	began = time.Now()
	if out, err := exec.Command("systemctl", "restart", hubtest.DaemonUnit).CombinedOutput(); err != nil || time.Since(began) > time.Minute {
		t.Errorf("the restart took %s: %v %s", time.Since(began), err, out)
	}
	began = time.Now()
	second, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
	hubtest.Must(t, err)
	h.Completes(second.BackupID, sources)
	t.Logf("a backup beside a journald that hangs took %s", time.Since(began).Round(time.Millisecond))
	resume()
	h.Eventually("the lines of the second backup are in the journal", func() bool {
		return len(hubtest.Entries(t, "BACKUP_ID="+second.BackupID)) == len(theLife)
	})
}
