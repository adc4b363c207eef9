package agent_test

import (
	"os"
	"testing"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// The store refuses the writes of qemu-nbd's last moment (NFS, thin pool, copy-on-write file system): it says so on stderr,
// exits with status 0, and leaves an image that has leaked clusters and no other fault.
func TestFlushFailsAtExit(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.NBD.QemuNBD = "/usr/local/bin/eio-qemu-nbd"
		must(t, os.WriteFile(c.NBD.QemuNBD, []byte(`#!/bin/sh
for image; do :; done
qemu-io -f qcow2 -c 'write -q 0 64k' "$image" || exit 1
n=$#; i=0
while [ $i -lt $n ]; do a=$1; shift; i=$((i+1)); case $a in --format=qcow2|--|"$image") ;; *) set -- "$@" "$a";; esac; done
d=file.file; set -- "$@" --image-opts -- "driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=$image,file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.sector=8192,file.inject-error.0.errno=5"
exec /usr/bin/qemu-nbd "$@"
`), 0o755))
	})
	_, sources := w.putVM("vm", 8<<20)
	b := w.startBackup("vm")
	if b = w.wait(b.ID); b.State == backup.Completed {
		t.Errorf("published: %+v", b.Runs[0])
		w.compare(sources[0], b.Runs[0].Image)
		text, _ := os.ReadFile(b.Directory + "/manifest.json")
		t.Logf("%s", text)
	} else {
		t.Logf("%+v", b.Failure)
	}
}
