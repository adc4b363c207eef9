package restore_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
)

// TestRestoreOfEveryPoint: each restore point of a chain, with disks added and grown, is served as the VM was at that time.
func TestRestoreOfEveryPoint(t *testing.T) {
	w := agenttest.New(t)
	vm, sources := w.PutVM("Böse VM", 48<<20, 32<<20) // its directory has another name
	full := w.Point(vm.Name, record.Full)
	frozenFull := agenttest.Freeze(t, sources)

	agenttest.Scribble(t, sources[0], 10<<20)
	vm, sources = w.Disks.Add(vm, sources, 16<<20)
	added := w.Point(vm.Name, record.Incremental)
	frozenAdded := agenttest.Freeze(t, sources)

	agenttest.Must(t, os.Truncate(sources[1], 40<<20))
	agenttest.Scribble(t, sources[1], 39<<20)
	agenttest.Scribble(t, sources[2], 1<<20)
	vm.Disks[1].CapacityBytes = 40 << 20
	w.Disks.PutAgain(vm, sources)
	grown := w.Point(vm.Name, record.Incremental)
	frozenGrown := agenttest.Freeze(t, sources)
	before := agenttest.Digest(t, agenttest.ImagesOf(full, added, grown)...)

	served := map[string]record.Restore{}
	for _, b := range []record.Backup{full, added, grown} {
		r := w.Restores.Serve(restore.Request{BackupID: b.ID})
		served[b.ID] = r
		if r.BackupID != b.ID || r.VMName != vm.Name || r.Points[0] != b.ID || r.ExpiresAt.Before(time.Now()) || r.Targets == "" {
			t.Errorf("got %+v", r)
		}
	}
	w.Restores.Compare(served[full.ID], frozenFull)
	w.Restores.Compare(served[added.ID], frozenAdded)
	w.Restores.Compare(served[grown.ID], frozenGrown)
	if p := served[grown.ID].Points; !slices.Equal(p, []string{grown.ID, added.ID, full.ID}) {
		t.Errorf("points %v", p)
	}
	w.Restores.Confined(served[grown.ID], grown, added, full)

	exports, err := w.Agent.ListExports(t.Context())
	if err != nil || len(exports) != 8 || exports[0].RestoreID == "" || exports[0].SentBytes == 0 {
		t.Errorf("exports %+v, error %v", exports, err)
	}
	if list, err := w.Agent.Restores.List(true); err != nil || len(list) != 3 || w.Agent.Status(t.Context()).ActiveRestores != 3 {
		t.Errorf("restores %+v, error %v", list, err)
	}
	w.WantSeries(w.Scrape(), agenttest.Series{"sendense_restore_active": 3, "sendense_agent_exports": 8, "sendense_agent_orphan_units": 0})
	for _, r := range served {
		if ended := w.Restores.Stop(r.ID); ended.State != record.RestoreEnded || ended.Failure != nil || ended.EndedAt.IsZero() {
			t.Errorf("got %+v", ended)
		}
		w.Restores.Stop(r.ID) // already ended
	}
	w.Clean()
	if agenttest.Digest(t, agenttest.ImagesOf(full, added, grown)...) != before {
		t.Error("the images have changed")
	}
}

// TestRestoreIsReadOnly: writes of a client are refused. What a writable restore receives is removed at its end.
func TestRestoreIsReadOnly(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 16<<20, 16<<20)
	full := w.Point("vm", record.Full)
	agenttest.Scribble(t, sources[0], 1<<20)
	point := w.Point("vm", record.Incremental)
	frozen := agenttest.Freeze(t, sources)
	before := agenttest.Digest(t, agenttest.ImagesOf(full, point)...)

	r := w.Restores.Serve(restore.Request{BackupID: point.ID})
	if out, err := agenttest.Write(r.Disks[0].URL, 0); err == nil {
		t.Errorf("a read-only export was written: %s", out)
	}
	scratch := w.Restores.Serve(restore.Request{BackupID: point.ID, Writable: true})
	for _, d := range scratch.Disks {
		if out, err := agenttest.Write(d.URL, 4<<20); err != nil {
			t.Errorf("a writable export was not written: %s", out)
		}
		if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "read -P 0x5a 4194304 64k", d.URL).CombinedOutput(); err != nil || strings.Contains(string(out), "failed") {
			t.Errorf("what was written is not there: %s", out)
		}
		if filepath.Dir(d.Image) != scratch.Directory {
			t.Errorf("%s does not lie in %s", d.Image, scratch.Directory)
		}
	}
	w.Restores.Confined(scratch, point, full)
	w.Restores.Compare(r, frozen)
	again := w.Restores.Serve(restore.Request{BackupID: point.ID, Writable: true, Disks: []int{1}})
	w.Restores.Compare(again, frozen[1:])
	w.Restores.Stop(scratch.ID)
	if _, err := os.Stat(scratch.Directory); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", scratch.Directory, err)
	}
	w.Restores.Stop(r.ID)
	w.Restores.Stop(again.ID)
	w.Clean()
	if agenttest.Digest(t, agenttest.ImagesOf(full, point)...) != before {
		t.Error("the images have changed")
	}
}

// TestRestoreHoldsItsPoint: a restore point that is served, and those that it is based on, cannot be deleted. A backup of the VM
// runs in parallel.
func TestRestoreHoldsItsPoint(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 16<<20)
	full := w.Point("vm", record.Full)
	agenttest.Scribble(t, sources[0], 1<<20)
	point := w.Point("vm", record.Incremental)
	frozen := agenttest.Freeze(t, sources)
	r := w.Restores.Serve(restore.Request{BackupID: point.ID})
	err := w.Delete(point.ID)
	agenttest.WantError(t, err, fault.BeingRestored, r.ID)
	if e := fault.From(err); e.RestoreID != r.ID || e.BackupID != point.ID {
		t.Errorf("%+v", e)
	}
	agenttest.WantError(t, w.Delete(full.ID), fault.HasChildren, point.ID)
	agenttest.Scribble(t, sources[0], 2<<20)
	newer := w.Point("vm", record.Incremental)
	if newer.Parent != point.ID {
		t.Errorf("the backup beside it stands on %s", newer.Parent)
	}
	w.Restores.Compare(r, frozen)
	agenttest.Must(t, w.Delete(newer.ID))
	w.Restores.Stop(r.ID)
	agenttest.Must(t, w.Delete(point.ID))
	w.Gone(point)
}

func TestRestoreRefused(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxRestores = 1 })
	w.PutVM("vm", 16<<20)
	point := w.Point("vm", record.Full)
	for _, test := range []struct {
		req    restore.Request
		reason fault.Reason
		says   string
	}{
		{restore.Request{BackupID: "backup-vm-1"}, fault.BackupNotFound, "backup-vm-1"},
		{restore.Request{BackupID: point.ID, Disks: []int{7}}, fault.InvalidRequest, "has no disk 7"},
		{restore.Request{BackupID: point.ID, Disks: []int{0, 0}}, fault.InvalidRequest, "disk 0 is listed twice"},
		{restore.Request{BackupID: point.ID, Lifetime: -time.Second}, fault.InvalidRequest, "lifetime"},
		{restore.Request{BackupID: point.ID, Lifetime: 1000 * time.Hour}, fault.InvalidRequest, "at most 168h"},
	} {
		_, err := w.Agent.Restores.Start(t.Context(), test.req)
		agenttest.WantError(t, err, test.reason, test.says)
	}
	w.SNA.Hold("copy/0")
	running := w.StartBackup("vm")
	_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: running.ID})
	agenttest.WantError(t, err, fault.WrongState, "running")
	w.Restores.Serve(restore.Request{BackupID: point.ID})
	_, err = w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID})
	agenttest.WantError(t, err, fault.Busy, "the limit is 1")
	_, err = w.Agent.Restores.Stop(t.Context(), "restore-vm-1")
	agenttest.WantError(t, err, fault.RestoreNotFound, "restore-vm-1")
	w.SNA.Release("copy/0")
	w.Wait(running.ID)
}

// TestRestoreSurvivesTheAgent: a client reads on while the agent is stopped, and the next agent takes over the restore.
func TestRestoreSurvivesTheAgent(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 16<<20, 16<<20)
	point := w.Point("vm", record.Full)
	r := w.Restores.Serve(restore.Request{BackupID: point.ID, Writable: true})
	client, err := nbd.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", r.Disks[0].Port), r.Disks[0].ExportName)
	agenttest.Must(t, err)
	defer client.Close()
	w.Stop()
	agenttest.Must(t, client.Flush())
	w.Start()
	agenttest.Must(t, client.Flush())
	got, err := w.Agent.Records.Restore(r.ID)
	if err != nil || got.State != record.RestoreServing || got.Disks[0].PID != r.Disks[0].PID {
		t.Errorf("got %+v, error %v", got, err)
	}
	w.Restores.Compare(got, agenttest.Freeze(t, sources))
	agenttest.WantError(t, w.Delete(point.ID), fault.BeingRestored, r.ID)
	agenttest.Must(t, client.Disconnect())
	if ended := w.Restores.Stop(r.ID); ended.State != record.RestoreEnded {
		t.Errorf("got %+v", ended)
	}
	w.Clean()
}

// TestRestoreExpires: a restore ends by itself when it expires, also if the agent was stopped at that time. A connected client is
// not disconnected before LatestAt.
func TestRestoreExpires(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Restore.MaxLifetime = config.DurationOf(time.Hour) })
	w.PutVM("vm", 16<<20)
	point := w.Point("vm", record.Full)
	r := w.Restores.Serve(restore.Request{BackupID: point.ID, Lifetime: 500 * time.Millisecond})
	if ended := w.Restores.Wait(r.ID); ended.State != record.RestoreEnded || ended.EndedAt.Before(r.ExpiresAt) {
		t.Errorf("got %+v", ended)
	}
	w.Clean()

	held := w.Restores.Serve(restore.Request{BackupID: point.ID, Writable: true, Lifetime: 500 * time.Millisecond})
	client, err := nbd.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", held.Disks[0].Port), held.Disks[0].ExportName)
	agenttest.Must(t, err)
	defer client.Close()
	short := w.Restores.Serve(restore.Request{BackupID: point.ID, Lifetime: time.Second})
	w.Restores.Wait(short.ID) // the first one has expired too
	w.Stop()
	w.Start()
	agenttest.Must(t, client.Flush())
	if got, err := w.Agent.Records.Restore(held.ID); err != nil || got.State != record.RestoreServing {
		t.Errorf("a client was cut off: %+v, error %v", got, err)
	}
	agenttest.Must(t, client.Disconnect())
	if ended := w.Restores.Wait(held.ID); ended.State != record.RestoreEnded || ended.Failure != nil {
		t.Errorf("got %+v", ended)
	}
	w.Clean()
}

// TestRestoreHasALatestEnd: no client can keep a restore up past LatestAt.
func TestRestoreHasALatestEnd(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Restore.Lifetime, c.Restore.MaxLifetime = config.DurationOf(time.Second), config.DurationOf(time.Second)
	})
	w.PutVM("vm", 16<<20)
	r := w.Restores.Serve(restore.Request{BackupID: w.Point("vm", record.Full).ID})
	client, err := nbd.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", r.Disks[0].Port), r.Disks[0].ExportName)
	agenttest.Must(t, err)
	defer client.Close()
	if ended := w.Restores.Wait(r.ID); ended.State != record.RestoreEnded {
		t.Errorf("got %+v", ended)
	}
	if err := client.Flush(); err == nil {
		t.Error("the client is still connected")
	}
}

// TestRestoreLosesAnExporter: the loss of one disk ends the restore, and the error says why: the other disks alone are no VM.
func TestRestoreLosesAnExporter(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 16<<20, 16<<20)
	r := w.Restores.Serve(restore.Request{BackupID: w.Point("vm", record.Full).ID, Writable: true})
	agenttest.Kill(t, r.Disks[1].PID)
	ended := w.Restores.Wait(r.ID)
	if ended.State != record.RestoreFailed || ended.Failure == nil || ended.Failure.DiskID == nil || *ended.Failure.DiskID != 1 ||
		!strings.Contains(ended.Failure.Message, "signal") {
		t.Errorf("got %+v, failure %+v", ended, ended.Failure)
	}
	w.Clean()
}
