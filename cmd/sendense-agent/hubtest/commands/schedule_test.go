package commands_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/internal/docblocks"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestScheduledBackup installs the units that docs/operations.md shows, and lets the timer's service back up a VM whose name
// takes escaping: first whole, then what changed. A backup that cannot be is a unit that failed.
func TestScheduledBackup(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("web-01", hubtest.DiskSize)
	blocks, err := docblocks.Read("../../../../docs/operations.md")
	hubtest.Must(t, err)
	blocks = slices.DeleteFunc(blocks, func(b docblocks.Block) bool {
		return b.Do != docblocks.File || !strings.HasPrefix(b.Argument, "/etc/systemd/system/")
	})
	if len(blocks) != 2 {
		t.Fatalf("docs/operations.md shows %d units", len(blocks))
	}
	for _, b := range blocks {
		path := filepath.Join("/run/systemd/system", filepath.Base(b.Argument))
		hubtest.Must(t, os.WriteFile(path, []byte(b.Text), 0o644))
		t.Cleanup(func() { hubtest.Must(t, os.Remove(path)) })
	}
	cli, err := os.ReadFile(hubtest.Program("sendensectl"))
	hubtest.Must(t, err)
	hubtest.Must(t, os.WriteFile("/usr/bin/sendensectl", cli, 0o755)) // the machine's own, as a package puts it
	t.Cleanup(func() { hubtest.Must(t, os.Remove("/usr/bin/sendensectl")) })
	systemctl := func(args ...string) error {
		out, err := exec.Command("systemctl", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	hubtest.Must(t, systemctl("daemon-reload"))

	hubtest.Must(t, systemctl("start", `sendense-backup@web\x2d01.timer`))
	for _, want := range []rpc.BackupType{rpc.Full, rpc.Incremental} {
		hubtest.Must(t, systemctl("start", `sendense-backup@web\x2d01.service`))
		page, err := h.Dial().ListBackups(t.Context(), rpc.BackupQuery{VMName: "web-01", Limit: 1})
		hubtest.Must(t, err)
		if b := page.Backups[0]; b.State != rpc.Completed || b.BackupType != want {
			t.Errorf("backup %s is %s, %s; want %s", b.BackupID, b.State, b.BackupType, want)
		}
		h.Completes(page.Backups[0].BackupID, sources)
	}
	if err := systemctl("start", "sendense-backup@nobody.service"); err == nil || !strings.Contains(err.Error(), "control process exited with error code") {
		t.Errorf("a backup of a VM that is not on record: %v", err)
	}
	hubtest.Must(t, systemctl("stop", `sendense-backup@web\x2d01.timer`))
}
