package schema

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// RequestedBackup loads the backup that was made for a request id, and says whether there is one.
func RequestedBackup(t *dbfile.Tx, id string) (record.Backup, bool, error) {
	if id == "" {
		return record.Backup{}, false, nil
	}
	key := []byte(id)
	backupID := t.Bucket(BucketRequests).Get(key)
	if backupID == nil {
		return record.Backup{}, false, nil
	}
	b, err := Indexed(t, BucketRequests, key, backupID)
	return b, err == nil, err
}
