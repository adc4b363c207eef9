package commands_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// What an operator sees at a glance: the newest good restore point of each VM, what is overdue, what failed and why, and what runs.
func TestAtAGlance(t *testing.T) {
	h := hubtest.New(t)
	h.Daemon.End(syscall.SIGTERM)
	db, err := store.Open(filepath.Join(h.Dir, "state", "agent.db"), store.Options{MustExist: true})
	hubtest.Must(t, err)
	_, err = db.PutVM(record.VM{Name: "late", BackupInterval: "1m", AddedAt: time.Now().Add(-time.Hour)})
	hubtest.Must(t, errors.Join(err, db.Close()))
	h.Boot()
	for _, vm := range []string{"good", "bad", "busy"} {
		h.AddVM(vm, hubtest.DiskSize)
	}
	h.Point("good", rpc.Auto)
	c := h.Dial()
	_, err = c.PutVM(t.Context(), rpc.VM{VMName: "idle", BackupInterval: "0s"})
	hubtest.Must(t, err)
	h.Control("fault", nil, map[string][]string{"faults": {"refuse=500:no licence"}})
	h.Steps(hubtest.Step(hubtest.Words("backup start bad"), 1, "", "no licence"))
	h.Control("fault", nil, map[string][]string{"faults": {}})
	running := h.Held("busy", "copy/0")
	defer h.Release("copy/0")
	for _, command := range []string{"vm list", "status"} {
		code, stdout, stderr := h.CTL(append(hubtest.Words(command), "-o", "wide")...)
		lines := map[string]string{}
		for line := range strings.Lines(stdout) {
			if words := strings.Fields(line); len(words) > 1 && lines[words[0]] == "" {
				lines[words[0]] = strings.Join(words[1:], " ")
			}
		}
		for vm, starts := range map[string]string{"bad": "none yet never sna_refused", "busy": "none yet never running", "good": "ok 20", "idle": "not expected never", "late": "overdue never"} {
			if !strings.HasPrefix(lines[vm], starts) {
				t.Errorf("%s: %s: %q, want %q", command, vm, lines[vm], starts)
			}
		}
		if code != 0 || stderr != "" {
			t.Errorf("%s: %d %s", command, code, stderr)
		}
	}
	_, stdout, _ := h.CTL("status")
	for _, want := range []string{"1 VM is overdue, of 5", "1 backup failed since yesterday (", "bad: sna_refused: ", "no licence", "1 backup is in progress", running, " MiB received"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("status has no %q:\n%s", want, stdout)
		}
	}
	var s struct {
		rpc.AgentStatus
		VMBackups []rpc.VMBackups `json:"vm_backups"`
		Failures  []rpc.Backup    `json:"failures"`
		Running   []rpc.Backup    `json:"running"`
	}
	_, stdout, _ = h.CTL("status", "-o", "json")
	hubtest.Must(t, json.Unmarshal([]byte(stdout), &s))
	if s.VMs != 5 || len(s.VMBackups) != 5 || s.VMBackups[0].VMName != "late" || len(s.Failures) != 1 || len(s.Running) != 1 || s.Running[0].CopiedBytes < hubtest.DiskSize/2 {
		t.Errorf("%s", stdout)
	}
	h.Steps(
		hubtest.Step(hubtest.Words("backup list --state failed"), 0, "sna_refused", ""),
		hubtest.Step(hubtest.Words("backup list --state failed"), 0, "no licence", ""),
		hubtest.Step(hubtest.Words("backup list --state running"), 0, " MiB", ""),
		hubtest.Step(hubtest.Words("backup show "+running), 0, " MiB, the disks hold 8 MiB", ""),
	)
}
