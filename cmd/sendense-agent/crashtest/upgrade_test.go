package crashtest_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// TestUpgrade replaces the program in mid-copy, as a package does, and restarts the service. Neither the exporters nor the
// client's connections notice, and the new daemon brings the backup to its end.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := newCrash(t, operation{name: "upgrade"})
	c.daemon.withoutHaste()
	c.daemon.install(daemon())
	b := c.midCopy()
	if got := c.daemon.version(); got != oldVersion {
		t.Fatalf("version %q runs, want %q", got, oldVersion)
	}
	exporters, connections := c.exporters.pids(b), c.exporters.connections(b)
	if len(connections) == 0 {
		t.Fatal("no client is connected in mid-copy")
	}
	c.daemon.install(newerDaemon())
	_, err := systemctl("restart", serviceOf(c.slot))
	must(t, err)
	c.eventually("the new daemon answers", c.hub.answers)
	if got := c.daemon.version(); got != newVersion {
		t.Errorf("version %q runs after the upgrade, want %q", got, newVersion)
	}
	if now := c.exporters.pids(b); !slices.Equal(now, exporters) {
		t.Errorf("exporters were %v and are %v", exporters, now)
	}
	if now := c.exporters.connections(b); !slices.Equal(now, connections) {
		t.Errorf("connections were\n%s\nand are\n%s", strings.Join(connections, "\n"), strings.Join(now, "\n"))
	}
	c.release()
	c.untilState(b.BackupID, rpc.Completed)
	outcome := c.aftermath()
	faultResults.add("upgraded in mid-copy", "exporters and connections stay the same; completed by the new version", outcome, time.Since(began))
}

// install puts a program in the place of the one that the service starts, in one step.
func (c daemonSteps) install(program string) {
	c.Helper()
	must(c.T, copyFile(program, c.program()+".new"))
	must(c.T, os.Chmod(c.program()+".new", 0o755))
	must(c.T, os.Rename(c.program()+".new", c.program()))
}

func (c daemonSteps) version() string {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	var status rpc.AgentStatus
	must(c.T, c.with(ctx, func(client *rpc.Client) (err error) {
		status, err = client.Status(ctx)
		return err
	}))
	return status.Version
}

// pids are what systemd says of the exporters.
func (c exporterSteps) pids(b rpc.Backup) (pids []string) {
	c.Helper()
	for _, d := range b.Disks {
		pid, err := systemctl("show", "--property=MainPID", "--value", strings.TrimSuffix(d.Unit, ".service")+".service")
		must(c.T, err)
		pids = append(pids, pid)
	}
	if slices.Contains(pids, "0") {
		c.Errorf("an exporter does not run: %v", pids)
	}
	return pids
}

// connections are those of the ports of a backup, both ends, as the kernel numbers them: addresses and inode.
func (c exporterSteps) connections(b rpc.Backup) (list []string) {
	c.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	must(c.T, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "01" { // established
			continue
		}
		for _, d := range b.Disks {
			port := fmt.Sprintf(":%04X", d.NBDPort)
			if strings.HasSuffix(f[1], port) || strings.HasSuffix(f[2], port) {
				list = append(list, f[1]+" "+f[2]+" "+f[9])
			}
		}
	}
	slices.Sort(list)
	return list
}
