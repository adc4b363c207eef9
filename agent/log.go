package agent

import (
	"context"
	"log/slog"

	"github.com/sendense/backup-agent/agent/record"
)

// logBirth logs the first state of a backup, which is no transition: it comes from nowhere.
func (a *Agent) logBirth(b record.Backup) {
	a.log.Info("backup "+string(b.State), logBackupID, b.ID, logVM, b.VM.Name, logTo, string(b.State),
		logType, string(b.Type), logRepository, b.Repository, logDisks, len(b.VM.Disks))
}

func (a *Agent) logTransition(before, after record.Backup) {
	if before.State == after.State {
		return
	}
	attrs := []any{
		logBackupID, after.ID, logVM, after.VM.Name,
		logFrom, string(before.State), logTo, string(after.State),
	}
	level := slog.LevelInfo
	if f := after.Failure; f != nil && before.Failure == nil {
		level = slog.LevelError
		attrs = append(attrs, logReason, f.Reason, logError, f.Message, logJournal, f.Journal)
	}
	a.log.Log(context.Background(), level, "backup "+string(after.State), attrs...)
}

// Keys of the log's attributes.
const (
	logBackupID   = "backup_id"
	logRestoreID  = "restore_id"
	logVM         = "vm_name"
	logFrom       = "from"
	logTo         = "to"
	logType       = "backup_type"
	logRepository = "repository_id"
	logDisks      = "disks"
	logReason     = "reason"
	logError      = "error"
	logJournal    = "journal"
	logUnit       = "unit"
	logPort       = "port"
	logHolder     = "holder"
	logDisk       = "disk_id"
	logDirectory  = "directory"
	logSource     = "source"
	logCache      = "cache"
	logAIO        = "aio"
	logHint       = "hint"
	logFile       = "file"
	logOnto       = "onto"
	logStandsOn   = "stands_on"
)
