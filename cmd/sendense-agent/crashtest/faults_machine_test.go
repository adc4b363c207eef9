package crashtest_test

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// machineFaults are those of systemd and of its bus.
var machineFaults = []fault{
	{
		name:    "D-Bus restarted in mid-copy",
		promise: "exporters and client notice nothing; completed",
		act: func(c *crash) {
			b := c.midCopy()
			c.systemctl("restart", "dbus.service")
			c.daemon.says("connection to the service manager restored")
			c.release()
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
	{
		name:    "systemd re-executed in mid-copy",
		promise: "exporters and client notice nothing; completed",
		act: func(c *crash) {
			b := c.midCopy()
			c.systemctl("daemon-reexec")
			c.release()
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
	{
		name:    "D-Bus restarted before the end is asked of systemd",
		promise: "the end waits for the bus; completed",
		act: func(c *crash) {
			c.sna.Hold("disconnect/1")
			b := c.midCopy()
			c.release()
			c.untilState(b.BackupID, rpc.Finishing)
			c.systemctl("stop", "dbus.socket", "dbus.service")
			c.sna.Release("disconnect/1")
			c.daemon.says("connection to the service manager lost")
			c.systemctl("start", "dbus.socket", "dbus.service")
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
	{
		name:    "D-Bus does not answer in mid-copy",
		promise: "the copy goes on; status is answered within five seconds and says so; the end waits for the bus; completed",
		act: func(c *crash) {
			b := c.midCopy()
			resume := c.hangBus()
			c.release()
			c.said(c.listsExports(), rpc.ReasonSystemdFailed, "dbus.service")
			for range 3 {
				began := time.Now()
				connected := true
				ctx, cancel := c.daemon.limit()
				must(c.T, c.daemon.with(ctx, func(client *rpc.Client) error {
					status, err := client.Status(ctx)
					connected = status.BusConnected
					return err
				}))
				cancel()
				if took := time.Since(began); took > 5*time.Second+busy || connected {
					c.Errorf("status took %s and says that the bus is connected: %v", took, connected)
				}
			}
			if state := c.now(b.BackupID).State; state.Ended() {
				c.Errorf("while the bus does not answer the backup is %s", state)
			}
			resume()
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
	{
		name:    "daemon started while D-Bus is away",
		promise: "it does not start and says why; the copy goes on; completed when it starts again",
		act: func(c *crash) {
			b := c.midCopy()
			c.kill()
			c.systemctl("stop", "dbus.socket", "dbus.service")
			before := c.untouched(b)
			c.daemon.refusesToStart("connect to the system service manager")
			c.same(before)
			c.systemctl("start", "dbus.socket", "dbus.service")
			c.goesOn(b)
		},
		becomes: "completed",
	},
	{
		name:    "exporter dies while D-Bus is away",
		promise: "failed as soon as the bus is back, with how the exporter ended",
		act: func(c *crash) {
			b := c.midCopy()
			c.robbed[b.BackupID] = true
			c.systemctl("stop", "dbus.socket", "dbus.service")
			must(c.T, syscall.Kill(b.Disks[1].QemuNBDPID, syscall.SIGKILL))
			c.systemctl("start", "dbus.socket", "dbus.service")
			c.fails(b.BackupID, rpc.ReasonExporterFailed, "disk 1", "signal")
			c.release()
		},
		becomes: "failed",
	},
	{
		name:    "systemd re-executed, then an exporter dies",
		promise: "failed: events come again after the re-execution",
		act: func(c *crash) {
			b := c.midCopy()
			c.robbed[b.BackupID] = true
			c.systemctl("daemon-reexec")
			must(c.T, syscall.Kill(b.Disks[1].QemuNBDPID, syscall.SIGKILL))
			c.fails(b.BackupID, rpc.ReasonExporterFailed, "disk 1", "signal")
			c.release()
		},
		becomes: "failed",
	},
	{
		name:    "systemd re-executed while a backup starts",
		promise: "the start is answered with success, or refused and everything undone",
		act: func(c *crash) {
			c.daemon.up()
			answer := c.started()
			c.systemctl("daemon-reexec")
			must(c.T, answered(<-answer))
		},
		becomes: "completed or failed",
	},
}

// listsExports asks for the exports, for which the agent asks systemd.
func (c *crash) listsExports() error {
	ctx, cancel := c.daemon.limit()
	defer cancel()
	return c.daemon.with(ctx, func(client *rpc.Client) error {
		_, err := client.ListExports(ctx)
		return err
	})
}

// hangBus stops the message bus until resume is called.
func (c *crash) hangBus() (resume func()) {
	c.Helper()
	out, err := systemctl("show", "--property=MainPID", "--value", "dbus.service")
	must(c.T, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	must(c.T, err)
	systemdtest.StopProcess(c, pid)
	resume = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	c.Cleanup(resume)
	return resume
}

func (c *crash) systemctl(args ...string) {
	c.Helper()
	_, err := systemctl(args...)
	must(c.T, err)
}
