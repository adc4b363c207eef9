package verify_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
)

// harms are kinds of damage that are found without reading the image, and that QEMU serves all the same. Each has a function that makes
// it and one that undoes it.
var harms = map[string]struct {
	make, undo func(t *testing.T, b record.Backup)
	words      string
}{
	"cut short": {
		make: func(t *testing.T, b record.Backup) {
			image := b.Runs[0].Image
			keep(t, image)
			agenttest.Must(t, os.Truncate(image, sizeOf(t, image)-2<<20))
		},
		undo: func(t *testing.T, b record.Backup) {
			agenttest.Must(t, os.Rename(b.Runs[0].Image+".whole", b.Runs[0].Image))
		},
		words: "when the backup finished",
	},
	"cut short, without a digest": {
		make: func(t *testing.T, b record.Backup) {
			undigest(t, b)
			image := b.Runs[0].Image
			keep(t, image)
			agenttest.Must(t, os.Truncate(image, sizeOf(t, image)-2<<20))
		},
		undo: func(t *testing.T, b record.Backup) {
			agenttest.Must(t, os.Rename(b.Runs[0].Image+".whole", b.Runs[0].Image))
		},
		words: "clusters in use up to byte",
	},
	"the owner": {
		make:  func(t *testing.T, b record.Backup) { agenttest.Must(t, os.Chown(b.Runs[0].Image, 4001, -1)) },
		undo:  func(t *testing.T, b record.Backup) { agenttest.Must(t, os.Chown(b.Runs[0].Image, 0, -1)) },
		words: "belongs to uid 4001",
	},
	"the mode": {
		make:  func(t *testing.T, b record.Backup) { agenttest.Must(t, os.Chmod(b.Runs[0].Image, 0o666)) },
		undo:  func(t *testing.T, b record.Backup) { agenttest.Must(t, os.Chmod(b.Runs[0].Image, 0o440)) },
		words: "can be written by others (mode 0666)",
	},
	"the owner of the directory": {
		make:  func(t *testing.T, b record.Backup) { agenttest.Must(t, os.Chown(b.Directory, 4001, -1)) },
		undo:  func(t *testing.T, b record.Backup) { agenttest.Must(t, os.Chown(b.Directory, 0, -1)) },
		words: "is in a directory of uid 4001",
	},
	"QEMU's mark": {
		make:  func(t *testing.T, b record.Backup) { agenttest.Flip(t, b.Runs[0].Image, 79, 1) }, // the incompatible feature "corrupt"
		undo:  func(t *testing.T, b record.Backup) { agenttest.Flip(t, b.Runs[0].Image, 79, 1) },
		words: "is marked as damaged",
	},
}

// keep copies an image, with owner and mode, to a file beside it.
func keep(t *testing.T, image string) {
	t.Helper()
	if out, err := exec.Command("cp", "--archive", image, image+".whole").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestRestoreOfWhatIsDamaged: a restore finds damage that no verification has found, in its restore point and in what that is based on,
// before it serves anything. The damage is then on record, also for all that is based on it. A restore despite damage is served, and
// names the damage.
func TestRestoreOfWhatIsDamaged(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			w := agenttest.New(t)
			_, sources := w.PutVM("vm", 16<<20)
			agenttest.Scribble(t, sources[0], 6<<20)
			full := w.Point("vm", record.Full)
			top := w.Point("vm", record.Incremental)
			w.Restores.Stop(w.Restores.Serve(restore.Request{BackupID: top.ID}).ID)
			harm.make(t, full)
			for _, req := range []restore.Request{{BackupID: top.ID}, {BackupID: full.ID}, {BackupID: top.ID, Writable: true}} {
				_, err := w.Agent.Restores.Start(t.Context(), req)
				e := agenttest.WantError(t, err, fault.Damaged, harm.words)
				if !strings.Contains(e.Message, full.Runs[0].Image) || e.DiskID == nil || !strings.Contains(e.Hint, "--despite-damage") {
					t.Errorf("%+v", e)
				}
			}
			w.Clean()
			for _, b := range []record.Backup{full, top} {
				if now, err := w.Agent.Records.Backup(b.ID); err != nil || !now.Damaged() {
					t.Errorf("%s: on record is %+v, error %v", b.ID, now.Verified, err)
				}
			}
			_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
			agenttest.WantError(t, err, fault.NoParent, "damaged")
			_, err = w.Agent.Merges.SyntheticFull(t.Context(), top.ID)
			agenttest.WantError(t, err, fault.ImageFailed, "damaged")

			r := w.Restores.Serve(restore.Request{BackupID: top.ID, DespiteDamage: true})
			if len(r.Damage) != 1 || r.Damage[0].Path != full.Runs[0].Image || r.Damage[0].BackupID != full.ID || !strings.Contains(r.Damage[0].Problem, harm.words) {
				t.Errorf("the restore tells of %+v", r.Damage)
			}
			w.Restores.Stop(r.ID)

			harm.undo(t, full)
			agenttest.WantVerified(t, w.Verify(top, false), record.VerifiedOK, nil)
			if r := w.Restores.Serve(restore.Request{BackupID: top.ID, DespiteDamage: true}); r.Damage != nil || r.Warnings != nil {
				t.Errorf("of a chain that is whole again it tells %+v", r.Damage)
			}
		})
	}
}

// TestRestoreVerifiesDigests: a restore serves damage that only reading shows, unless it verifies digests first. Then the damage is
// named and on record, and the restore is refused.
func TestRestoreVerifiesDigests(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	top, image := points[2], points[0].Runs[0].Image
	began := time.Now()
	r := w.Restores.Serve(restore.Request{BackupID: top.ID, VerifyDigests: true, Lifetime: time.Hour})
	if !r.DigestsVerified || r.Damage != nil {
		t.Errorf("%+v", r)
	}
	if left := r.ExpiresAt.Sub(began); left < time.Hour || left > time.Hour+time.Since(began) {
		t.Errorf("it is served for %s after it was read", left)
	}
	w.Restores.Stop(r.ID)

	at := agenttest.DataOffset(t, image)
	agenttest.Flip(t, image, at, 3)
	if r = w.Restores.Serve(restore.Request{BackupID: top.ID}); r.DigestsVerified || r.Damage != nil {
		t.Errorf("of what nobody has read it tells %+v", r)
	}
	w.Restores.Stop(r.ID)
	_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: top.ID, VerifyDigests: true})
	if e := agenttest.WantError(t, err, fault.Damaged, "disk 0 is damaged"); !strings.Contains(e.Message, image+": is not what was written") {
		t.Errorf("%s", e.Message)
	}
	if b, err := w.Agent.Records.Backup(points[0].ID); err != nil || len(b.Damage()) != 1 || !b.Damage()[0].Deep {
		t.Errorf("on record is %+v, error %v", b.Verified, err)
	}
	r = w.Restores.Serve(restore.Request{BackupID: top.ID, Disks: []int{1}, VerifyDigests: true}) // the other disk is not based on it
	if !r.DigestsVerified {
		t.Errorf("%+v", r)
	}
	w.Restores.Stop(r.ID)
	r = w.Restores.Serve(restore.Request{BackupID: top.ID, VerifyDigests: true, DespiteDamage: true})
	if r.DigestsVerified || len(r.Damage) != 1 || r.Damage[0].Path != image {
		t.Errorf("%+v", r)
	}
	w.Restores.Stop(r.ID)

	agenttest.Flip(t, image, at, 3)
	agenttest.WantVerified(t, w.Verify(points[0], true), record.VerifiedOK, nil)
	undigest(t, points[1])
	_, err = w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: top.ID, VerifyDigests: true})
	agenttest.WantError(t, err, fault.WrongState, "has no digest")
	w.Clean()
}

// TestDamageIsTold: watchers get an event for each restore point that becomes damaged, by itself or by what it is based on, and for each
// that is not damaged any more.
func TestDamageIsTold(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	stream, err := w.Agent.Watch(t.Context(), events.Query{})
	agenttest.Must(t, err)
	image := points[0].Runs[0].Image
	at := agenttest.DataOffset(t, image)
	for _, damaged := range []bool{true, false} {
		agenttest.Flip(t, image, at, 3)
		w.Verify(points[2], true)
		heard := map[string]bool{}
		for len(heard) < len(points) {
			select {
			case e := <-stream:
				if delete(heard, e.Backup.ID); e.Backup.Damaged() == damaged { // it was verified before its parent
					heard[e.Backup.ID] = true
				}
			case <-time.After(time.Minute):
				t.Fatalf("only %v are told of", heard)
			}
		}
	}
}
