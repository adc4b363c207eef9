package hostiletest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd/iomode"
)

// replace moves a file or directory away while f runs, and calls put to make something else in its place.
func replace(t testing.TB, path string, put func() error, f func()) {
	t.Helper()
	agenttest.Must(t, os.Rename(path, path+".away"))
	agenttest.Must(t, put())
	f()
	agenttest.Must(t, errors.Join(os.RemoveAll(path), os.Rename(path+".away", path)))
}

// TestHostileRepository: whatever replaces a restore point, no incremental is based on it, no caller waits for it, and nothing that
// it links to is changed.
func TestHostileRepository(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.PutVM("other", 8<<20)
	mine, other := w.Point("vm", record.Full), w.Point("other", record.Full)
	image, manifest := mine.Runs[0].Image, filepath.Join(mine.Directory, "manifest.json")
	before, err := os.ReadFile(other.Runs[0].Image)
	agenttest.Must(t, err)
	for _, attack := range []struct {
		what, path string
		put        func() error
	}{
		{"image is a link to another VM's", image, func() error { return os.Symlink(other.Runs[0].Image, image) }},
		{"image is a link to a secret", image, func() error { return os.Symlink("/etc/shadow", image) }},
		{"image is a FIFO", image, func() error { return unix.Mkfifo(image, 0o666) }},
		{"image is a device", image, func() error { return unix.Mknod(image, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }},
		{"image is a directory", image, func() error { return os.Mkdir(image, 0o755) }},
		{"manifest is a link to another VM's", manifest, func() error { return os.Symlink(filepath.Join(other.Directory, "manifest.json"), manifest) }},
		{"manifest is another VM's", manifest, func() error { return os.Link(filepath.Join(other.Directory, "manifest.json"), manifest) }},
		{"directory is a link to another VM's", mine.Directory, func() error { return os.Symlink(other.Directory, mine.Directory) }},
		{"VM is a link to another", filepath.Dir(mine.Directory), func() error { return os.Symlink("other", filepath.Dir(mine.Directory)) }},
	} {
		replace(t, attack.path, attack.put, func() {
			within(t, attack.what, time.Minute, func() {
				b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
				if err == nil {
					t.Errorf("%s: %s was started", attack.what, b.ID)
					_, _ = w.Agent.Backups.Cancel(t.Context(), b.ID)
				}
			})
		})
	}
	if after, err := os.ReadFile(other.Runs[0].Image); err != nil || string(after) != string(before) {
		t.Errorf("the other VM's image was changed: %v", err)
	}
	if b := w.Point("vm", record.Incremental); b.Parent != mine.ID { // everything is restored
		t.Errorf("stands on %s", b.Parent)
	}
}

// TestParentDamagedInTheQueue: a chain is checked before it is opened, not only before the backup is queued.
func TestParentDamagedInTheQueue(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.PutVM("vm", 8<<20)
	w.PutVM("first", 8<<20)
	full := w.Point("vm", record.Full)
	w.SNA.Hold("copy/0")
	first := w.StartBackup("first")
	queued, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main", Queue: true})
	agenttest.Must(t, err)
	if queued.State != record.Queued {
		t.Fatalf("%s is %s", queued.ID, queued.State)
	}
	agenttest.Rebase(t, full.Runs[0].Image, "/etc/shadow", "raw")
	w.SNA.Release("copy/0")
	w.Wait(first.ID)
	if queued = w.Wait(queued.ID); queued.State != record.Failed || queued.Failure == nil || queued.Failure.Reason != string(fault.NoParent) {
		t.Errorf("%s is %s: %+v", queued.ID, queued.State, queued.Failure)
	}
	if n := w.Posts(queued.ID); n != 0 {
		t.Errorf("the SNA was asked %d times", n)
	}
}

// TestHostileBackingAtTheEnd: a published image is based on what was made, and on nothing else.
func TestHostileBackingAtTheEnd(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	image := b.Runs[0].Image
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", image+".other", "8M").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	agenttest.Must(t, errors.Join(os.Chmod(image+".other", 0o644), os.Rename(image+".other", image)))
	w.SNA.Release("copy/0")
	if b = w.Wait(b.ID); b.State != record.Failed {
		t.Errorf("%s is %s, and stands on /etc/shadow", b.ID, b.State)
	}
}

// TestExporterFollowsNowhere starts the real exporter on images that the agent would never give it. It cannot see the files that
// they name.
func TestExporterFollowsNowhere(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("other", 8<<20)
	other := w.Point("other", record.Full)
	agenttest.Must(t, errors.Join(os.Chmod(other.Directory, 0o755), os.Chmod(other.Runs[0].Image, 0o644))) // permissions do not prevent it
	repo := w.Config.Repositories[0].Path
	dir := filepath.Join(repo, "vm", "backup-vm-1")
	agenttest.Must(t, os.MkdirAll(dir, 0o755))
	defer w.RemoveAll(filepath.Dir(dir))
	image := filepath.Join(dir, "vm-disk0.qcow2")
	outside := filepath.Join(w.Dir, "outside.raw")
	agenttest.WriteSource(t, outside, 8<<20)
	for _, backing := range []struct {
		what, format, name string
		ancestors          []string
		starts             bool
	}{
		{"parent", "qcow2", other.Runs[0].Image, []string{other.Directory}, true},
		{"another VM's image", "qcow2", other.Runs[0].Image, nil, false},
		{"a secret", "raw", "/etc/shadow", nil, false},
		{"a network", "raw", "nbd://127.0.0.1:" + agenttest.Itoa(int(w.Config.NBD.LastPort)) + "/x", nil, false},
	} {
		out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", backing.name, "-F", backing.format, image, "8M").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		agenttest.Must(t, errors.Join(os.Chmod(dir, 0o777), os.Chmod(image, 0o666)))
		spec, err := export.Exporter{
			Unit: "sendense-nbd-test-" + agenttest.Itoa(len(backing.what)), Image: image, Export: "vm-disk0",
			Address: "127.0.0.1:" + agenttest.Itoa(int(w.Config.NBD.LastPort)), IO: iomode.Buffered,
			Repository: repo, Directory: dir, Ancestors: backing.ancestors,
		}.Spec(w.Config)
		agenttest.Must(t, err)
		_, err = w.Units.Start(t.Context(), spec)
		if (err == nil) != backing.starts {
			t.Errorf("%s: %v", backing.what, err)
		}
		if err == nil {
			agenttest.Must(t, w.Units.Remove(t.Context(), spec.Name))
		}
	}
}
