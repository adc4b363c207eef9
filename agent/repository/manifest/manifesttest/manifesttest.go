// Package manifesttest makes manifests of made-up backups, for tests. It writes nothing to a disk.
package manifesttest

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd"
)

// Full describes a full backup of a VM with two disks, started at a Unix time.
func Full(vm string, second int64) manifest.Manifest {
	m := manifest.Manifest{
		Version: manifest.Version, BackupID: nbd.BackupID(vm, second), Type: record.Full, Repository: "main",
		Policy: "gold", Tags: map[string]string{"why": "<test> & ü"}, RequestID: "request-1",
		VM:           manifest.VM{Name: vm, ContextID: "ctx-1", InventoryPath: "/DC1/vm/" + vm, VCenter: "dc1", UUID: "4210-1"},
		RefreshError: "vCenter does not answer", ZeroesRefused: true,
		Sequence: 1<<32 + 7, CreatedAt: time.Unix(second, 0), CompletedAt: time.Unix(second+60, 5),
		AgentVersion: "test", QEMUVersion: "7.2.22",
	}
	for i := range 2 {
		m.Disks = append(m.Disks, manifest.Disk{
			DiskID: i, UnitNumber: i, DeviceKey: 2000 + i, Key: 2000 + i, Label: "Hard disk", CapacityBytes: 1 << 30,
			File: nbd.ExportName(vm, i) + ".qcow2", Format: "qcow2", Content: record.WholeDisk,
			Copied: record.CopiedWhole, CopiedWhy: "full backup", CopyOrder: 2 - i,
			ChangeID: "52 de/1", ReceivedBytes: 1 << 20, AllocatedBytes: 1 << 20,
			Check: manifest.Check{Result: manifest.CheckRepaired, LeaksRepaired: 1}, IO: "none/io_uring",
		})
	}
	return m
}

// Incremental describes a backup that is based on another.
func Incremental(parent manifest.Manifest, second int64) manifest.Manifest {
	m := Full(parent.VM.Name, second)
	m.Type, m.Parent, m.RemovedDisks = record.Incremental, parent.BackupID, []int{7}
	for i := range m.Disks {
		d := &m.Disks[i]
		d.Content, d.Change, d.Backing = record.Changes, record.Same, "../"+parent.BackupID+"/"+d.File
	}
	return m
}
