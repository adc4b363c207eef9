package store

import (
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// MarkRebuilt records that the database replaces one that was lost: there may be running exporters that it does not know. Every
// VM on record without an active backup cools down until the given time, because the client of a lost backup may still be
// running.
func (s *Store) MarkRebuilt(cooldownUntil time.Time) error {
	if err := schema.CheckTime("cooldown_until", cooldownUntil); err != nil {
		return err
	}
	return s.file.Update(func(t *dbfile.Tx) error {
		mark := schema.Stamp{Until: schema.Stored(cooldownUntil), BackupID: schema.UnknownBackup}
		err := t.Bucket(schema.BucketVMs).ForEach(func(name, _ []byte) error {
			if t.Bucket(schema.BucketActive).Get(name) != nil {
				return nil
			}
			if v := t.Bucket(schema.BucketCoolingVMs).Get(name); v != nil {
				cooling, err := schema.DecodeStamp(t, schema.BucketCoolingVMs, name, v)
				if err != nil || cooling.Until.After(mark.Until) {
					return err
				}
			}
			return t.Bucket(schema.BucketCoolingVMs).Put(slices.Clone(name), mark.Encode())
		})
		if err != nil {
			return err
		}
		return t.Bucket(schema.BucketMeta).Put(schema.KeyRebuilt, nil)
	})
}

// ClearRebuilt records that every exporter of lost backups is on record.
func (s *Store) ClearRebuilt() error {
	return s.file.Update(func(t *dbfile.Tx) error { return t.Bucket(schema.BucketMeta).Delete(schema.KeyRebuilt) })
}

// Adopt puts a lost backup on record whose exporters still run, with the leases that they have, so that it can be undone. It
// must be in state undoing. A *StateError, *ActiveError or *ClaimError, or an error about a port, says that it contradicts what
// is on record.
func (s *Store) Adopt(b record.Backup, leases []record.Lease) error {
	if err := record.ValidName("backup_id", b.ID); err != nil {
		return err
	}
	if b.State != record.Undoing {
		return &rules.StateError{BackupID: b.ID, State: b.State, Action: "adopting"}
	}
	b, err := schema.Clone(b)
	if err != nil {
		return err
	}
	return s.file.Update(func(t *dbfile.Tx) error {
		if t.Bucket(schema.BucketBackups).Get([]byte(b.ID)) != nil || t.Bucket(schema.BucketRemoved).Get([]byte(b.ID)) != nil {
			return fmt.Errorf("backup %s: is or was on record", b.ID)
		}
		if err := rules.CheckIdle(t, b.VM.Name); err != nil {
			return err
		}
		for _, l := range leases {
			if t.Bucket(schema.BucketLeases).Get(schema.EncodePort(l.Port)) != nil {
				return fmt.Errorf("backup %s: port %d is leased", b.ID, l.Port)
			}
			if err := schema.Put(t, schema.BucketLeases, schema.EncodePort(l.Port), l); err != nil {
				return err
			}
		}
		// An active VM does not cool down.
		if err := t.Bucket(schema.BucketCoolingVMs).Delete([]byte(b.VM.Name)); err != nil {
			return err
		}
		return insertBackup(t, b)
	})
}
