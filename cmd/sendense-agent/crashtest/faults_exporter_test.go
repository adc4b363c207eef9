package crashtest_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// exporterFaults are the deaths of one exporter of two.
var exporterFaults = []fault{
	{
		name:    "exporter dies at its start",
		promise: "refused with disk, unit and its last words; the other is stopped; the SNA is not asked",
		act: func(c *crash) {
			c.exporters.wrap(`case "$image" in *disk1.qcow2) echo "no such luck" >&2; exit 1;; esac`)
			c.daemon.up()
			said := c.refused(rpc.ReasonExporterFailed, "disk 1")
			if said.DiskID == nil || *said.DiskID != 1 || said.Unit == "" || !strings.Contains(strings.Join(said.Journal, "\n"), "no such luck") {
				c.Errorf("the error names disk %v, unit %q, journal %q", said.DiskID, said.Unit, said.Journal)
			}
			if n := len(c.sna.State().Posts); n != 0 {
				c.Errorf("the SNA was asked %d times", n)
			}
			c.exporters.wrap("")
		},
		becomes: "failed",
	},
	{
		name:    "exporter dies in mid-copy, with a client",
		promise: "failed at once, by systemd's signal; names disk and unit; the other is stopped",
		act:     func(c *crash) { c.exporters.lose(0) },
		becomes: "failed",
	},
	{
		name:    "exporter dies in mid-copy, without a client",
		promise: "failed at once, though nobody was connected to it; names disk and unit; the other is stopped",
		act:     func(c *crash) { c.exporters.lose(1) },
		becomes: "failed",
	},
	{
		name:    "exporter dies while it is being stopped",
		promise: "no restore point, though everything was copied and flushed and the other ended cleanly",
		act: func(c *crash) {
			repository, uncover := c.faulty(c.dir + "/repository")
			b := c.midCopy()
			c.robbed[b.BackupID] = true
			pid := b.Disks[1].QemuNBDPID
			repository.failWhen(func(operation, path string) syscall.Errno {
				if operation == opClose && strings.HasSuffix(path, "disk1.qcow2") { // all is written by then
					_ = syscall.Kill(pid, syscall.SIGKILL) // that it died is checked below
				}
				return 0
			})
			c.release()
			f := c.fails(b.BackupID, rpc.ReasonExporterFailed, "it did not end cleanly", "signal")
			if f.DiskID == nil || *f.DiskID != 1 {
				c.Errorf("the failure names disk %v", f.DiskID)
			}
			uncover()
		},
		becomes: "failed",
	},
	{
		name:    "exporter hangs while it is being stopped",
		promise: "failed when nbd.stop_timeout has passed, and the exporter is gone all the same",
		config:  map[string]string{"nbd.stop_timeout": `"2s"`},
		act: func(c *crash) {
			c.sna.Hold("complete/1")
			b := c.midCopy()
			c.release()
			ctx, cancel := c.limit()
			defer cancel()
			_, err := c.sna.WaitHeld(ctx, b.BackupID, "complete/1")
			must(c.T, err)
			c.robbed[b.BackupID] = true
			systemdtest.StopProcess(c, b.Disks[1].QemuNBDPID)
			c.sna.Release("complete/1")
			c.fails(b.BackupID, rpc.ReasonExporterFailed, "disk 1", "nbd.stop_timeout")
		},
		becomes: "failed",
	},
}

// lose kills the exporter of a disk while the first one is being copied.
func (c exporterSteps) lose(disk int) {
	c.Helper()
	b := c.midCopy()
	c.robbed[b.BackupID] = true
	must(c.T, syscall.Kill(b.Disks[disk].QemuNBDPID, syscall.SIGKILL))
	f := c.fails(b.BackupID, rpc.ReasonExporterFailed, "disk "+strconv.Itoa(disk), "ended during the backup")
	if f.DiskID == nil || *f.DiskID != disk || f.Unit == "" {
		c.Errorf("the failure names disk %v and unit %q", f.DiskID, f.Unit)
	}
	c.release()
}

// wrap has the next daemon run lines of shell before each qemu-nbd; $image is what it is to serve, and $node its last argument,
// which names that. They may change its arguments.
func (c exporterSteps) wrap(lines string) {
	c.Helper()
	path := "/usr/local/bin/qemu-nbd-" + strconv.Itoa(c.slot)
	text := "#!/bin/sh\nfor node; do :; done\n" + `image=${node##*'"filename":"'} image=${image%%'"'*}` + "\n" + lines + "\nexec /usr/bin/qemu-nbd \"$@\"\n"
	must(c.T, os.WriteFile(path+".new", []byte(text), 0o755))
	must(c.T, os.Rename(path+".new", path))
	c.set("nbd.qemu_nbd", strconv.Quote(path))
}
