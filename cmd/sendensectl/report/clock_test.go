package report

import (
	"strings"
	"testing"

	"github.com/sendense/backup-agent/rpc"
)

// TestReportOfAWrongClock: a restore point that is dated in the future is not a recent one.
func TestReportOfAWrongClock(t *testing.T) {
	e := bigEstate(1, 10)
	e.backups, e.last = nil, map[string]rpc.Backup{}
	ahead := e.at.AddDate(5, 0, 0)
	e.backups = []rpc.Backup{{VMName: e.vms[0].VMName, RepositoryID: "main", State: rpc.Completed, CreatedAt: ahead, EndedAt: ahead, FutureDated: true}}
	page := e.page()
	if len(page.Attention) != 1 || !strings.Contains(page.Attention[0].Why, "in the future") || page.Tiles[0].Value != "0 of 1" {
		t.Errorf("%+v, %+v", page.Attention, page.Tiles)
	}

	// A damaged one from the future is not the newest if a good one was made after it.
	e.backups[0].Sequence, e.backups[0].InheritedFrom = 1, []string{"full"}
	good := rpc.Backup{BackupID: "good", VMName: e.vms[0].VMName, RepositoryID: "main", State: rpc.Completed, CreatedAt: e.at, EndedAt: e.at, Sequence: 2}
	e.backups = []rpc.Backup{good, e.backups[0]}
	e.last[good.VMName] = good
	if page := e.page(); len(page.Attention) != 1 || strings.Contains(page.Attention[0].Why, "damaged") || page.Tiles[0].Value != "1 of 1" {
		t.Errorf("%+v, %+v", page.Attention, page.Tiles)
	}
	e.backups[1].Sequence = 3
	if page := e.page(); len(page.Attention) != 1 || !strings.Contains(page.Attention[0].Why, "is based on full, which is damaged") {
		t.Errorf("%+v", page.Attention)
	}
}
