package agent_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
)

// serve starts a restore and fails the test when that fails.
func (w *world) serve(req agent.RestoreRequest) record.Restore {
	w.Helper()
	r, err := w.agent.StartRestore(w.Context(), req)
	must(w.TB, err)
	if r.State != record.RestoreServing {
		w.Fatalf("restore %s is %s", r.ID, r.State)
	}
	return r
}

func (w *world) stopRestore(id string) record.Restore {
	w.Helper()
	r, err := w.agent.StopRestore(w.Context(), id)
	must(w.TB, err)
	return r
}

// waitRestore waits until a restore has ended.
func (w *world) waitRestore(id string) (r record.Restore) {
	w.Helper()
	w.eventually("restore "+id+" goes on", func() bool {
		var err error
		r, err = w.agent.Restore(id)
		must(w.TB, err)
		return !r.State.Active()
	})
	return r
}

// compareServed fails the test unless every disk of a restore, read over NBD, is what its source was.
func (w *world) compareServed(r record.Restore, frozen []string) {
	w.Helper()
	if len(r.Disks) != len(frozen) {
		w.Fatalf("%d disks are served, want %d", len(r.Disks), len(frozen))
	}
	for i, d := range r.Disks {
		info, err := os.Stat(frozen[i])
		must(w.TB, err)
		if d.CapacityBytes != info.Size() {
			w.Errorf("%s has %d bytes, want %d", d.URL, d.CapacityBytes, info.Size())
		}
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", frozen[i], d.URL).CombinedOutput(); err != nil {
			w.Errorf("%s is not what its disk was: %s", d.URL, out)
		}
		copied := filepath.Join(w.TempDir(), "copy.raw")
		if out, err := exec.Command("nbdcopy", d.URL, copied).CombinedOutput(); err != nil {
			w.Fatalf("nbdcopy: %s", out)
		}
		if digest(w.TB, copied) != digest(w.TB, frozen[i]) {
			w.Errorf("%s: what nbdcopy has read is not what the disk was", d.URL)
		}
		must(w.TB, os.Remove(copied))
	}
}

func digest(t testing.TB, paths ...string) string {
	t.Helper()
	h := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		must(t, err)
		_, err = io.Copy(h, f)
		must(t, errors.Join(err, f.Close()))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func imagesOf(points ...record.Backup) (paths []string) {
	for _, b := range points {
		for _, d := range b.Runs {
			paths = append(paths, d.Image)
		}
	}
	return paths
}

// write tries to write 64 KiB into an export.
func write(url string, offset int64) (string, error) {
	out, err := exec.Command("qemu-io", "-f", "raw", "-c", fmt.Sprintf("write -P 0x5a %d 64k", offset), "-c", "flush", url).CombinedOutput()
	if err == nil && strings.Contains(string(out), "rror") { // qemu-io exits with 0 after some
		err = errors.New("qemu-io")
	}
	return string(out), err
}

// TestRestoreOfEveryPoint: each restore point of a chain, with disks added and grown, is served as the VM was at its instant.
func TestRestoreOfEveryPoint(t *testing.T) {
	w := newWorld(t)
	vm, sources := w.putVM("Böse VM", 48<<20, 32<<20) // its directory is not its name
	full := w.point(vm.Name, record.Full)
	frozenFull := freeze(t, sources)

	scribble(t, sources[0], 10<<20)
	vm, sources = w.addDisk(vm, sources, 16<<20)
	added := w.point(vm.Name, record.Incremental)
	frozenAdded := freeze(t, sources)

	must(t, os.Truncate(sources[1], 40<<20))
	scribble(t, sources[1], 39<<20)
	scribble(t, sources[2], 1<<20)
	vm.Disks[1].CapacityBytes = 40 << 20
	w.putAgain(vm, sources)
	grown := w.point(vm.Name, record.Incremental)
	frozenGrown := freeze(t, sources)
	before := digest(t, imagesOf(full, added, grown)...)

	served := map[string]record.Restore{}
	for _, b := range []record.Backup{full, added, grown} {
		r := w.serve(agent.RestoreRequest{BackupID: b.ID})
		served[b.ID] = r
		if r.BackupID != b.ID || r.VMName != vm.Name || r.Points[0] != b.ID || r.ExpiresAt.Before(time.Now()) || r.Targets == "" {
			t.Errorf("got %+v", r)
		}
	}
	w.compareServed(served[full.ID], frozenFull)
	w.compareServed(served[added.ID], frozenAdded)
	w.compareServed(served[grown.ID], frozenGrown)
	if p := served[grown.ID].Points; !slices.Equal(p, []string{grown.ID, added.ID, full.ID}) {
		t.Errorf("points %v", p)
	}
	w.confined(served[grown.ID], grown, added, full)

	exports, err := w.agent.Exports(t.Context())
	if err != nil || len(exports) != 8 || exports[0].RestoreID == "" || exports[0].SentBytes == 0 {
		t.Errorf("exports %+v, error %v", exports, err)
	}
	if list, err := w.agent.Restores(true); err != nil || len(list) != 3 || w.agent.Status(t.Context()).ActiveRestores != 3 {
		t.Errorf("restores %+v, error %v", list, err)
	}
	w.wantSeries(w.scrape(), series{"sendense_restore_active": 3, "sendense_agent_exports": 8, "sendense_agent_orphan_units": 0})
	for _, r := range served {
		if ended := w.stopRestore(r.ID); ended.State != record.RestoreEnded || ended.Failure != nil || ended.EndedAt.IsZero() {
			t.Errorf("got %+v", ended)
		}
		w.stopRestore(r.ID) // nothing is left to do
	}
	w.clean()
	if digest(t, imagesOf(full, added, grown)...) != before {
		t.Error("the images have changed")
	}
}

// confined looks from within the exporters of a restore: of what lies in the repository they can write nothing but their own
// overlays.
func (w *world) confined(r record.Restore, points ...record.Backup) {
	w.Helper()
	repo := w.config.Repositories[0].Path
	for _, d := range r.Disks {
		root := fmt.Sprintf("/proc/%d/root", d.PID)
		dirs := []string{repo, filepath.Dir(filepath.Dir(points[0].Directory))}
		for _, b := range points {
			dirs = append(dirs, b.Directory)
			f, err := os.OpenFile(root+b.Runs[0].Image, os.O_WRONLY, 0)
			if err == nil {
				w.Errorf("disk %d: its exporter could write to %s: %v", d.DiskID, b.Runs[0].Image, f.Close())
			}
		}
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(root+dir, "x"), nil, 0o600); err == nil {
				w.Errorf("disk %d: its exporter could write to %s", d.DiskID, dir)
			}
		}
		if readOnly := slices.Contains(argv(w.TB, d.PID), "--read-only"); readOnly == r.Writable {
			w.Errorf("disk %d: %q", d.DiskID, argv(w.TB, d.PID))
		}
	}
}

func argv(t testing.TB, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	must(t, err)
	return strings.Split(string(text), "\x00")
}

// TestRestoreIsReadOnly: what a client writes is refused, and what a writable restore takes in is gone at its end.
func TestRestoreIsReadOnly(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 16<<20, 16<<20)
	full := w.point("vm", record.Full)
	scribble(t, sources[0], 1<<20)
	point := w.point("vm", record.Incremental)
	frozen := freeze(t, sources)
	before := digest(t, imagesOf(full, point)...)

	r := w.serve(agent.RestoreRequest{BackupID: point.ID})
	if out, err := write(r.Disks[0].URL, 0); err == nil {
		t.Errorf("a read-only export was written: %s", out)
	}
	scratch := w.serve(agent.RestoreRequest{BackupID: point.ID, Writable: true})
	for _, d := range scratch.Disks {
		if out, err := write(d.URL, 4<<20); err != nil {
			t.Errorf("a writable export was not written: %s", out)
		}
		if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "read -P 0x5a 4194304 64k", d.URL).CombinedOutput(); err != nil || strings.Contains(string(out), "failed") {
			t.Errorf("what was written is not there: %s", out)
		}
		if filepath.Dir(d.Image) != scratch.Directory {
			t.Errorf("%s does not lie in %s", d.Image, scratch.Directory)
		}
	}
	w.confined(scratch, point, full)
	w.compareServed(r, frozen)
	again := w.serve(agent.RestoreRequest{BackupID: point.ID, Writable: true, Disks: []int{1}})
	w.compareServed(again, frozen[1:])
	w.stopRestore(scratch.ID)
	if _, err := os.Stat(scratch.Directory); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", scratch.Directory, err)
	}
	w.stopRestore(r.ID)
	w.stopRestore(again.ID)
	w.clean()
	if digest(t, imagesOf(full, point)...) != before {
		t.Error("the images have changed")
	}
}

// TestRestoreHoldsItsPoint: what is served, and what that stands on, cannot be deleted; a backup of the VM runs beside it.
func TestRestoreHoldsItsPoint(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 16<<20)
	full := w.point("vm", record.Full)
	scribble(t, sources[0], 1<<20)
	point := w.point("vm", record.Incremental)
	frozen := freeze(t, sources)
	r := w.serve(agent.RestoreRequest{BackupID: point.ID})
	err := w.delete(point.ID)
	wantError(t, err, agent.BeingRestored, r.ID)
	if e := agent.AsError(err); e.RestoreID != r.ID || e.BackupID != point.ID {
		t.Errorf("%+v", e)
	}
	wantError(t, w.delete(full.ID), agent.HasChildren, point.ID)
	scribble(t, sources[0], 2<<20)
	newer := w.point("vm", record.Incremental)
	if newer.Parent != point.ID {
		t.Errorf("the backup beside it stands on %s", newer.Parent)
	}
	w.compareServed(r, frozen)
	must(t, w.delete(newer.ID))
	w.stopRestore(r.ID)
	must(t, w.delete(point.ID))
	w.gone(point)
}

func TestRestoreRefused(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxRestores = 1 })
	w.putVM("vm", 16<<20)
	point := w.point("vm", record.Full)
	for _, test := range []struct {
		req    agent.RestoreRequest
		reason agent.Reason
		says   string
	}{
		{agent.RestoreRequest{BackupID: "backup-vm-1"}, agent.BackupNotFound, "backup-vm-1"},
		{agent.RestoreRequest{BackupID: point.ID, Disks: []int{7}}, agent.InvalidRequest, "has no disk 7"},
		{agent.RestoreRequest{BackupID: point.ID, Disks: []int{0, 0}}, agent.InvalidRequest, "0 is there twice"},
		{agent.RestoreRequest{BackupID: point.ID, Lifetime: -time.Second}, agent.InvalidRequest, "lifetime"},
		{agent.RestoreRequest{BackupID: point.ID, Lifetime: 1000 * time.Hour}, agent.InvalidRequest, "at most 168h"},
	} {
		_, err := w.agent.StartRestore(t.Context(), test.req)
		wantError(t, err, test.reason, test.says)
	}
	w.sna.Hold("copy/0")
	running := w.startBackup("vm")
	_, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: running.ID})
	wantError(t, err, agent.WrongState, "running")
	w.serve(agent.RestoreRequest{BackupID: point.ID})
	_, err = w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: point.ID})
	wantError(t, err, agent.Busy, "the limit is 1")
	_, err = w.agent.StopRestore(t.Context(), "restore-vm-1")
	wantError(t, err, agent.RestoreNotFound, "restore-vm-1")
	w.sna.Release("copy/0")
	w.wait(running.ID)
}

// TestRestoreSurvivesTheAgent: a client that reads goes on reading while the agent is away, and the next agent takes the
// restore up.
func TestRestoreSurvivesTheAgent(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 16<<20, 16<<20)
	point := w.point("vm", record.Full)
	r := w.serve(agent.RestoreRequest{BackupID: point.ID, Writable: true})
	client, err := nbd.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", r.Disks[0].Port), r.Disks[0].ExportName)
	must(t, err)
	defer client.Close()
	w.stop()
	must(t, client.Flush())
	w.start()
	must(t, client.Flush())
	got, err := w.agent.Restore(r.ID)
	if err != nil || got.State != record.RestoreServing || got.Disks[0].PID != r.Disks[0].PID {
		t.Errorf("got %+v, error %v", got, err)
	}
	w.compareServed(got, freeze(t, sources))
	wantError(t, w.delete(point.ID), agent.BeingRestored, r.ID)
	must(t, client.Disconnect())
	if ended := w.stopRestore(r.ID); ended.State != record.RestoreEnded {
		t.Errorf("got %+v", ended)
	}
	w.clean()
}

// TestRestoreExpires: at the end of its time a restore ends by itself, also when the agent was away then; whoever is
// connected is not cut off before the latest time.
func TestRestoreExpires(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Restore.MaxLifetime = config.DurationOf(time.Hour) })
	w.putVM("vm", 16<<20)
	point := w.point("vm", record.Full)
	r := w.serve(agent.RestoreRequest{BackupID: point.ID, Lifetime: 500 * time.Millisecond})
	if ended := w.waitRestore(r.ID); ended.State != record.RestoreEnded || ended.EndedAt.Before(r.ExpiresAt) {
		t.Errorf("got %+v", ended)
	}
	w.clean()

	held := w.serve(agent.RestoreRequest{BackupID: point.ID, Writable: true, Lifetime: 500 * time.Millisecond})
	client, err := nbd.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", held.Disks[0].Port), held.Disks[0].ExportName)
	must(t, err)
	defer client.Close()
	short := w.serve(agent.RestoreRequest{BackupID: point.ID, Lifetime: time.Second})
	w.waitRestore(short.ID) // by now the first one's time is over too
	w.stop()
	w.start()
	must(t, client.Flush())
	if got, err := w.agent.Restore(held.ID); err != nil || got.State != record.RestoreServing {
		t.Errorf("a client was cut off: %+v, error %v", got, err)
	}
	must(t, client.Disconnect())
	if ended := w.waitRestore(held.ID); ended.State != record.RestoreEnded || ended.Failure != nil {
		t.Errorf("got %+v", ended)
	}
	w.clean()
}

// TestRestoreHasALatestEnd: nobody holds a restore for ever.
func TestRestoreHasALatestEnd(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Restore.Lifetime, c.Restore.MaxLifetime = config.DurationOf(time.Second), config.DurationOf(time.Second)
	})
	w.putVM("vm", 16<<20)
	r := w.serve(agent.RestoreRequest{BackupID: w.point("vm", record.Full).ID})
	client, err := nbd.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", r.Disks[0].Port), r.Disks[0].ExportName)
	must(t, err)
	defer client.Close()
	if ended := w.waitRestore(r.ID); ended.State != record.RestoreEnded {
		t.Errorf("got %+v", ended)
	}
	if err := client.Flush(); err == nil {
		t.Error("the client is still connected")
	}
}

// TestRestoreLosesAnExporter: one disk that is gone ends the restore, and says why: the others alone are no VM.
func TestRestoreLosesAnExporter(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 16<<20, 16<<20)
	r := w.serve(agent.RestoreRequest{BackupID: w.point("vm", record.Full).ID, Writable: true})
	kill(t, r.Disks[1].PID)
	ended := w.waitRestore(r.ID)
	if ended.State != record.RestoreFailed || ended.Failure == nil || ended.Failure.DiskID == nil || *ended.Failure.DiskID != 1 ||
		!strings.Contains(ended.Failure.Message, "signal") {
		t.Errorf("got %+v, failure %+v", ended, ended.Failure)
	}
	w.clean()
}
