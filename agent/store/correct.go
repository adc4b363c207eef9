package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// FromManifest has the record of a restore point follow its manifest, where the database is older than that: what a merge changes may
// change, whatever it is. Without it, Update does not allow that: it begins and ends a merge of its own. Update returns a
// *StateError for what is no restore point, a *RewritingError for one that is being merged, and a *ReadError for one that a restore
// or a backup reads.
func FromManifest() Option {
	return func(u *backupUpdate) {
		u.allow = (*tx).checkCorrectable
		u.rules = func(_ *tx, before, after record.Backup, _ time.Time) error { return checkCorrected(before, after) }
	}
}

func (t *tx) checkCorrectable(b record.Backup) error {
	switch {
	case b.State != record.Completed:
		return &StateError{BackupID: b.ID, State: b.State, Action: "having it follow its manifest"}
	case b.Merge != nil:
		return &MergingError{BackupID: b.ID}
	}
	return t.checkUnread(b)
}

// checkCorrected holds a correction to what it may change. The type follows the parent.
func checkCorrected(before, after record.Backup) error {
	before.Type = after.Type
	if after.State != before.State || after.Directory != before.Directory {
		return &ImmutableError{BackupID: before.ID, Field: "state and directory"}
	}
	return checkImmutable(before, after)
}
