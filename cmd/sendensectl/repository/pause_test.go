package repository

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// TestPauseSaysWhatRuns: the answer names what is in progress, and the list shows the pause beside an error.
func TestPauseSaysWhatRuns(t *testing.T) {
	pause := &rpc.Pause{Since: time.Now(), Reason: "new disks"}
	commandtest.Says(t, "pause", func(p *output.Printer) {
		printPaused(p, rpc.PauseState{RepositoryID: "main", Paused: pause, Activity: rpc.Activity{Backups: 2, Verifications: 1, Queued: 3}})
	}, "Repository main is paused since ", "new disks", "2 backups, 1 verification, 3 queued", "sendensectl repository show main")
	commandtest.Says(t, "list", func(p *output.Printer) {
		Print(p, []rpc.Repository{{RepositoryID: "main", Paused: pause}, {RepositoryID: "far", Paused: pause, Error: "is not mounted"}})
	}, "paused since ", "new disks", "is not mounted")
}
