package manifest

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Backup returns the record of the completed backup that the manifest describes, for a store that has lost it. Repository and directory
// (absolute) are the current ones, because a repository may have been moved or renamed. The record lacks what only mattered while the
// backup ran: ports, units, the SNA's process.
func (m Manifest) Backup(repositoryID, directory string) record.Backup {
	b := m.record()
	b.Repository, b.Directory = repositoryID, directory
	for i := range b.Runs {
		b.Runs[i].Image = filepath.Join(directory, b.Runs[i].Image)
	}
	return b
}

// record is Backup without repository and directory: images are names.
func (m Manifest) record() record.Backup {
	b := record.Backup{
		ID: m.BackupID, Type: m.Type, Parent: m.Parent, Policy: m.Policy, Tags: m.Tags, RequestID: m.RequestID,
		State: record.Completed, RemovedDisks: m.RemovedDisks, DirectoryMade: true, Merged: m.Merge,
		RefreshError: m.RefreshError, Sequence: m.Sequence, ZeroesRefused: m.ZeroesRefused,
		CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.CompletedAt.UTC(), EndedAt: m.CompletedAt.UTC(),
		VM: record.VM{
			Name: m.VM.Name, ContextID: m.VM.ContextID, InventoryPath: m.VM.InventoryPath, VCenter: m.VM.VCenter,
			UUID: m.VM.UUID,
		},
	}
	for _, d := range m.Disks {
		b.VM.Disks = append(b.VM.Disks, record.Disk{
			ID: d.DiskID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, CapacityBytes: d.CapacityBytes, Label: d.Label,
		})
		b.Runs = append(b.Runs, record.DiskRun{
			DiskID: d.DiskID, Key: d.Key, CapacityBytes: d.CapacityBytes,
			Content: d.Content, Change: d.Change, Backing: d.Backing, IO: d.IO, KeyID: d.KeyID(),
			ExportName: strings.TrimSuffix(d.File, "."+qemu.ImageFormat), Image: d.File,
			Complete: true, ChangeID: d.ChangeID, Copied: d.Copied, CopiedWhy: d.CopiedWhy, Order: d.CopyOrder,
			ReceivedBytes: d.ReceivedBytes, WrittenBytes: d.WrittenBytes, KeptBytes: d.keptBytes(), Result: "success",
		})
	}
	return b
}

// keptBytes is how much space a squeezed image takes; 0 if it is not squeezed.
func (d Disk) keptBytes() int64 {
	if d.WrittenBytes == 0 {
		return 0
	}
	return d.AllocatedBytes
}

// Follow updates a record after a merge, to agree with the manifest.
func (m Manifest) Follow(b *record.Backup) {
	b.Type, b.Parent, b.RemovedDisks, b.Merged = m.Type, m.Parent, m.RemovedDisks, m.Merge
	b.Verified = nil // it was about other files
	for i := range b.Runs {
		if d := m.disk(b.Runs[i].DiskID); d != nil {
			b.Runs[i].Content, b.Runs[i].Change, b.Runs[i].Backing, b.Runs[i].KeyID = d.Content, d.Change, d.Backing, d.KeyID()
		}
	}
}

func (m Manifest) disk(id int) *Disk {
	for i := range m.Disks {
		if m.Disks[i].DiskID == id {
			return &m.Disks[i]
		}
	}
	return nil
}

// Disagrees returns the first difference between a record and the manifest, with both values; "" for none. merged says that only what a
// merge changes differs: then the record is older than the manifest, and Follow corrects it. Any other difference means that they
// describe two different restore points.
func (m Manifest) Disagrees(b record.Backup) (what string, merged bool) {
	if what = m.otherPoint(b); what != "" {
		return what, false
	}
	differs := func(field string, record, manifest any) {
		if what == "" && record != manifest {
			what = fmt.Sprintf("%s: %q on record, %q in the manifest", field, fmt.Sprint(record), fmt.Sprint(manifest))
		}
	}
	differs("backup_type", b.Type, m.Type)
	differs("parent", b.Parent, m.Parent)
	for _, run := range b.Runs {
		d := m.disk(run.DiskID)
		field := fmt.Sprintf("disk %d: ", run.DiskID)
		differs(field+"content", run.Content, d.Content)
		differs(field+"backing", run.Backing, d.Backing)
		differs(field+"encryption_key", run.KeyID, d.KeyID())
	}
	differs("rewritten", whenMerged(b.Merged), whenMerged(m.Merge))
	return what, true
}

func whenMerged(w *record.Merged) string {
	if w == nil {
		return "never"
	}
	return w.At.UTC().Format(time.RFC3339)
}

// otherPoint returns the first difference in what no merge changes.
func (m Manifest) otherPoint(b record.Backup) string {
	switch {
	case b.ID != m.BackupID:
		return fmt.Sprintf("backup_id: %q on record, %q in the manifest", b.ID, m.BackupID)
	case b.VM.Name != m.VM.Name:
		return fmt.Sprintf("vm name: %q on record, %q in the manifest", b.VM.Name, m.VM.Name)
	case len(b.Runs) != len(m.Disks):
		return fmt.Sprintf("%d disks on record, %d in the manifest", len(b.Runs), len(m.Disks))
	}
	for _, run := range b.Runs {
		d := m.disk(run.DiskID)
		switch {
		case d == nil:
			return fmt.Sprintf("disk %d: not in the manifest", run.DiskID)
		case d.ChangeID != run.ChangeID:
			return fmt.Sprintf("disk %d: change_id: %q on record, %q in the manifest", run.DiskID, run.ChangeID, d.ChangeID)
		case d.CapacityBytes != run.CapacityBytes:
			return fmt.Sprintf("disk %d: capacity_bytes: %d on record, %d in the manifest", run.DiskID, run.CapacityBytes, d.CapacityBytes)
		case d.File != filepath.Base(run.Image):
			return fmt.Sprintf("disk %d: file: %q on record, %q in the manifest", run.DiskID, filepath.Base(run.Image), d.File)
		}
	}
	return ""
}
