package publish_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func squeezing(c *config.Config, _ *snatest.Options) { c.Squeeze.MinSize = config.SizeOf(1 << 20) }

// fill writes new random data to a whole disk.
func fill(t *testing.T, source string, size int64) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data)
	agenttest.Must(t, os.WriteFile(source, data, 0o600))
}

// TestSqueeze: after a reset of change tracking the client copies a disk whole, and only what differs from the parent is kept. The
// restore point reads as the disk, and the next backup is based on it.
func TestSqueeze(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"k1": agenttest.FirstKey})
	for name, configure := range map[string]func(*config.Config, *snatest.Options){
		"plain":     func(*config.Config, *snatest.Options) {},
		"encrypted": agenttest.Encrypted("k1"),
	} {
		t.Run(name, func(t *testing.T) {
			w := agenttest.New(t, configure, squeezing)
			vm, sources := w.PutVM("vm", 16<<20, 1<<20)
			fill(t, sources[0], 16<<20)
			full := w.Point("vm", record.Full)
			first := agenttest.Freeze(t, sources)
			agenttest.Scribble(t, sources[0], 1<<20)
			w.Disks.ResetTracking(vm, sources, 0)
			b := w.Point("vm", record.Incremental)
			second := agenttest.Freeze(t, sources)
			d, other := b.Runs[0], b.Runs[1]
			if d.Copied != record.CopiedWhole || d.Content != record.Changes || d.Backing == "" || d.WrittenBytes < 15<<20 {
				t.Errorf("the disk that was copied whole: %+v", d)
			}
			if other.WrittenBytes != 0 || other.Copied != record.CopiedChanges {
				t.Errorf("the other: %+v", other)
			}
			if m := w.Manifest(b).Disks[0]; m.WrittenBytes != d.WrittenBytes || m.AllocatedBytes > 4<<20 || m.Content != record.Changes || m.Backing != d.Backing {
				t.Errorf("manifest: %+v", m)
			}
			agenttest.Scribble(t, sources[0], 1<<20)
			next := w.Point("vm", record.Incremental)
			if d := next.Runs[0]; d.Copied != record.CopiedChanges || d.WrittenBytes != 0 {
				t.Errorf("after it: %+v", d)
			}
			agenttest.WantVerified(t, w.Verify(next, true), record.VerifiedOK, nil)
			if name == "plain" {
				w.ComparePoint(full, first)
				w.ComparePoint(b, second)
				w.ComparePoint(next, agenttest.Freeze(t, sources))
				return
			}
			w.Restores.Compare(w.Restores.Serve(restore.Request{BackupID: b.ID}), second)
		})
	}
}

// TestSqueezeFails: a squeeze that fails, or is not worth it, makes no backup fail, and leaves nothing behind.
func TestSqueezeFails(t *testing.T) {
	for name, c := range map[string]struct {
		configure func(*config.Config)
		replaced  bool // the contents of the disk as well
		left      bool // of an agent that was killed while it squeezed
		squeezed  bool
	}{
		"it is disabled":           {configure: func(c *config.Config) { c.Squeeze.Enabled = false }},
		"the image is small":       {configure: func(c *config.Config) { c.Squeeze.MinSize = config.SizeOf(1 << 30) }},
		"everything differs":       {configure: func(*config.Config) {}, replaced: true},
		"an earlier try was ended": {configure: func(*config.Config) {}, left: true, squeezed: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := agenttest.New(t, squeezing, func(config *config.Config, _ *snatest.Options) { c.configure(config) })
			vm, sources := w.PutVM("vm", 4<<20)
			fill(t, sources[0], 4<<20)
			w.Point("vm", record.Full)
			if c.replaced {
				fill(t, sources[0], 4<<20)
			}
			w.Disks.ResetTracking(vm, sources, 0)
			w.SNA.Hold("disconnect/0")
			b := w.Ask("vm", "main")
			if c.left {
				w.WaitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
				agenttest.Must(t, os.WriteFile(b.Runs[0].Image+repository.SqueezedSuffix, []byte("half an image"), 0o600))
			}
			w.SNA.Release("disconnect/0")
			b = w.Wait(b.ID)
			d := b.Runs[0]
			if b.State != record.Completed || (d.WrittenBytes != 0) != c.squeezed || (d.Content == record.Changes) != c.squeezed || (d.Backing != "") != c.squeezed {
				t.Errorf("%s, %+v", b.State, d)
			}
			w.ComparePoint(b, agenttest.Freeze(t, sources))
			if left, err := filepath.Glob(b.Directory + "/*" + repository.SqueezedSuffix); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// TestSqueezeOntoAnother: a disk that has no backing image, or that of another disk, is reduced to what differs from the image of the parent
// that is most like it. The restore points read as the disks, also after a merge.
func TestSqueezeOntoAnother(t *testing.T) {
	w := agenttest.New(t, squeezing)
	const size = 4 << 20
	vm, sources := w.PutVM("vm", size, size, size+2<<20, size, size, size)
	uuids := []string{"52 00", "52 01", "52 02", "52 03", "52 04", "52 05"}
	put := func() {
		simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
		for i, d := range vm.Disks {
			simulated.Disks = append(simulated.Disks, snatest.Disk{Key: d.Key(), UnitNumber: d.UnitNumber, Source: sources[i], UUID: uuids[i]})
		}
		agenttest.Must(t, w.SNA.SetVM(simulated))
		_, err := w.Agent.Inventory.Put(vm)
		agenttest.Must(t, err)
	}
	for i, d := range vm.Disks {
		fill(t, sources[i], d.CapacityBytes)
	}
	put()
	full := w.Point("vm", record.Full)
	first := agenttest.Freeze(t, sources)

	agenttest.Must(t, os.Truncate(sources[2], size))
	vm.Disks[2].CapacityBytes = size
	vm.Disks[3].DeviceKey, vm.Disks[3].UnitNumber = 2016, 0
	sources[4], sources[5], uuids[4], uuids[5] = sources[5], sources[4], uuids[5], uuids[4]
	for _, source := range sources {
		agenttest.Scribble(t, source, 1<<20)
	}
	uuids[1] = "52 99"
	put()
	b := w.Point("vm", record.Incremental)
	second := agenttest.Freeze(t, sources)
	for i, want := range []struct {
		change record.Change
		from   int // the disk of the parent
	}{{record.Same, 0}, {record.Replaced, 1}, {record.Replaced, 2}, {record.Added, 3}, {record.Replaced, 5}, {record.Replaced, 4}} {
		d := b.Runs[i]
		if d.Change != want.change || d.Content != record.Changes || filepath.Base(d.Backing) != filepath.Base(full.Runs[want.from].Image) || (d.WrittenBytes > 3<<20) != (i > 0) || d.KeptBytes > 1<<20 {
			t.Errorf("disk %d, want %+v: %+v", i, want, d)
		}
	}
	for _, source := range sources {
		agenttest.Scribble(t, source, 2<<20)
	}
	next := w.Point("vm", record.Incremental)
	for _, d := range next.Runs {
		if d.Copied != record.CopiedChanges || d.Change != record.Same || d.WrittenBytes != 0 {
			t.Errorf("after it: %+v", d)
		}
	}
	agenttest.WantVerified(t, w.Verify(next, true), record.VerifiedOK, nil)
	w.ComparePoint(full, first)
	w.ComparePoint(b, second)
	third := agenttest.Freeze(t, sources)
	w.ComparePoint(next, third)
	next, err := w.Agent.Merges.SyntheticFull(t.Context(), next.ID)
	agenttest.Must(t, err)
	w.ComparePoint(next, third)
}

// TestSqueezeCanceled: a backup that is canceled while an image is squeezed leaves nothing.
func TestSqueezeCanceled(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"k1": agenttest.FirstKey})
	w := agenttest.New(t, squeezing, agenttest.Encrypted("k1")) // QEMU takes seconds to make an encrypted image
	vm, sources := w.PutVM("vm", 4<<20)
	fill(t, sources[0], 4<<20)
	full := w.Point("vm", record.Full)
	w.Disks.ResetTracking(vm, sources, 0)
	b := w.Ask("vm", "main")
	w.WaitFor(b.ID, func(b record.Backup) bool {
		_, err := os.Stat(b.Runs[0].Image + repository.SqueezedSuffix)
		return err == nil
	})
	_, err := w.Agent.Backups.Cancel(t.Context(), b.ID)
	agenttest.Must(t, err)
	if b = w.Wait(b.ID); b.State != record.Cancelled {
		t.Errorf("%s: %+v", b.State, b.Failure)
	}
	if _, err := os.Stat(b.Directory); !os.IsNotExist(err) {
		t.Errorf("%s: %v", b.Directory, err)
	}
	agenttest.WantVerified(t, w.Verify(full, true), record.VerifiedOK, nil)
}
