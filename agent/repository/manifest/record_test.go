package manifest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// TestBackup: the record from a manifest is the record of the backup, except for what only mattered while it ran.
func TestBackup(t *testing.T) {
	parent := manifesttest.Full("vm", 1_700_000_000)
	m := manifesttest.Incremental(parent, 1_700_000_100)
	const dir = "/new/place/vm/backup-vm-1700000100"
	want := record.Backup{
		ID: m.BackupID, Type: record.Incremental, Parent: parent.BackupID, Repository: "moved",
		RequestID: "request-1", Policy: "gold", Tags: m.Tags, State: record.Completed, Directory: dir, DirectoryMade: true,
		RemovedDisks: []int{7}, Sequence: m.Sequence, CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.CompletedAt.UTC(), EndedAt: m.CompletedAt.UTC(),
		VM:           record.VM{Name: "vm", ContextID: "ctx-1", InventoryPath: "/DC1/vm/vm", VCenter: "dc1", UUID: "4210-1"},
		RefreshError: "vCenter does not answer", ZeroesRefused: true,
	}
	for _, d := range m.Disks {
		want.VM.Disks = append(want.VM.Disks, record.Disk{
			ID: d.DiskID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, CapacityBytes: 1 << 30, Label: "Hard disk",
		})
		export := strings.TrimSuffix(d.File, ".qcow2")
		want.Runs = append(want.Runs, record.DiskRun{
			DiskID: d.DiskID, Key: d.Key, CapacityBytes: 1 << 30, Content: record.Changes, Change: record.Same,
			Backing: "../" + parent.BackupID + "/" + d.File, IO: "none/io_uring", ExportName: export,
			Image: dir + "/" + d.File, Complete: true, ChangeID: "52 de/1", ReceivedBytes: 1 << 20, Result: "success",
			Copied: d.Copied, CopiedWhy: d.CopiedWhy, Order: d.CopyOrder,
		})
	}
	if d := cmp.Diff(want, m.Backup("moved", dir)); d != "" {
		t.Error(d)
	}
}
