package store

import (
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// UnknownBackup stands for the id of a backup that went with a lost database.
const UnknownBackup = "?"

// MarkRebuilt notes that the database stands for one that was lost: exporters may run that it has never heard of. Every VM
// on record that has no active backup cools down until the time given, as a client of a lost backup may still be on its way.
func (s *Store) MarkRebuilt(cooldownUntil time.Time) error {
	if err := checkTime("cooldown_until", cooldownUntil); err != nil {
		return err
	}
	return s.update(func(t *tx) error {
		mark := stamp{until: stored(cooldownUntil), backupID: UnknownBackup}
		err := t.Bucket(bucketVMs).ForEach(func(name, _ []byte) error {
			if t.Bucket(bucketActive).Get(name) != nil {
				return nil
			}
			if v := t.Bucket(bucketCoolingVMs).Get(name); v != nil {
				cooling, err := t.decodeStamp(bucketCoolingVMs, name, v)
				if err != nil || cooling.until.After(mark.until) {
					return err
				}
			}
			return t.Bucket(bucketCoolingVMs).Put(slices.Clone(name), mark.encode())
		})
		if err != nil {
			return err
		}
		return t.Bucket(bucketMeta).Put(keyRebuilt, nil)
	})
}

// Rebuilt says whether MarkRebuilt has been called, and ClearRebuilt not since.
func (s *Store) Rebuilt() (rebuilt bool, err error) {
	err = s.view(func(t *tx) error {
		rebuilt = has(t.Bucket(bucketMeta), keyRebuilt)
		return nil
	})
	return rebuilt, err
}

// ClearRebuilt notes that every exporter of lost backups is on record now.
func (s *Store) ClearRebuilt() error {
	return s.update(func(t *tx) error { return t.Bucket(bucketMeta).Delete(keyRebuilt) })
}

// Adopt puts on record a backup that went with a lost database and whose exporters still run, with the leases that they
// say they have, so that it can be undone. It must be undoing. A *StateError, *ActiveError or *ClaimError, or an error about a
// port, says that it does not fit to what is on record.
func (s *Store) Adopt(b record.Backup, leases []record.Lease) error {
	if err := record.ValidName("backup_id", b.ID); err != nil {
		return err
	}
	if b.State != record.Undoing {
		return &StateError{BackupID: b.ID, State: b.State, Action: "adopting"}
	}
	b, err := clone(b)
	if err != nil {
		return err
	}
	return s.update(func(t *tx) error {
		if t.Bucket(bucketBackups).Get([]byte(b.ID)) != nil || t.Bucket(bucketRemoved).Get([]byte(b.ID)) != nil {
			return fmt.Errorf("backup %s: is or was on record", b.ID)
		}
		if err := t.checkIdle(b.VM.Name); err != nil {
			return err
		}
		for _, l := range leases {
			if t.Bucket(bucketLeases).Get(encodePort(l.Port)) != nil {
				return fmt.Errorf("backup %s: port %d is leased", b.ID, l.Port)
			}
			if err := t.put(bucketLeases, encodePort(l.Port), l); err != nil {
				return err
			}
		}
		// What is active does not cool down.
		if err := t.Bucket(bucketCoolingVMs).Delete([]byte(b.VM.Name)); err != nil {
			return err
		}
		return t.insert(b)
	})
}
