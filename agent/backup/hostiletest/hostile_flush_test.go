package hostiletest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// The storage refuses the last writes of qemu-nbd (NFS, thin pool, copy-on-write file system). qemu-nbd says so on stderr, exits
// with status 0, and leaves an image that has leaked clusters and no other fault.
func TestFlushFailsAtExit(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.NBD.QemuNBD = "/usr/local/bin/eio-qemu-nbd"
		agenttest.Must(t, os.WriteFile(c.NBD.QemuNBD, []byte(`#!/bin/sh
for node; do :; done
image=${node##*'"filename":"'} image=${image%%'"'*}
qemu-io -f qcow2 -c 'write -q 0 64k' "$image" || exit 1
n=$#; i=0
while [ $i -lt $n ]; do
a=$1; shift; i=$((i+1))
[ "$a" != "$node" ] || a=$(printf %s "$node" | sed 's/{"driver":"file",\("filename":"[^"]*"\)}/{"driver":"blkdebug","image":{"driver":"file",\1},"inject-error":[{"event":"none","iotype":"write","sector":8192,"errno":5}]}/')
set -- "$@" "$a"
done
exec /usr/bin/qemu-nbd "$@"
`), 0o755))
	})
	w.PutVM("vm", 8<<20)
	b := w.StartBackup("vm")
	if b = w.Wait(b.ID); b.State != record.Failed || b.Failure.Reason != string(fault.ExporterFailed) {
		t.Errorf("it is %s: %+v", b.State, b.Failure)
	}
}

// Clusters that are counted as used and are not, because a process was killed before it could free them, are waste, not damage:
// they are freed, and the manifest says how many.
func TestLeakedClustersAreGivenBack(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.NBD.QemuNBD = "/usr/local/bin/leaky-qemu-nbd"
		agenttest.Must(t, os.WriteFile(c.NBD.QemuNBD, []byte(`#!/bin/sh
for node; do :; done
image=${node##*'"filename":"'} image=${image%%'"'*}
qemu-io -c 'write -q 0 64k' -c flush -c abort --image-opts "driver=qcow2,file.driver=blkdebug,file.image.driver=file,\
file.image.filename=$image,file.inject-error.0.event=l1_update,file.inject-error.0.errno=5" >/dev/null 2>&1
exec /usr/bin/qemu-nbd "$@"
`), 0o755))
	})
	_, sources := w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	if out, err := exec.Command("qemu-img", "check", "-U", b.Runs[0].Image).CombinedOutput(); err == nil || !strings.Contains(string(out), "Leaked cluster") {
		t.Fatalf("before: %v: %s", err, out)
	}
	w.SNA.Release("copy/0")
	if b = w.Wait(b.ID); b.State != record.Completed {
		t.Fatalf("it is %s: %+v", b.State, b.Failure)
	}
	repo := repository.New("main", filepath.Dir(filepath.Dir(b.Directory)), nil)
	m, err := repo.Manifest("vm", b.ID)
	agenttest.Must(t, err)
	if got, want := m.Disks[0].Check, (manifest.Check{Result: manifest.CheckRepaired, LeaksRepaired: 1}); got != want {
		t.Errorf("the manifest says %+v, want %+v", got, want)
	}
	if out, err := exec.Command("qemu-img", "check", b.Runs[0].Image).CombinedOutput(); err != nil {
		t.Errorf("after: %v: %s", err, out)
	}
	w.Compare(sources[0], b.Runs[0].Image)
}
