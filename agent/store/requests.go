package store

import (
	"github.com/sendense/backup-agent/agent/record"
)

// Requested returns the backup that was made for a request id, and whether there is one.
func (s *Store) Requested(requestID string) (b record.Backup, found bool, err error) {
	err = s.view(func(t *tx) error {
		var err error
		b, found, err = t.request(requestID)
		return err
	})
	return b, found, err
}

func (t *tx) request(id string) (record.Backup, bool, error) {
	if id == "" {
		return record.Backup{}, false, nil
	}
	key := []byte(id)
	backupID := t.Bucket(bucketRequests).Get(key)
	if backupID == nil {
		return record.Backup{}, false, nil
	}
	b, err := t.indexed(bucketRequests, key, backupID)
	return b, err == nil, err
}

// requested returns the backup that was made for the same request before, if any.
func (t *tx) requested(now record.Backup) (record.Backup, bool, error) {
	first, found, err := t.request(now.RequestID)
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
