package daemon

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// TestStatusNamesWhatNeedsAPerson: a prune that is held, and restore points that a wrong clock dated, with what to do.
func TestStatusNamesWhatNeedsAPerson(t *testing.T) {
	held := rpc.HeldPrune{VMName: "web 01", RepositoryID: "main", RemovedCount: 9, PointCount: 12, Since: time.Now()}
	commandtest.Says(t, "status", func(p *output.Printer) {
		printStatus(p, rpc.AgentStatus{
			BusConnected: true, HeldPrunes: []rpc.HeldPrune{held}, FutureRestorePoints: 7, FutureBackupIDs: []string{"1", "2", "3", "4", "5", "6"},
		})
	}, "7 restore points are dated in the future", "1, 2, 3, 4, 5 and 2 more", "it would remove 9 of 12 restore points at once",
		"sendensectl backup prune 'web 01' --repository main --yes")
}

// TestStatusNamesStuckRepositories: below the table, each repository that is stuck or paused, and since when.
func TestStatusNamesStuckRepositories(t *testing.T) {
	commandtest.Says(t, "status", func(p *output.Printer) {
		printStatus(p, rpc.AgentStatus{BusConnected: true, Repositories: []rpc.Repository{
			{RepositoryID: "nas", State: "stuck", StuckSince: time.Now(), StuckOperation: "answering at all"},
			{RepositoryID: "main", State: "ok", Paused: &rpc.Pause{Since: time.Now(), Reason: "new disks"}},
		}})
	}, "Repository nas is stuck since ", "(answering at all)", "Repository main is paused since ", "new disks")
}
