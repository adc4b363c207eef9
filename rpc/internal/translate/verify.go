package translate

import (
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/verify"
	"github.com/sendense/backup-agent/rpc"
)

// VerifyRequest is the agent's request for a verification.
func VerifyRequest(w rpc.VerifyRequest) verify.Request {
	return verify.Request{BackupID: w.BackupID, Deep: w.Deep, RateLimit: w.RateLimit}
}

// VerifyReport is the report of a verification on the wire.
func VerifyReport(r verify.Report) rpc.VerifyReport {
	w := rpc.VerifyReport{
		BackupID: r.BackupID, Deep: r.Deep, Result: rpc.VerifyResult(r.Result), StartedAt: r.StartedAt.UTC(), EndedAt: r.EndedAt.UTC(),
		ReadBytes: r.ReadBytes, Files: make([]rpc.VerifyFile, 0, len(r.Files)),
	}
	for _, f := range r.Files {
		w.Files = append(w.Files, rpc.VerifyFile{
			BackupID: f.BackupID, DiskID: f.DiskID, Path: f.Path, Bytes: f.Bytes, Status: rpc.FileStatus(f.Status),
			Problem: f.Problem, Hint: f.Hint,
		})
	}
	return w
}

// VerifyProgress is the progress of a verification on the wire.
func VerifyProgress(p verify.Progress) rpc.VerifyProgress {
	return rpc.VerifyProgress{
		BackupID: p.BackupID, File: p.File, FilesDone: p.FilesDone, FilesTotal: p.FilesTotal, BytesDone: p.BytesDone, BytesTotal: p.BytesTotal,
	}
}

// verification is the recorded result, without dates that cannot be right.
func verification(v *record.Verification, now time.Time) *rpc.Verification {
	if v == nil {
		return nil
	}
	w := &rpc.Verification{At: record.Believed(v.At, now).UTC(), DeepAt: record.Believed(v.DeepAt, now).UTC(), Undigested: v.Undigested}
	for _, d := range v.Damage {
		w.Damage = append(w.Damage, rpc.VerifyDamage{File: d.File, DiskID: d.DiskID, Problem: d.Problem})
	}
	return w
}

// Chain is the answer to backup.chain.
func Chain(vm string, points []agent.ChainPoint) rpc.Chain {
	now := time.Now()
	w := rpc.Chain{VMName: vm, Points: make([]rpc.ChainPoint, 0, len(points))}
	for _, p := range points {
		b := p.Backup
		w.Points = append(w.Points, rpc.ChainPoint{
			BackupID: b.ID, ParentBackupID: b.Parent, BackupType: rpc.BackupType(b.Type), RepositoryID: b.Repository,
			Sequence: b.Sequence, CreatedAt: b.CreatedAt.UTC(), FutureDated: record.Future(b.CreatedAt, now), EndedAt: b.EndedAt.UTC(), Tags: b.Tags, Disks: len(b.Runs), TotalBytes: b.VM.TotalBytes(),
			AllocatedBytes: p.AllocatedBytes, Problem: p.Problem, Verified: verification(b.Verified, now), InheritedFrom: b.DamageBelow,
		})
	}
	return w
}
