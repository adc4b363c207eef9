package publish

import (
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// manifest describes the restore point that a backup is about to become.
func (s *Service) manifest(b record.Backup, disks []manifest.Disk) (manifest.Manifest, error) {
	qemu, err := s.Tools.Version(s.Jobs.Work)
	return manifest.Manifest{
		Version:  manifest.Version,
		BackupID: b.ID, Type: b.Type, Parent: b.Parent, Repository: b.Repository,
		Policy: b.Policy, Tags: b.Tags, RequestID: b.RequestID,
		VM: manifest.VM{
			Name: b.VM.Name, ContextID: b.VM.ContextID, InventoryPath: b.VM.InventoryPath, VCenter: b.VM.VCenter,
			UUID: b.VM.UUID,
		},
		Disks: disks, RemovedDisks: b.RemovedDisks,
		RefreshError: b.RefreshError, ZeroesRefused: b.ZeroesRefused,
		Sequence: b.Sequence, CreatedAt: b.CreatedAt, CompletedAt: time.Now(),
		AgentVersion: s.Version, QEMUVersion: qemu,
	}, err
}

func manifestDisk(disk record.Disk, d record.DiskRun, info qcow2.Info, check manifest.Check) manifest.Disk {
	return manifest.Disk{
		DiskID: d.DiskID, UnitNumber: disk.UnitNumber, DeviceKey: disk.DeviceKey, Key: d.Key, Label: disk.Label,
		CapacityBytes: d.CapacityBytes, File: filepath.Base(d.Image), Format: qemu.ImageFormat,
		Content: d.Content, Change: d.Change, Backing: d.Backing, ChangeID: d.ChangeID,
		Copied: d.Copied, CopiedWhy: d.CopiedWhy, CopyOrder: d.Order,
		ReceivedBytes: d.ReceivedBytes, WrittenBytes: d.WrittenBytes, AllocatedBytes: info.ActualBytes, Check: check, IO: d.IO,
		ClusterBytes: info.ClusterBytes, ExtendedL2: info.ExtendedL2, Encryption: repositories.Encryption(d.KeyID),
	}
}
