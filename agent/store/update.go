package store

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// Update changes a record in one transaction. f gets the record as it is and may return an error, which is returned as
// it is and leaves everything as it was; it runs inside the transaction, so it must only compute. A record that f
// leaves alone is not written.
//
// A new State must be one that record.CheckTransition allows. ID, VM name, type, repository, request id, creation time,
// the ports and units of the runs, and the parent of an active backup do not change: *ImmutableError. (An incremental that was
// rewritten onto nothing becomes a full backup.) A Rewrite is begun, and its swap, only as checkRewrite says. Update sets
// UpdatedAt and, when the backup ends, EndedAt.
//
// When the backup ends, its leases are returned and another backup of the VM may begin; if CooldownUntil is later than
// now, VM and ports cool down until then. On an ended backup CooldownUntil may be brought forward, which shortens the
// cooling; zero ends it at once. It may be put off while the VM cools down from this backup.
//
// Options say what else happens in the transaction: WithLeases, WithNewPort, FromManifest. No other method of a Store changes the
// record of a backup: they add records, or remove them.
func (s *Store) Update(
	id string, now time.Time, f func(b *record.Backup) error, options ...Option,
) (before, after record.Backup, err error) {
	if err := checkTime("now", now); err != nil {
		return record.Backup{}, record.Backup{}, err
	}
	u := backupUpdate{now: stored(now), change: f, rules: (*tx).checkUpdate}
	for _, o := range options {
		o(&u)
	}
	err = s.update(func(t *tx) error {
		var err error
		if before, after, err = t.applyUpdate(id, u); err != nil {
			return err
		}
		if after.State != record.Completed { // it has no children, and inherits no damage
			return nil
		}
		return s.inherit(t, &after)
	})
	if err != nil {
		return record.Backup{}, record.Backup{}, err
	}
	return before, after, nil
}

// An Option of Update says what else its transaction does.
type Option func(*backupUpdate)

// A backupUpdate is what Update does to a record.
type backupUpdate struct {
	now    time.Time
	allow  func(t *tx, before record.Backup) error // nil allows it for every record
	change func(b *record.Backup) error
	rules  func(t *tx, before, after record.Backup, now time.Time) error
	lease  func(t *tx, b record.Backup, now time.Time) (record.Backup, error) // nil leases nothing
}

func (t *tx) applyUpdate(id string, u backupUpdate) (before, after record.Backup, err error) {
	if before, err = t.backup(id); err != nil {
		return before, after, err
	}
	if u.allow != nil {
		if err := u.allow(t, before); err != nil {
			return before, after, err
		}
	}
	if after, err = t.changed(before, u.change); err != nil {
		return before, after, err
	}
	if before.State == record.Queued && after.State == record.Preparing && u.lease == nil {
		return before, after, &StateError{BackupID: id, State: before.State, Action: "preparing it without leases"}
	}
	if err := u.rules(t, before, after, u.now); err != nil {
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
	if after.State.Terminal() && before.State.Active() {
		after.EndedAt = u.now
	}
	return before, after, t.write(before, after)
}

// changed has the caller change a copy of the record.
func (t *tx) changed(before record.Backup, f func(*record.Backup) error) (record.Backup, error) {
	after, err := clone(before)
	if err != nil {
		return after, err
	}
	t.call(func() { err = f(&after) })
	if err != nil {
		return after, err
	}
	after.CooldownUntil = stored(after.CooldownUntil)
	return clone(after) // in the form that is read back, so that it can be compared
}

// checkUpdate holds the caller to what he may change.
func (t *tx) checkUpdate(before, after record.Backup, now time.Time) error {
	if err := checkImmutable(before, after); err != nil {
		return err
	}
	if err := checkUnits(before, after, nil); err != nil {
		return err
	}
	if after.State != before.State {
		if err := record.CheckTransition(before.State, after.State); err != nil {
			return fmt.Errorf("backup %s: %w", before.ID, err)
		}
	}
	if after.State == record.Deleting && before.State != record.Deleting {
		if err := errors.Join(t.checkUnpinned(before), t.checkUnserved(before.ID)); err != nil {
			return err
		}
	}
	if after.Parent != before.Parent {
		if err := t.checkParent(after); err != nil {
			return err
		}
	}
	if err := t.checkMerge(before, after); err != nil {
		return err
	}
	return t.checkCooldown(before, after, now)
}

// checkCooldown refuses a time that cannot be encoded, and a longer cooling of what may be in use again.
func (t *tx) checkCooldown(before, after record.Backup, now time.Time) error {
	if after.CooldownUntil.Equal(before.CooldownUntil) {
		return nil
	}
	if before.State.Terminal() && after.CooldownUntil.After(before.CooldownUntil) {
		if cools, err := t.cools(before, now); err != nil || !cools {
			return cmp.Or(err, fmt.Errorf("backup %s: cooldown_until: its cool-down is over, and may only be brought forward", before.ID))
		}
	}
	if after.CooldownUntil.IsZero() {
		return nil
	}
	return checkTime("cooldown_until", after.CooldownUntil)
}

// write replaces a record and follows the change in everything that hangs on it.
func (t *tx) write(before, after record.Backup) error {
	if err := t.index(&before, &after); err != nil {
		return err
	}
	if err := t.follow(before, after); err != nil {
		return err
	}
	return t.put(bucketBackups, []byte(after.ID), after)
}

func (t *tx) follow(before, after record.Backup) error {
	switch {
	case after.State.Active():
		return t.reclaim(before, after)
	case before.State.Active():
		return t.release(before, after)
	case !after.CooldownUntil.Equal(before.CooldownUntil):
		return t.moveCooling(after)
	}
	return nil
}

// release gives back what an active backup held.
func (t *tx) release(before, after record.Backup) error {
	for _, r := range before.Runs {
		if err := t.returnLease(r.Port, before.ID); err != nil {
			return err
		}
	}
	if err := t.disclaim(before); err != nil {
		return err
	}
	if err := t.Bucket(bucketActive).Delete([]byte(before.VM.Name)); err != nil {
		return err
	}
	if after.CooldownUntil.After(after.EndedAt) {
		return t.cool(after)
	}
	return nil
}
