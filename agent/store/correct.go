package store

import (
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// Correct has the record of a restore point follow its manifest, where the database is older than that: f gets the record, and may
// change what a rewriting changes, whatever that is. Update does not allow it, for it begins and ends a rewriting of its own. It
// returns a *StateError for what is no restore point, a *RewritingError for one that is being written anew, and a *ReadError for
// one that a restore or a backup reads: nothing is changed then.
func (s *Store) Correct(id string, now time.Time, f func(b *record.Backup)) error {
	if err := checkTime("now", now); err != nil {
		return err
	}
	return s.update(func(t *tx) error {
		before, err := t.backup(id)
		if err != nil {
			return err
		}
		if err := t.checkCorrectable(before); err != nil {
			return err
		}
		after, err := clone(before)
		if err != nil {
			return err
		}
		t.call(func() { f(&after) })
		if after, err = clone(after); err != nil { // in the form that is read back
			return err
		}
		if reflect.DeepEqual(before, after) {
			return errUnchanged
		}
		after.UpdatedAt = stored(now)
		if err := checkCorrected(before, after); err != nil {
			return err
		}
		if err := t.index(&before, &after); err != nil {
			return err
		}
		return t.put(bucketBackups, []byte(id), after)
	})
}

func (t *tx) checkCorrectable(b record.Backup) error {
	switch {
	case b.State != record.Completed:
		return &StateError{BackupID: b.ID, State: b.State, Action: "having it follow its manifest"}
	case b.Rewrite != nil:
		return &RewritingError{BackupID: b.ID}
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
