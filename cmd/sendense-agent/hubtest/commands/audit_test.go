package commands_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestAudit: what changes something is on record with who asked and what the answer was, also the request during which the daemon was killed.
// Questions are not.
func TestAudit(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.Steps(
		hubtest.Step(hubtest.Words("vm list"), 0, "pgtest1", ""),
		hubtest.Step(hubtest.Words("doctor"), 0, "agent", ""),
		hubtest.Step(hubtest.Words("backup start nobody"), 1, "", "nobody"),
	)
	point := h.Point("pgtest1", rpc.Full)
	c := h.Dial()
	if _, err := c.PutVM(t.Context(), rpc.VM{VMName: "\x1b[2J"}); err == nil {
		t.Error("a VM whose name is an escape sequence")
	}
	hubtest.Must(t, c.DeleteBackup(t.Context(), rpc.DeleteRequest{BackupID: point}))
	h.SNA.Signal(syscall.SIGSTOP) // does not answer
	go func() { _, _ = c.StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1"}) }()
	h.Eventually("the SNA is asked", func() bool {
		list, err := h.Dial().ListBackups(t.Context(), rpc.BackupQuery{State: rpc.Calling})
		hubtest.Must(t, err)
		return len(list.Backups) == 1
	})
	h.Daemon.End(syscall.SIGKILL)
	h.SNA.Signal(syscall.SIGCONT)
	h.Boot()

	audited := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), hubtest.Program("sendense-agent"), append(args, "--config", h.Config)...).CombinedOutput()
		return string(out), err
	}
	verified, err := audited("audit", "verify")
	if err != nil || !strings.Contains(verified, ": ok, lines 1 to ") {
		t.Fatalf("%v: %s", err, verified)
	}
	text, err := audited("audit", "list", "-n", "0", "-o", "json")
	hubtest.Must(t, err)
	var list []audit.Entry
	for line := range strings.Lines(text) {
		var e audit.Entry
		hubtest.Must(t, json.Unmarshal([]byte(line), &e))
		if e.Kind != audit.Repaired && (e.UID == nil || *e.UID != 0 || e.User != "root" || e.PID == 0) {
			t.Errorf("who asked is not in %s", line)
		}
		list = append(list, e)
	}
	find := func(method, reason string) (requests, answers int) {
		for _, e := range list {
			switch {
			case e.Method == method && e.Kind == audit.Request:
				requests++
			case e.Method == method && e.Kind == audit.Answer && e.Reason == reason:
				answers++
			}
		}
		return requests, answers
	}
	for _, tt := range []struct {
		method, reason    string
		requests, answers int
	}{
		{"vm.put", "", 2, 1},
		{"vm.put", "invalid_request", 2, 1},
		{"backup.start", "vm_not_found", 3, 1},
		{"backup.start", "", 3, 1}, // the third one has no answer
		{"backup.delete", "", 1, 1},
		{"agent.doctor", "", 0, 0},
		{"vm.list", "", 0, 0},
	} {
		if requests, answers := find(tt.method, tt.reason); requests != tt.requests || answers != tt.answers {
			t.Errorf("%s: %d requests, %d answers with reason %q; want %d, %d\n%s", tt.method, requests, answers, tt.reason, tt.requests, tt.answers, text)
		}
	}
	if table, err := audited("audit", "list"); err != nil || !strings.Contains(table, "vm_not_found: ") || !strings.Contains(table, `backup.delete {"backup_id":"`+point) {
		t.Errorf("%v: %s", err, table)
	}
	_, head, _ := strings.Cut(strings.TrimSpace(verified), "head: ")
	h.AddVM("more", hubtest.DiskSize)
	if out, err := audited("audit", "verify", "--head", head); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	file := filepath.Join(h.Dir, "state", "audit", fmt.Sprintf("audit-%012d.jsonl", 1))
	if out, err := exec.Command("sed", "-i", "2s/root/toor/", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := audited("audit", "verify"); err == nil || !strings.Contains(out, "line 3: the line before it, number 2, was changed") {
		t.Errorf("%v: %s", err, out)
	}
}
