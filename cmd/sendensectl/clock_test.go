package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// says fails the test unless what was printed holds the words.
func says(t *testing.T, what string, print func(p *printer), words ...string) {
	t.Helper()
	p := &printer{}
	print(p)
	got := strings.Join(strings.Fields(p.text()), " ")
	for _, w := range words {
		if !strings.Contains(got, w) {
			t.Errorf("%s: %q does not say %q", what, got, w)
		}
	}
}

// TestWrongClockIsShown: what a wrong clock dated, and a prune that is held, are named wherever somebody looks, with what to do.
func TestWrongClockIsShown(t *testing.T) {
	now := time.Now()
	ahead := now.AddDate(5, 0, 0)
	held := rpc.HeldPrune{VMName: "web 01", RepositoryID: "main", RemovedCount: 9, PointCount: 12, Since: now}
	b := rpc.Backup{BackupID: "backup-web-1", VMName: "web 01", State: rpc.Completed, CreatedAt: ahead, EndedAt: ahead, FutureDated: true}
	says(t, "backup list", func(p *printer) { printBackups(p, []rpc.Backup{b}, now) }, "(in the future!)")
	says(t, "backup show", func(p *printer) { printBackup(p, b) }, "in the future, so a clock was wrong")
	says(t, "backup chain", func(p *printer) {
		printChain(p, rpc.Chain{Points: []rpc.ChainPoint{{BackupID: b.BackupID, CreatedAt: ahead, FutureDated: true}}})
	}, "(in the future!)")
	says(t, "status", func(p *printer) {
		printStatus(p, rpc.AgentStatus{
			BusConnected: true, HeldPrunes: []rpc.HeldPrune{held}, FutureRestorePoints: 7, FutureBackupIDs: []string{"1", "2", "3", "4", "5", "6"},
		})
	}, "7 restore points are dated in the future", "1, 2, 3, 4, 5 and 2 more", "it would remove 9 of 12 restore points at once",
		"sendensectl backup prune 'web 01' --repository main --yes")
	report := rpc.PruneReport{
		DryRun: true, Held: []rpc.HeldPrune{held}, KeptCount: 1,
		Points: []rpc.PrunedPoint{{BackupID: b.BackupID, Action: rpc.PruneKeep, Misdated: "its date is in the future", Reasons: []string{"why"}}},
	}
	says(t, "prune --dry-run", func(p *printer) { printPrune(p, report) }, "1 restore point is dated by a clock that was wrong",
		"The daily run leaves VM web 01 in repository main to you", "sendensectl backup prune 'web 01' --dry-run")
	if got := pruneCommand("-v", "--yes"); got != "sendensectl backup prune --yes -- '-v'" {
		t.Error(got)
	}
	report.DryRun = false
	p := &printer{}
	if printPrune(p, report); strings.Contains(p.text(), "daily run") {
		t.Errorf("a prune that was done says %q", p.text())
	}
}

// TestChainAsMade: a chain is drawn in the order in which it was made, whatever the dates.
func TestChainAsMade(t *testing.T) {
	now := time.Now()
	lines := drawTree([]rpc.ChainPoint{
		{BackupID: "c", Sequence: 3, CreatedAt: now}, {BackupID: "b", Sequence: 2, CreatedAt: now.AddDate(5, 0, 0)}, {BackupID: "a", Sequence: 1, CreatedAt: now},
	})
	if lines[0].point.BackupID+lines[1].point.BackupID+lines[2].point.BackupID != "abc" {
		t.Errorf("%+v", lines)
	}
}

// TestReportOfAWrongClock: a restore point that is dated in the future is no fresh one.
func TestReportOfAWrongClock(t *testing.T) {
	e := bigEstate(1, 10)
	e.backups, e.last = nil, map[string]rpc.Backup{}
	ahead := e.at.AddDate(5, 0, 0)
	e.backups = []rpc.Backup{{VMName: e.vms[0].VMName, RepositoryID: "main", State: rpc.Completed, CreatedAt: ahead, EndedAt: ahead, FutureDated: true}}
	page := e.page()
	if len(page.Attention) != 1 || !strings.Contains(page.Attention[0].Why, "in the future") || page.Tiles[0].Value != "0 of 1" {
		t.Errorf("%+v, %+v", page.Attention, page.Tiles)
	}

	// A damaged one of the future is not the newest when a whole one was made after it.
	e.backups[0].Sequence, e.backups[0].InheritedFrom = 1, []string{"full"}
	good := rpc.Backup{BackupID: "good", VMName: e.vms[0].VMName, RepositoryID: "main", State: rpc.Completed, CreatedAt: e.at, EndedAt: e.at, Sequence: 2}
	e.backups = []rpc.Backup{good, e.backups[0]}
	e.last[good.VMName] = good
	if page := e.page(); len(page.Attention) != 1 || strings.Contains(page.Attention[0].Why, "damaged") || page.Tiles[0].Value != "1 of 1" {
		t.Errorf("%+v, %+v", page.Attention, page.Tiles)
	}
	e.backups[1].Sequence = 3
	if page := e.page(); len(page.Attention) != 1 || !strings.Contains(page.Attention[0].Why, "stands on full, which is damaged") {
		t.Errorf("%+v", page.Attention)
	}
}
