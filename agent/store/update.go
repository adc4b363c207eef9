package store

import (
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Update changes the record of a backup in one transaction. f gets the record. It runs inside the transaction, so it must only
// compute. Its error is returned unchanged, and nothing is written. A record that f does not change is not written.
//
// A new State must be one that record.CheckTransition allows. ID, VM name, type, repository, request id, creation time, the
// ports and units of the runs, and the parent of an active backup never change: *ImmutableError. (An incremental that was
// merged without a new parent becomes a full backup.) A Merge begins, and its commit, only where package rules allows it.
// Update sets UpdatedAt and, when the backup ends, EndedAt.
//
// When the backup ends, Update returns its leases, and another backup of the VM may begin. If CooldownUntil is later than now,
// VM and ports cool down until then. CooldownUntil of an ended backup can be set to an earlier time, which shortens the
// cool-down; zero ends it. It can be set to a later time while the VM still cools down from this backup.
//
// Options add to the transaction: WithLeases, WithNewPort, FromManifest. No other method of a Store changes the record of a
// backup; others add or remove records.
func (s *Store) Update(
	id string, now time.Time, f func(b *record.Backup) error, options ...Option,
) (before, after record.Backup, err error) {
	if err := schema.CheckTime("now", now); err != nil {
		return record.Backup{}, record.Backup{}, err
	}
	u := backupUpdate{now: schema.Stored(now), change: f, rules: rules.CheckUpdate}
	for _, o := range options {
		o(&u)
	}
	err = s.file.Update(func(t *dbfile.Tx) error {
		var err error
		if before, after, err = applyUpdate(t, id, u); err != nil {
			return err
		}
		if after.State != record.Completed { // only a restore point inherits damage
			return nil
		}
		return query.FillDamage(s.Reader, t, &after)
	})
	if err != nil {
		return record.Backup{}, record.Backup{}, err
	}
	return before, after, nil
}

// An Option of Update adds to its transaction.
type Option func(*backupUpdate)

// A backupUpdate is what Update does to a record.
type backupUpdate struct {
	now    time.Time
	allow  func(t *dbfile.Tx, before record.Backup) error // nil allows it for every record
	change func(b *record.Backup) error
	rules  func(t *dbfile.Tx, before, after record.Backup, now time.Time) error
	lease  func(t *dbfile.Tx, b record.Backup, now time.Time) (record.Backup, error) // nil leases nothing
}

func applyUpdate(t *dbfile.Tx, id string, u backupUpdate) (before, after record.Backup, err error) {
	if before, err = schema.Backup(t, id); err != nil {
		return before, after, err
	}
	if u.allow != nil {
		if err := u.allow(t, before); err != nil {
			return before, after, err
		}
	}
	if after, err = changedBackup(t, before, u.change); err != nil {
		return before, after, err
	}
	if before.State == record.Queued && after.State == record.Preparing && u.lease == nil {
		return before, after, &rules.StateError{BackupID: id, State: before.State, Action: "preparing it without leases"}
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
		return before, after, dbfile.ErrUnchanged
	}
	after.UpdatedAt = u.now
	if after.State.Terminal() && before.State.Active() {
		after.EndedAt = u.now
	}
	return before, after, replaceBackup(t, before, after)
}

// changedBackup has the caller change a copy of the record.
func changedBackup(t *dbfile.Tx, before record.Backup, f func(*record.Backup) error) (record.Backup, error) {
	after, err := schema.Clone(before)
	if err != nil {
		return after, err
	}
	t.Call(func() { err = f(&after) })
	if err != nil {
		return after, err
	}
	after.CooldownUntil = schema.Stored(after.CooldownUntil)
	return schema.Clone(after) // in the form that is read back, so that it can be compared
}

// replaceBackup replaces a record and updates everything that follows from it.
func replaceBackup(t *dbfile.Tx, before, after record.Backup) error {
	if err := schema.Index(t, &before, &after); err != nil {
		return err
	}
	if err := followChange(t, before, after); err != nil {
		return err
	}
	return schema.Put(t, schema.BucketBackups, []byte(after.ID), after)
}

func followChange(t *dbfile.Tx, before, after record.Backup) error {
	switch {
	case after.State.Active():
		return moveClaims(t, before, after)
	case before.State.Active():
		return releaseBackup(t, before, after)
	case !after.CooldownUntil.Equal(before.CooldownUntil):
		return moveCooling(t, after)
	}
	return nil
}

// releaseBackup returns what an active backup held.
func releaseBackup(t *dbfile.Tx, before, after record.Backup) error {
	for _, r := range before.Runs {
		if err := returnLease(t, r.Port, before.ID); err != nil {
			return err
		}
	}
	if err := deleteClaims(t, before); err != nil {
		return err
	}
	if err := t.Bucket(schema.BucketActive).Delete([]byte(before.VM.Name)); err != nil {
		return err
	}
	if after.CooldownUntil.After(after.EndedAt) {
		return startCooling(t, after)
	}
	return nil
}
