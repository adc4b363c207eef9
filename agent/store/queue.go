package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// Enqueue puts a backup on record that waits for its turn: in state queued, without runs and without leases. It is the
// VM's active backup and pins its parent. Ports and Complete of the Preparation are not used. Otherwise it is Prepare.
func (s *Store) Enqueue(p Preparation) (b record.Backup, existing bool, err error) {
	return s.add(p, func(t *tx) (record.Backup, error) { return t.admit(p, record.Queued) })
}

// NextQueued returns the queued backup that has waited longest, and whether there is one.
func (s *Store) NextQueued() (b record.Backup, found bool, err error) {
	err = s.view(func(t *tx) error {
		name := listState(record.Queued)
		list := t.Bucket(bucketLists).Bucket([]byte(name))
		if list == nil {
			return nil
		}
		k, _ := list.Cursor().First()
		var err error
		b, err = t.listed(name, k)
		found = err == nil
		return err
	})
	return b, found, err
}

// WithLeases leases a port for every disk of a queued backup that is moved to preparing. ports and complete are those of a
// Preparation. Update returns a *StateError when the backup is not queued, or is not moved to preparing. Its VM may be another one
// than when it was queued: Update returns an *ActiveError or a *CoolingError when that has an active backup, or cools down, under
// another name.
func WithLeases(ports PortChooser, complete func(b *record.Backup, leases []record.Lease)) Option {
	return func(u *backupUpdate) {
		u.allow = func(_ *tx, before record.Backup) error {
			if before.State != record.Queued {
				return &StateError{BackupID: before.ID, State: before.State, Action: "preparing it"}
			}
			return nil
		}
		u.lease = func(t *tx, b record.Backup, now time.Time) (record.Backup, error) {
			if b.State != record.Preparing {
				return b, &StateError{BackupID: b.ID, State: b.State, Action: "leasing its ports"}
			}
			if err := t.checkAlias(b.VM, b.ID); err != nil {
				return b, err
			}
			if err := t.checkCool(b.VM, now); err != nil {
				return b, err
			}
			if err := t.dropCooled(now); err != nil {
				return b, err
			}
			return t.equip(b, now, ports, complete)
		}
	}
}
