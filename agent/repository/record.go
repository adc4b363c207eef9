package repository

import (
	"path/filepath"
	"strings"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/nbd"
)

// Backup is the record of the completed backup that the manifest tells of, for a store that has lost it. It takes
// repository and directory as they are now, absolute: a repository may have been moved since, or got another id. What
// only mattered while it ran is gone: ports, units, the SNA's process.
func (m Manifest) Backup(repositoryID, directory string) backup.Backup {
	b := m.record()
	b.Repository, b.Directory = repositoryID, directory
	for i := range b.Runs {
		b.Runs[i].Image = filepath.Join(directory, b.Runs[i].Image)
	}
	return b
}

// record is Backup without a place: images are names.
func (m Manifest) record() backup.Backup {
	b := backup.Backup{
		ID: m.BackupID, Type: m.Type, Parent: m.Parent, Policy: m.Policy, Tags: m.Tags, RequestID: m.RequestID,
		State: backup.Completed, RemovedDisks: m.RemovedDisks, DirectoryMade: true, Rewritten: m.Rewritten,
		RefreshError: m.RefreshError,
		CreatedAt:    m.CreatedAt.UTC(), UpdatedAt: m.CompletedAt.UTC(), EndedAt: m.CompletedAt.UTC(),
		VM: backup.VM{
			Name: m.VM.Name, ContextID: m.VM.ContextID, InventoryPath: m.VM.InventoryPath, VCenter: m.VM.VCenter,
			UUID: m.VM.UUID,
		},
	}
	for _, d := range m.Disks {
		b.VM.Disks = append(b.VM.Disks, backup.Disk{
			ID: d.DiskID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, CapacityBytes: d.CapacityBytes, Label: d.Label,
		})
		b.Runs = append(b.Runs, backup.DiskRun{
			DiskID: d.DiskID, Key: d.Key, CapacityBytes: d.CapacityBytes,
			Content: d.Content, Change: d.Change, Backing: d.Backing, IO: d.IO, KeyID: d.KeyID(),
			ExportName: strings.TrimSuffix(d.File, "."+nbd.ImageFormat), Image: d.File,
			Complete: true, ChangeID: d.ChangeID, Copied: d.Copied, CopiedWhy: d.CopiedWhy, Order: d.CopyOrder,
			ReceivedBytes: d.ReceivedBytes, Result: "success",
		})
	}
	return b
}
