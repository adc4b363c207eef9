package backup

import (
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// TestBlockedIsShown: a dry run shows which restore points cannot be removed, and why, and fails.
func TestBlockedIsShown(t *testing.T) {
	report := rpc.PruneReport{
		DryRun: true, KeptCount: 2, FailedCount: 1,
		Points: []rpc.PrunedPoint{{
			BackupID: "backup-web-1", Action: rpc.PruneMerge, Reasons: []string{"no rule keeps it"}, Into: []string{"backup-web-2"},
			Failure: &rpc.Failure{Reason: rpc.ReasonNoSpace, Message: "the merged images need up to 9 MiB"},
		}},
	}
	commandtest.Says(t, "prune --dry-run", func(p *output.Printer) { printPrune(p, report) }, "blocked", "need up to 9 MiB", "1 cannot be removed")
	if err := notPruned(report); err == nil || !strings.Contains(err.Error(), "1 restore point cannot be removed") {
		t.Error(err)
	}
	report.DryRun = false
	commandtest.Says(t, "prune", func(p *output.Printer) { printPrune(p, report) }, "failed", "1 failed")
	if err := notPruned(report); err == nil || !strings.Contains(err.Error(), "1 restore point could not be removed") {
		t.Error(err)
	}
}
