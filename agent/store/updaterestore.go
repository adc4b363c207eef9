package store

import (
	"fmt"
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// UpdateRestore changes the record of a restore in one transaction, as Update does that of a backup. When the restore ends,
// UpdateRestore returns its leases and unpins its restore points. There is one option: WithNewRestorePort. No other method of a
// Store changes the record of a restore.
func (s *Store) UpdateRestore(
	id string, now time.Time, f func(r *record.Restore) error, options ...RestoreOption,
) (before, after record.Restore, err error) {
	if err := schema.CheckTime("now", now); err != nil {
		return record.Restore{}, record.Restore{}, err
	}
	u := restoreUpdate{now: schema.Stored(now), change: f}
	for _, o := range options {
		o(&u)
	}
	err = s.file.Update(func(t *dbfile.Tx) (err error) {
		before, after, err = applyRestoreUpdate(t, id, u)
		return err
	})
	if err != nil {
		return record.Restore{}, record.Restore{}, err
	}
	return before, after, nil
}

// A RestoreOption of UpdateRestore adds to its transaction.
type RestoreOption func(*restoreUpdate)

// A restoreUpdate is what UpdateRestore does to a record.
type restoreUpdate struct {
	now    time.Time
	change func(r *record.Restore) error
	lease  func(t *dbfile.Tx, r record.Restore, now time.Time) (record.Restore, error) // nil leases nothing
}

func applyRestoreUpdate(t *dbfile.Tx, id string, u restoreUpdate) (before, after record.Restore, err error) {
	if before, err = schema.Restore(t, id); err != nil {
		return before, after, err
	}
	if after, err = changedRestore(t, before, u.change); err != nil {
		return before, after, err
	}
	if u.lease != nil {
		if after, err = u.lease(t, after, u.now); err != nil {
			return before, after, err
		}
	}
	if reflect.DeepEqual(before, after) {
		return before, after, dbfile.ErrUnchanged
	}
	after.UpdatedAt = u.now
	if before.State.Active() && !after.State.Active() {
		after.EndedAt = u.now
		if err := releaseRestore(t, before); err != nil {
			return before, after, err
		}
	}
	return before, after, schema.Put(t, schema.BucketRestores, []byte(id), after)
}

// changedRestore has the caller change a copy of the record, and refuses what may not change.
func changedRestore(t *dbfile.Tx, before record.Restore, f func(*record.Restore) error) (record.Restore, error) {
	after, err := schema.CloneRestore(before)
	if err != nil {
		return after, err
	}
	t.Call(func() { err = f(&after) })
	if err != nil {
		return after, err
	}
	if after, err = schema.CloneRestore(after); err != nil { // in the form that is read back, so that it can be compared
		return after, err
	}
	if want, got := rules.Lasting(before, true), rules.Lasting(after, true); !reflect.DeepEqual(want, got) {
		return after, fmt.Errorf("restore %s: %+v cannot become %+v", before.ID, want, got)
	}
	if after.State != before.State {
		if err := record.CheckRestoreTransition(before.State, after.State); err != nil {
			return after, fmt.Errorf("restore %s: %w", before.ID, err)
		}
	}
	return after, nil
}

func releaseRestore(t *dbfile.Tx, r record.Restore) error {
	for _, d := range r.Disks {
		if err := returnLease(t, d.Port, r.ID); err != nil {
			return err
		}
	}
	return t.Bucket(schema.BucketActiveRestores).Delete([]byte(r.ID))
}
