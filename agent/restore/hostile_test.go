package restore_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// TestRestoreOfWhatIsNotWhatWasMade: if any file of a chain was replaced, nothing of the chain is served. A disk that is not based
// on it is.
func TestRestoreOfWhatIsNotWhatWasMade(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, image string){
		"an ancestor reads the host's files": func(t *testing.T, image string) { agenttest.Rebase(t, image, "/etc/shadow", "raw") },
		"a link": func(t *testing.T, image string) {
			agenttest.Must(t, os.Rename(image, image+".away"))
			agenttest.Must(t, os.Symlink(image+".away", image))
		},
		"another size": func(t *testing.T, image string) {
			agenttest.Must(t, os.Chmod(image, 0o600))
			if out, err := exec.Command("qemu-img", "resize", "-f", "qcow2", image, "+1M").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			agenttest.Must(t, os.Chmod(image, 0o440))
		},
		"no image":      func(t *testing.T, image string) { agenttest.Must(t, os.Remove(image)) },
		"another file":  func(t *testing.T, image string) { agenttest.Must(t, os.WriteFile(image, make([]byte, 1<<20), 0o600)) },
		"a FIFO":        func(t *testing.T, image string) { fifo(t, image) },
		"another chain": func(t *testing.T, image string) { agenttest.Rebase(t, image, "../../other/x.qcow2", "qcow2") },
	} {
		t.Run(name, func(t *testing.T) {
			w := agenttest.New(t)
			_, sources := w.PutVM("vm", 16<<20, 16<<20)
			full := w.Point("vm", record.Full)
			agenttest.Scribble(t, sources[0], 1<<20)
			point := w.Point("vm", record.Incremental)
			frozen := agenttest.Freeze(t, sources)
			harm(t, full.Runs[0].Image)
			_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID, DespiteDamage: true})
			agenttest.WantError(t, err, fault.Damaged, "disk 0 is damaged") // its content would be unknown
			_, err = w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID})
			e := agenttest.WantError(t, err, fault.Damaged, "disk 0 is damaged")
			if e.DiskID == nil || *e.DiskID != 0 || e.BackupID != point.ID || !strings.Contains(e.Message, full.Runs[0].Image) {
				t.Errorf("%+v", e)
			}
			if r, err := w.Agent.Records.Restore(e.RestoreID); err != nil || r.State != record.RestoreFailed || r.Failure == nil {
				t.Errorf("got %+v, error %v", r, err)
			}
			w.Clean()
			w.Restores.Compare(w.Restores.Serve(restore.Request{BackupID: point.ID, Disks: []int{1}}), frozen[1:])
		})
	}
}

func fifo(t *testing.T, path string) {
	t.Helper()
	agenttest.Must(t, os.Remove(path))
	if out, err := exec.Command("mkfifo", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestRestoreOfLostManifest: without a manifest it is unknown what an image must be.
func TestRestoreOfLostManifest(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 16<<20)
	point := w.Point("vm", record.Full)
	agenttest.Must(t, os.Remove(filepath.Join(point.Directory, "manifest.json")))
	_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID})
	agenttest.WantError(t, err, fault.Damaged, "manifest")
	path := w.Config.Repositories[0].Path
	agenttest.Must(t, os.Rename(path, path+".away"))
	agenttest.Must(t, os.Mkdir(path, 0o755)) // the empty mount point
	_, err = w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID, Writable: true})
	agenttest.WantError(t, err, fault.RepositoryFailed, "is it mounted?")
	agenttest.Must(t, os.Remove(path))
	agenttest.Must(t, os.Rename(path+".away", path))
}

// TestRestoreTakenUp: in whatever state a killed agent left a restore, the next agent ends it and removes everything.
func TestRestoreTakenUp(t *testing.T) {
	for _, left := range [][]record.RestoreState{
		{}, {record.RestoreExporting}, {record.RestoreExporting, record.RestoreServing}, {record.RestoreStopping},
	} {
		w := agenttest.New(t)
		w.PutVM("vm", 16<<20)
		point := w.Point("vm", record.Full)
		scratch := filepath.Join(w.Config.Repositories[0].Path, ".restore")
		r, err := w.Store.PrepareRestore(store.RestorePreparation{
			Restore: record.Restore{
				BackupID: point.ID, VMName: "vm", Repository: "main", Writable: true,
				ExpiresAt: time.Now().Add(time.Hour), LatestAt: time.Now().Add(time.Hour),
				Disks: []record.RestoreDisk{{DiskID: 0, Key: 2000, CapacityBytes: 16 << 20}},
			},
			Now: time.Now(), ID: func(unix int64) string { return nbd.RestoreID("vm", unix) },
			Ports: func(after uint16, _ func(uint16) bool, n int) ([]uint16, error) { return []uint16{10150}, nil },
			Complete: func(r *record.Restore, leases []record.Lease) {
				r.Disks[0].Unit = "sendense-nbd-" + r.ID + "-disk0-" + leases[0].Nonce
			},
		})
		agenttest.Must(t, err)
		for _, state := range left {
			_, _, err := w.Store.UpdateRestore(r.ID, time.Now(), func(r *record.Restore) error {
				r.State, r.ScratchMade, r.Directory = state, true, filepath.Join(scratch, r.ID)
				return nil
			})
			agenttest.Must(t, err)
			agenttest.Must(t, os.MkdirAll(filepath.Join(scratch, r.ID), 0o711))
		}
		w.Stop()
		w.Start()
		ended := w.Restores.Wait(r.ID)
		stopping := len(left) == 1 && left[0] == record.RestoreStopping // by request, as it has no failure
		if (ended.State == record.RestoreEnded) != stopping || (ended.Failure == nil) != stopping {
			t.Errorf("after %v: %+v, failure %+v", left, ended, ended.Failure)
		}
		w.Clean()
	}
}

// TestRestoreStoppedWhileItBegins: whenever a restore or the agent is stopped, nothing of the restore is left.
func TestRestoreStoppedWhileItBegins(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 16<<20, 16<<20)
	point := w.Point("vm", record.Full)
	for i := range 6 {
		started := make(chan error, 1)
		go func() {
			_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID, Writable: true})
			started <- err
		}()
		var active []record.Restore
		w.Eventually("the restore is on record", func() bool {
			var err error
			active, err = w.Store.ActiveRestores()
			agenttest.Must(t, err)
			return len(active) == 1
		})
		if i%2 == 0 {
			w.Restores.Stop(active[0].ID)
			<-started
		} else {
			w.Stop()
			<-started
			w.Start()
			w.Restores.Stop(active[0].ID)
		}
		w.Clean()
	}
}

// TestRestoreGivesWay: a writable restore ends before a backup lacks space.
func TestRestoreGivesWay(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Repositories = append(c.Repositories, config.Repository{ID: "small", Path: c.Repositories[0].Path + "-small"})
		agenttest.MountTmpfs(t, c.Repositories[1].Path, "size=128m")
		c.Space.Reserve, c.Space.Floor = config.SizeOf(64<<20), config.SizeOf(1<<20)
	})
	w.PutVM("vm", 128<<20)
	b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "small"})
	agenttest.Must(t, err)
	w.Wait(b.ID)
	r := w.Restores.Serve(restore.Request{BackupID: b.ID, Writable: true})
	_, _ = exec.Command("qemu-io", "-f", "raw", "-c", "write -P 0x5a 4M 96M", r.Disks[0].URL).CombinedOutput() // it may be disconnected
	ended := w.Restores.Wait(r.ID)
	if ended.State != record.RestoreFailed || ended.Failure == nil || ended.Failure.Reason != string(fault.NoSpace) {
		t.Errorf("got %+v, failure %+v", ended, ended.Failure)
	}
	w.Clean()
}

// TestRestoreUnderTheNameOfAnother: units that have names like those of restores, but are none, are not changed.
func TestRestoreUnderTheNameOfAnother(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 16<<20)
	r := w.Restores.Serve(restore.Request{BackupID: w.Point("vm", record.Full).ID})
	names := []string{"sendense-nbd-restore-vm-1-disk0-0123abcd", "sendense-nbd-" + r.ID + "-disk0-0123abcd", "sendense-nbd-restore"}
	for _, name := range names {
		if out, err := exec.Command("systemd-run", "--quiet", "--slice=sendense-nbd.slice", "--unit="+name, "sleep", "infinity").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	w.Stop()
	w.Start()
	w.Restores.Stop(r.ID)
	for _, name := range names {
		if out, err := exec.Command("systemctl", "is-active", name).CombinedOutput(); err != nil {
			t.Errorf("%s was touched: %s", name, out)
		}
		agenttest.Must(t, exec.Command("systemctl", "stop", name).Run())
	}
}
