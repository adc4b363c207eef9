package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// startCooling starts the cool-down of the VM and the ports of an ended backup.
func startCooling(t *dbfile.Tx, b record.Backup) error {
	value := schema.Stamp{Until: b.CooldownUntil, BackupID: b.ID}.Encode()
	for _, r := range b.Runs {
		if err := t.Bucket(schema.BucketCoolingPorts).Put(schema.EncodePort(r.Port), value); err != nil {
			return err
		}
	}
	return t.Bucket(schema.BucketCoolingVMs).Put([]byte(b.VM.Name), value)
}

// moveCooling shortens or extends the cool-down from an ended backup.
func moveCooling(t *dbfile.Tx, b record.Backup) error {
	for _, bucket := range [][]byte{schema.BucketCoolingPorts, schema.BucketCoolingVMs} {
		err := changeCooling(t, bucket, func(c schema.Stamp) (schema.Stamp, bool) {
			if c.BackupID == b.ID {
				c.Until = b.CooldownUntil
			}
			return c, !b.CooldownUntil.IsZero() || c.BackupID != b.ID
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// LimitCooling shortens every cool-down that lasts longer than longest from now, as after the clock was set back.
func (s *Store) LimitCooling(now time.Time, longest time.Duration) error {
	latest := schema.Stored(now.Add(longest))
	return s.file.Update(func(t *dbfile.Tx) error {
		changed := false
		for _, bucket := range [][]byte{schema.BucketCoolingPorts, schema.BucketCoolingVMs} {
			err := changeCooling(t, bucket, func(c schema.Stamp) (schema.Stamp, bool) {
				if c.Until.After(latest) {
					c.Until, changed = latest, true
				}
				return c, true
			})
			if err != nil {
				return err
			}
		}
		if !changed {
			return dbfile.ErrUnchanged
		}
		return nil
	})
}

// dropCooled deletes the cool-downs that are over.
func dropCooled(t *dbfile.Tx, now time.Time) error {
	for _, bucket := range [][]byte{schema.BucketCoolingPorts, schema.BucketCoolingVMs} {
		err := changeCooling(t, bucket, func(c schema.Stamp) (schema.Stamp, bool) { return c, c.Until.After(now) })
		if err != nil {
			return err
		}
	}
	return nil
}

// changeCooling gives each entry its new value, or deletes it where f returns false. A bucket must not be changed while it is
// walked, so the changes are collected first.
func changeCooling(t *dbfile.Tx, bucket []byte, f func(schema.Stamp) (schema.Stamp, bool)) error {
	changed, deleted := map[string]schema.Stamp{}, []string{}
	err := schema.EachCooling(t, bucket, func(key []byte, c schema.Stamp) error {
		if after, keep := f(c); !keep {
			deleted = append(deleted, string(key))
		} else if after != c {
			changed[string(key)] = after
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range deleted {
		if err := t.Bucket(bucket).Delete([]byte(key)); err != nil {
			return err
		}
	}
	for key, c := range changed {
		if err := t.Bucket(bucket).Put([]byte(key), c.Encode()); err != nil {
			return err
		}
	}
	return nil
}
