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

// Dequeue moves a queued backup to preparing and leases a port for every disk, or changes nothing. ports and complete
// are those of a Preparation. It returns a *StateError when the backup is not queued. Its VM may be another one than when it was
// queued: it returns an *ActiveError or a *CoolingError when that has an active backup, or cools down, under another name.
func (s *Store) Dequeue(
	id string, now time.Time, ports PortChooser, complete func(b *record.Backup, leases []record.Lease),
) (record.Backup, error) {
	if err := checkTime("now", now); err != nil {
		return record.Backup{}, err
	}
	var after record.Backup
	err := s.update(func(t *tx) error {
		before, err := t.backup(id)
		if err != nil {
			return err
		}
		if before.State != record.Queued {
			return &StateError{BackupID: id, State: before.State, Action: "preparing it"}
		}
		if err := t.checkAlias(before.VM, id); err != nil {
			return err
		}
		if err := t.checkCool(before.VM, now); err != nil {
			return err
		}
		if err := t.dropCooled(now); err != nil {
			return err
		}
		after = before
		after.State, after.UpdatedAt = record.Preparing, stored(now)
		if after, err = t.equip(after, now, ports, complete); err != nil {
			return err
		}
		return t.write(before, after)
	})
	if err != nil {
		return record.Backup{}, err
	}
	return after, nil
}
