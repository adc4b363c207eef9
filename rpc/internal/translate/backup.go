package translate

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/backup/progress"
	"github.com/sendense/backup-agent/agent/callbacks"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
)

// StartRequest reads the parameters of backup.start.
func StartRequest(params json.RawMessage) (backup.Request, error) {
	if err := refuseDiskID(params); err != nil {
		return backup.Request{}, err
	}
	var r rpc.StartRequest
	if err := schema.Decode(params, &r); err != nil {
		return backup.Request{}, err
	}
	return backup.Request{
		VMName:     r.VMName,
		Type:       record.Type(r.BackupType),
		Repository: r.RepositoryID,
		Policy:     r.PolicyID,
		Tags:       r.Tags,
		RequestID:  r.RequestID,
		Queue:      r.Queue,
		RateLimit:  r.RateLimit,
	}, nil
}

// refuseDiskID refuses the field disk_id, which callers of the previous system send, and says why it is not allowed.
func refuseDiskID(params json.RawMessage) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(params, &members) != nil {
		return nil
	}
	for name := range members {
		if strings.EqualFold(name, "disk_id") {
			return rpc.NewError(rpc.ReasonDiskIDGiven, "disk_id is not allowed: a backup always holds every disk of the VM, "+
				"because snapshots of single disks at different times would make restores inconsistent").
				WithHint("omit disk_id and start one backup for the VM")
		}
	}
	return nil
}

// Started is the answer to backup.start.
func Started(b record.Backup) rpc.StartResponse {
	r := rpc.StartResponse{
		BackupID:         b.ID,
		VMContextID:      b.VM.ContextID,
		VMName:           b.VM.Name,
		DiskResults:      make([]rpc.DiskResult, 0, len(b.Runs)),
		NBDTargetsString: b.Targets,
		BackupType:       rpc.BackupType(b.Type),
		RepositoryID:     b.Repository,
		PolicyID:         b.Policy,
		Status:           rpc.StatusStarted,
		BytesTransferred: received(b),
		TotalBytes:       b.VM.TotalBytes(),
		CreatedAt:        b.CreatedAt.UTC(),
		Tags:             b.Tags,
	}
	if b.State.Terminal() || b.State == record.Queued {
		r.Status = string(b.State)
	}
	if b.Failure != nil {
		r.ErrorMessage = b.Failure.Message
	}
	for _, run := range b.Runs {
		r.DiskResults = append(r.DiskResults, diskResult(run, b.Failure))
	}
	return r
}

func diskResult(run record.DiskRun, failure *record.Failure) rpc.DiskResult {
	d := rpc.DiskResult{
		DiskID:        run.DiskID,
		NBDPort:       run.Port,
		NBDExportName: run.ExportName,
		QCOW2Path:     run.Image,
		QemuNBDPID:    run.PID,
		Status:        rpc.PortAllocated,
	}
	if run.PID != 0 {
		d.Status = rpc.QemuStarted
	}
	if failure != nil && failure.DiskID != nil && *failure.DiskID == run.DiskID {
		d.Status, d.ErrorMessage = rpc.DiskFailed, failure.Message
	}
	return d
}

// Backup is the record of a backup.
func Backup(b record.Backup) rpc.Backup {
	now := time.Now()
	w := rpc.Backup{
		BackupID:         b.ID,
		VMContextID:      b.VM.ContextID,
		VMName:           b.VM.Name,
		BackupType:       rpc.BackupType(b.Type),
		ParentBackupID:   b.Parent,
		RepositoryID:     b.Repository,
		PolicyID:         b.Policy,
		RequestID:        b.RequestID,
		Tags:             b.Tags,
		RateLimit:        b.RateLimit,
		State:            rpc.BackupState(b.State),
		Failure:          failure(b.Failure),
		Directory:        b.Directory,
		Disks:            make([]rpc.BackupDisk, 0, len(b.Runs)),
		RemovedDisks:     b.RemovedDisks,
		NBDTargetsString: b.Targets,
		BytesTransferred: received(b),
		TotalBytes:       b.VM.TotalBytes(),
		SNAPID:           b.SNAPID,
		Sequence:         b.Sequence,
		CreatedAt:        b.CreatedAt.UTC(),
		FutureDated:      record.Future(b.CreatedAt, now),
		UpdatedAt:        b.UpdatedAt.UTC(),
		CalledAt:         b.CalledAt.UTC(),
		SeenAt:           b.SeenAt.UTC(),
		EndedAt:          b.EndedAt.UTC(),
		Verified:         verification(b.Verified, now),
		FullWhy:          b.FullWhy,
		RefreshError:     b.RefreshError,
		UnknownDiskAt:    b.UnknownDiskAt.UTC(),
		InheritedFrom:    b.DamageBelow,
		CooldownUntil:    b.CooldownUntil.UTC(),
		Merged:           merged(b.Merged),

		SnapshotMayRemain: b.SnapshotMayRemain,
	}
	if b.SnapshotMayRemain {
		w.SnapshotName = b.SnapshotName()
	}
	for _, run := range b.Runs {
		w.Disks = append(w.Disks, backupDisk(run))
	}
	copied(&w, progress.Summarize(b, progress.Recorded(b)))
	return w
}

// copied fills in what the disks have received and copied.
func copied(w *rpc.Backup, p record.Progress) {
	w.BytesTransferred, w.CopiedBytes = max(w.BytesTransferred, p.ReceivedBytes), p.CopiedBytes
	for i, d := range p.Disks { // in the order of the record's
		w.Disks[i].ReceivedBytes, w.Disks[i].CopiedBytes = max(w.Disks[i].ReceivedBytes, d.ReceivedBytes), d.CopiedBytes
	}
}

func backupDisk(run record.DiskRun) rpc.BackupDisk {
	return rpc.BackupDisk{
		DiskID:        run.DiskID,
		DiskKey:       run.Key,
		CapacityBytes: run.CapacityBytes,
		Content:       string(run.Content),
		Change:        string(run.Change),
		Backing:       run.Backing,
		ParentChange:  run.ParentChangeID,
		IO:            run.IO,
		EncryptionKey: run.KeyID,
		NBDPort:       run.Port,
		NBDExportName: run.ExportName,
		QCOW2Path:     run.Image,
		Unit:          run.Unit,
		InvocationID:  run.InvocationID,
		QemuNBDPID:    run.PID,
		ReceivedBytes: run.ReceivedBytes,
		WrittenBytes:  run.WrittenBytes,
		KeptBytes:     run.KeptBytes,
		Complete:      run.Complete,
		ChangeID:      run.ChangeID,
		Copied:        string(run.Copied),
		CopiedWhy:     run.CopiedWhy,
		CopyOrder:     run.Order,
		Result:        run.Result,
		ExitStatus:    run.ExitStatus,
	}
}

func received(b record.Backup) uint64 {
	var sum uint64
	for _, run := range b.Runs {
		sum += run.ReceivedBytes
	}
	return sum
}

// ListQuery is what backup.list asks for.
func ListQuery(q rpc.BackupQuery) ledger.ListQuery {
	return ledger.ListQuery{
		VMName: q.VMName, State: record.State(q.State), Repository: q.RepositoryID,
		Since: q.Since, Until: q.Until, Cursor: q.Cursor, Limit: q.Limit,
		Tags: q.Tags, Damaged: q.Damaged, IDPrefix: q.IDPrefix,
	}
}

// BackupPage is one page of backups.
func BackupPage(list []record.Backup, next string) rpc.BackupPage {
	page := rpc.BackupPage{Backups: make([]rpc.Backup, 0, len(list)), NextCursor: next}
	for _, b := range list {
		page.Backups = append(page.Backups, Backup(b))
	}
	return page
}

// ChangeID is the answer to backup.change_id.
func ChangeID(a callbacks.Answer) rpc.ChangeIDResponse {
	return rpc.ChangeIDResponse{VMName: a.VMName, DiskID: a.DiskID, ChangeID: a.ChangeID, BackupID: a.BackupID, Message: a.Message}
}
