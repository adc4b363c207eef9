package commands_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestSchedules: groups, schedules and runs as a person sees them. Nobody starts a backup of a VM by name.
func TestSchedules(t *testing.T) {
	h := hubtest.New(t, `
[[group]]
id = "web"
vms = ["web-*"]
exclude = ["*-test"]
rpo = "5h"
[[group]]
id = "idle"
vms = ["idle-*"]
[[schedule]]
id = "nightly"
groups = ["web"]
calendar = "2199-01-01 22:00"
time_zone = "Europe/Berlin"
type = "full"
retries = 0
`)
	for _, vm := range []string{"web-01", "web-ödd näme", "web-01-test", "forgotten"} {
		h.AddVM(vm, hubtest.DiskSize)
	}
	c := h.Dial()
	_, err := c.PutVM(t.Context(), rpc.VM{VMName: "web-empty"})
	hubtest.Must(t, err)
	h.Steps(
		hubtest.Step(hubtest.Words("group list"), 0, "web    3    0        5h00m", ""),
		hubtest.Step(hubtest.Words("group list"), 0, "1 VM is in no group", ""),
		hubtest.Step(hubtest.Words("group list"), 0, "No schedule backs up group idle.", ""),
		hubtest.Step(hubtest.Words("group show web"), 0, "web-01-test", ""),
		hubtest.Step(hubtest.Words("group show web -o wide"), 0, `excluded: its name fits "*-test"`, ""),
		hubtest.Step(hubtest.Words("group show db"), 1, "", `group "db" is not configured`),
		hubtest.Step(hubtest.Words("schedule list"), 0, "2199-01-01 22:00  2199-01-01 21:00", ""),
		hubtest.Step(hubtest.Words("schedule next nightly"), 0, "2199-01-01 21:00:00 UTC", ""),
		hubtest.Step(hubtest.Words("schedule next weekly"), 1, "", `schedule "weekly" is not configured`),
		hubtest.Step(hubtest.Words("schedule pause nightly --reason disks"), 0, ": disks. To let it continue", ""),
		hubtest.Step(hubtest.Words("schedule list"), 0, "paused", ""),
		hubtest.Step(hubtest.Words("schedule next nightly"), 0, "sendensectl schedule resume nightly", "begins no runs: paused"),
		hubtest.Step(hubtest.Words("schedule resume nightly"), 0, "Its next run: 2199-01-01", ""),
		hubtest.Step(hubtest.Words("run list"), 0, "RUN", "no runs are on record"),
		hubtest.Step(hubtest.Words("schedule run nightly --wait"), 1, "vm_has_no_disks: vm ", "2 completed, 1 failed"),
		hubtest.Step(hubtest.Words("run list"), 0, "partial", ""),
		hubtest.Step(hubtest.Words("run cancel nightly-1"), 1, "", `run "nightly-1" is not on record`),
	)
	_, stdout, _ := h.CTL("run", "list", "-o", "json")
	var list rpc.RunList
	hubtest.Must(t, json.Unmarshal([]byte(stdout), &list))
	if len(list.Runs) != 1 || list.Runs[0].Counts != (rpc.RunCounts{Completed: 2, Failed: 1}) {
		t.Fatalf("%s", stdout)
	}
	id := list.Runs[0].RunID
	h.Steps(
		hubtest.Step([]string{"run", "show", id, "-o", "wide"}, 0, "vm_has_no_disks", ""),
		hubtest.Step([]string{"run", "watch", id}, 1, "web-ödd näme  completed", "2 completed, 1 failed"),
		hubtest.Step([]string{"run", "cancel", id}, 1, "", "has ended: it is partial"),
	)
	_, stdout, _ = h.CTL("__complete", "run", "show", "")
	if !strings.Contains(stdout, id+"\tpartial") {
		t.Errorf("completion: %s", stdout)
	}
	h.Hold("copy/0")
	watch := hubtest.Start(t, hubtest.Program("sendensectl"), "schedule", "run", "nightly", "--wait")
	var copied []string
	h.Eventually("two VMs are copied", func() bool {
		list, err := c.ListBackups(t.Context(), rpc.BackupQuery{State: rpc.Running})
		hubtest.Must(t, err)
		copied = nil
		for _, b := range list.Backups {
			copied = append(copied, b.BackupID)
		}
		return len(copied) == 2
	})
	for _, id := range copied { // a client that asks for a change id while there is no daemon gives up
		hubtest.Must(t, h.Get("wait", url.Values{"job": {id}, "for": {"copy/0"}}, new(snatest.RunState)))
	}
	h.Daemon.End(syscall.SIGTERM)
	h.Boot()
	h.Release("copy/0")
	if code, exited := watch.Exited(hubtest.Patience); !exited || code != 1 || !strings.Contains(watch.Stderr(), "the agent does not answer") || !strings.Contains(watch.Stderr(), "2 completed, 1 failed") {
		t.Errorf("a restart of the daemon: %d, %v: %s", code, exited, watch.Stderr())
	}
	c = h.Dial()
	r, err := c.GetRun(t.Context(), id)
	hubtest.Must(t, err)
	for _, v := range r.VMs {
		if v.State == "completed" {
			b, err := c.GetBackup(t.Context(), v.Tries[0].BackupID)
			hubtest.Must(t, err)
			if b.State != rpc.Completed || b.Tags["run"] != id {
				t.Errorf("%+v", b)
			}
		}
	}
}
