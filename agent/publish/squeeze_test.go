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
