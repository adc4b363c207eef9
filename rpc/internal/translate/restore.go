package translate

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/rpc"
)

// longestSeconds is the longest time that a time.Duration can hold.
const longestSeconds = int64(1<<63-1) / int64(time.Second)

// RestoreRequest is the agent's request for a restore. A lifetime that is too long for time.Duration stays too long for the agent.
func RestoreRequest(w rpc.RestoreRequest) restore.Request {
	seconds := max(min(w.LifetimeSeconds, longestSeconds), -longestSeconds)
	return restore.Request{
		BackupID: w.BackupID, Disks: w.Disks, Writable: w.Writable, Lifetime: time.Duration(seconds) * time.Second,
		Files: w.Files, RequestID: w.RequestID, DespiteDamage: w.DespiteDamage, VerifyDigests: w.VerifyDigests,
	}
}

// Restore is the record of a restore on the wire.
func Restore(r record.Restore) rpc.Restore {
	w := rpc.Restore{
		RestoreID: r.ID, BackupID: r.BackupID, VMName: r.VMName, RepositoryID: r.Repository, Points: r.Points, Writable: r.Writable,
		Directory: r.Directory, State: rpc.RestoreState(r.State), Failure: failure(r.Failure), Warnings: r.Warnings,
		Disks: make([]rpc.RestoreDisk, 0, len(r.Disks)), NBDTargetsString: r.Targets,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), LatestAt: r.LatestAt.UTC(),
		EndedAt: r.EndedAt.UTC(), RequestID: r.RequestID,
		DespiteDamage: r.DespiteDamage, VerifyDigests: r.VerifyDigests, DigestsVerified: r.DigestsVerified,
	}
	for _, d := range r.Damage {
		w.Damage = append(w.Damage, rpc.RestoreDamage{BackupID: d.BackupID, DiskID: d.DiskID, Path: d.Path, Problem: d.Problem})
	}
	if f := r.Files; f != nil {
		w.FilesSocket, w.FilesUnit = f.Socket, f.Unit
	}
	for _, d := range r.Disks {
		w.TotalBytes += d.CapacityBytes
		w.Disks = append(w.Disks, rpc.RestoreDisk{
			DiskID: d.DiskID, DiskKey: d.Key, Label: d.Label, CapacityBytes: d.CapacityBytes, NBDURL: d.URL,
			NBDPort: d.Port, NBDExportName: d.ExportName, QCOW2Path: d.Image, IO: d.IO,
			Unit: d.Unit, InvocationID: d.InvocationID, QemuNBDPID: d.PID,
		})
	}
	return w
}

// RestoreProgress is the progress of reading a restore's images; nil when nothing is read.
func RestoreProgress(p restore.Progress, reading bool) *rpc.RestoreProgress {
	if !reading {
		return nil
	}
	return &rpc.RestoreProgress{File: p.File, BytesDone: p.BytesDone, BytesTotal: p.BytesTotal}
}

// Restores is the answer to restore.list.
func Restores(list []record.Restore) rpc.RestoreList {
	w := rpc.RestoreList{Restores: make([]rpc.Restore, 0, len(list))}
	for _, r := range list {
		w.Restores = append(w.Restores, Restore(r))
	}
	return w
}
