package store

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// firstBackup returns the backup of the same request, if there is one.
func firstBackup(t *dbfile.Tx, now record.Backup) (record.Backup, bool, error) {
	first, found, err := schema.RequestedBackup(t, now.RequestID)
	if err != nil || !found {
		return record.Backup{}, false, err
	}
	for _, f := range []struct{ field, first, now string }{
		{"vm_name", first.VM.Name, now.VM.Name},
		{"backup_type", string(first.Type), string(now.Type)},
		{"repository_id", first.Repository, now.Repository},
	} {
		if f.first != f.now {
			return record.Backup{}, false, &RequestMismatchError{
				RequestID: now.RequestID, BackupID: first.ID, Field: f.field, First: f.first, Now: f.now,
			}
		}
	}
	return first, true, nil
}
