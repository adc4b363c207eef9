package backup

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// TestWrongClockIsShown: restore points dated by a wrong clock, and a held prune, are shown in every output, with what to do.
func TestWrongClockIsShown(t *testing.T) {
	now := time.Now()
	ahead := now.AddDate(5, 0, 0)
	held := rpc.HeldPrune{VMName: "web 01", RepositoryID: "main", RemovedCount: 9, PointCount: 12, Since: now}
	b := rpc.Backup{BackupID: "backup-web-1", VMName: "web 01", State: rpc.Completed, CreatedAt: ahead, EndedAt: ahead, FutureDated: true}
	commandtest.Says(t, "backup list", func(p *output.Printer) { printBackups(p, []rpc.Backup{b}, now) }, "(in the future!)")
	commandtest.Says(t, "backup show", func(p *output.Printer) { printBackup(p, b) }, "in the future, so a clock was or is wrong")
	commandtest.Says(t, "backup chain", func(p *output.Printer) {
		printChain(p, rpc.Chain{Points: []rpc.ChainPoint{{BackupID: b.BackupID, CreatedAt: ahead, FutureDated: true}}})
	}, "(in the future!)")
	report := rpc.PruneReport{
		DryRun: true, Held: []rpc.HeldPrune{held}, KeptCount: 1,
		Points: []rpc.PrunedPoint{{BackupID: b.BackupID, Action: rpc.PruneKeep, Misdated: "its date is in the future", Reasons: []string{"why"}}},
	}
	commandtest.Says(t, "prune --dry-run", func(p *output.Printer) { printPrune(p, report) }, "1 restore point is dated by a clock that was or is wrong",
		"The daily prune of VM web 01 in repository main is held", "sendensectl backup prune 'web 01' --dry-run")
	if got := hint.PruneCommand("-v", "--yes"); got != "sendensectl backup prune --yes -- '-v'" {
		t.Error(got)
	}
	report.DryRun = false
	p := &output.Printer{}
	if printPrune(p, report); strings.Contains(p.Text(), "daily prune") {
		t.Errorf("a prune that was done says %q", p.Text())
	}
}
