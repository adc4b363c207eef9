package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// RemoveBackup removes the record of a backup in state deleting. Its id is never given again. It returns a *NotFoundError when
// there is no such backup, and a *StateError when it is in another state: the state deleting must be on record before the
// images are removed, so that no backup chooses it as its parent, and a crash leaves no half restore point.
func (s *Store) RemoveBackup(id string, now time.Time) error {
	if err := schema.CheckTime("now", now); err != nil {
		return err
	}
	return s.file.Update(func(t *dbfile.Tx) error {
		b, err := schema.Backup(t, id)
		if err != nil {
			return err
		}
		if b.State != record.Deleting {
			return &rules.StateError{BackupID: b.ID, State: b.State, Action: "removing its record"}
		}
		if err := schema.Index(t, &b, nil); err != nil {
			return err
		}
		if b.RequestID != "" {
			if err := t.Bucket(schema.BucketRequests).Delete([]byte(b.RequestID)); err != nil {
				return err
			}
		}
		if err := t.Bucket(schema.BucketRemoved).Put([]byte(id), append(schema.EncodeTime(now), b.Directory...)); err != nil {
			return err
		}
		return t.Bucket(schema.BucketBackups).Delete([]byte(id))
	})
}
