package ledger

import (
	"context"
	"log/slog"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// LogCreated logs the first state of a backup, which has no state before it.
func (l *Ledger) LogCreated(b record.Backup) {
	l.Log.Info("backup "+string(b.State), logkey.BackupID, b.ID, logkey.VM, b.VM.Name, logkey.To, string(b.State),
		logkey.Type, string(b.Type), logkey.Repository, b.Repository, logkey.Disks, len(b.VM.Disks))
}

func (l *Ledger) logTransition(before, after record.Backup) {
	if before.State == after.State {
		return
	}
	attrs := []any{
		logkey.BackupID, after.ID, logkey.VM, after.VM.Name,
		logkey.From, string(before.State), logkey.To, string(after.State),
	}
	level := slog.LevelInfo
	if f := after.Failure; f != nil && before.Failure == nil {
		level = slog.LevelError
		attrs = append(attrs, logkey.Reason, f.Reason, logkey.Error, f.Message, logkey.Journal, f.Journal)
	}
	l.Log.Log(context.Background(), level, "backup "+string(after.State), attrs...)
}

func (l *Ledger) logRestore(before, after record.Restore) {
	level, attrs := slog.LevelInfo, []any{
		logkey.RestoreID, after.ID, logkey.BackupID, after.BackupID, logkey.VM, after.VMName, logkey.From, string(before.State), logkey.To, string(after.State),
	}
	if f := after.Failure; f != nil && before.Failure == nil {
		level = slog.LevelError
		attrs = append(attrs, logkey.Reason, f.Reason, logkey.Error, f.Message, logkey.Journal, f.Journal)
	}
	l.Log.Log(context.Background(), level, "restore "+string(after.State), attrs...)
}
