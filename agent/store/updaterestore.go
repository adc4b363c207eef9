package store

import (
	"fmt"
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// UpdateRestore changes the record of a restore in one transaction, as Update does that of a backup. When the restore ends,
// its leases are returned and it pins its restore points no more. There is one option: WithNewRestorePort. No other method of a
// Store changes the record of a restore.
func (s *Store) UpdateRestore(
	id string, now time.Time, f func(r *record.Restore) error, options ...RestoreOption,
) (before, after record.Restore, err error) {
	if err := checkTime("now", now); err != nil {
		return record.Restore{}, record.Restore{}, err
	}
	u := restoreUpdate{now: stored(now), change: f}
	for _, o := range options {
		o(&u)
	}
	err = s.update(func(t *tx) (err error) {
		before, after, err = t.applyRestore(id, u)
		return err
	})
	if err != nil {
		return record.Restore{}, record.Restore{}, err
	}
	return before, after, nil
}

// A RestoreOption of UpdateRestore says what else its transaction does.
type RestoreOption func(*restoreUpdate)

// A restoreUpdate is what UpdateRestore does to a record.
type restoreUpdate struct {
	now    time.Time
	change func(r *record.Restore) error
	lease  func(t *tx, r record.Restore, now time.Time) (record.Restore, error) // nil leases nothing
}

func (t *tx) applyRestore(id string, u restoreUpdate) (before, after record.Restore, err error) {
	if before, err = t.restore(id); err != nil {
		return before, after, err
	}
	if after, err = t.changeRestore(before, u.change); err != nil {
		return before, after, err
	}
	if u.lease != nil {
		if after, err = u.lease(t, after, u.now); err != nil {
			return before, after, err
		}
	}
	if reflect.DeepEqual(before, after) {
		return before, after, errUnchanged
	}
	after.UpdatedAt = u.now
	if before.State.Active() && !after.State.Active() {
		after.EndedAt = u.now
		if err := t.releaseRestore(before); err != nil {
			return before, after, err
		}
	}
	return before, after, t.put(bucketRestores, []byte(id), after)
}

// changeRestore has the caller change a copy of the record, and holds it to what it may change.
func (t *tx) changeRestore(before record.Restore, f func(*record.Restore) error) (record.Restore, error) {
	after, err := copyRestore(before)
	if err != nil {
		return after, err
	}
	t.call(func() { err = f(&after) })
	if err != nil {
		return after, err
	}
	if after, err = copyRestore(after); err != nil { // in the form that is read back, so that it can be compared
		return after, err
	}
	if want, got := lasting(before, true), lasting(after, true); !reflect.DeepEqual(want, got) {
		return after, fmt.Errorf("restore %s: %+v may not become %+v", before.ID, want, got)
	}
	if after.State != before.State {
		if err := record.CheckRestoreTransition(before.State, after.State); err != nil {
			return after, fmt.Errorf("restore %s: %w", before.ID, err)
		}
	}
	return after, nil
}

func (t *tx) releaseRestore(r record.Restore) error {
	for _, d := range r.Disks {
		if err := t.returnLease(d.Port, r.ID); err != nil {
			return err
		}
	}
	return t.Bucket(bucketActiveRestores).Delete([]byte(r.ID))
}
