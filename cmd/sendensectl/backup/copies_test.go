package backup

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// TestShowSaysHowDisksWereCopied: backup show says how each disk was copied, and why.
func TestShowSaysHowDisksWereCopied(t *testing.T) {
	b := rpc.Backup{
		BackupID: "backup-a-1", VMName: "a", State: rpc.Completed, BackupType: rpc.Incremental, RepositoryID: "main",
		FullWhy: "its newest restore point is of another VM", RefreshError: "vCenter login failed",
		Disks: []rpc.BackupDisk{
			{DiskID: 0, ReceivedBytes: 70 << 10, Copied: "changes", CopiedWhy: "changes since 52 0a/3"},
			{DiskID: 7, ReceivedBytes: 48 << 20, Copied: "whole", CopiedWhy: "the disk was added", WrittenBytes: 48 << 20, KeptBytes: 1 << 20},
		},
	}
	p := &output.Printer{}
	printBackup(p, b)
	shown := p.Text()
	for _, want := range []string{
		"another VM", "vCenter login failed", "70 KiB", "48 MiB",
		"disk 0 was copied as changes since 52 0a/3\n", "disk 7 was copied whole: the disk was added\n",
		"disk 7: 48 MiB received, 1 MiB kept, 47 MiB saved: the rest is the same in the parent\n",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
	for i := range b.Disks {
		b.Disks[i].Copied, b.Disks[i].CopiedWhy = "whole", "full backup"
	}
	p = &output.Printer{}
	printBackup(p, b)
	if shown := p.Text(); strings.Count(shown, "full backup") != 1 || !strings.Contains(shown, "each disk was copied whole: full backup\n") {
		t.Errorf("%s", shown)
	}
	for i := range b.Disks { // of an older agent
		b.Disks[i].Copied, b.Disks[i].CopiedWhy = "", ""
	}
	p = &output.Printer{}
	printBackup(p, b)
	if shown := p.Text(); strings.Contains(shown, "copied") {
		t.Errorf("%s", shown)
	}
}

// TestListHintsAtDisksNotLookedUp: the list notes a backup that may lack a disk.
func TestListHintsAtDisksNotLookedUp(t *testing.T) {
	list := []rpc.Backup{{BackupID: "backup-a-1", RefreshError: "vCenter login failed"}, {BackupID: "backup-b-1"}}
	p := &output.Printer{}
	printBackups(p, list, time.Now())
	if shown := p.Text(); strings.Count(shown, "could not be looked up") != 1 || !strings.Contains(shown, "sendensectl backup show backup-a-1") {
		t.Errorf("%s", shown)
	}
}

// TestShowSaysWhatARunningBackupHasReceived: bytes of the disks where they are known, and not 0 B beside the progress.
func TestShowSaysWhatARunningBackupHasReceived(t *testing.T) {
	b := rpc.Backup{
		BackupID: "backup-a-1", State: rpc.Running, TotalBytes: 96 << 20, BytesTransferred: 8 << 20, CopiedBytes: 44 << 20,
		Disks: []rpc.BackupDisk{
			{DiskID: 0, CapacityBytes: 64 << 20, ReceivedBytes: 5 << 20, CopiedBytes: 41 << 20},
			{DiskID: 7, CapacityBytes: 32 << 20, ReceivedBytes: 3 << 20},
		},
		Progress: &rpc.Progress{ReceivedBytes: 8 << 20, CopiedBytes: 44 << 20, TotalBytes: 96 << 20, FractionUnknown: true},
	}
	p := &output.Printer{}
	printBackup(p, b)
	printBackups(p, []rpc.Backup{b}, time.Now())
	for _, want := range []string{"44 MiB, the disks hold 96 MiB", "44 MiB received, 0 B/s, total unknown", "41 MiB", "  3 MiB", "  44 MiB    96 MiB"} {
		if shown := p.Text(); !strings.Contains(shown, want) || strings.Contains(shown, "0 B,") {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
}
