package store

import (
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// A CoolingPort is a port that is not leased until a client of an earlier backup is certain to be gone.
type CoolingPort struct {
	Port     uint16
	Until    time.Time
	BackupID string // whose client it is
}

// A CoolingVM is a VM that is not backed up until a client of an earlier backup is certain to be gone.
type CoolingVM struct {
	Name     string
	Until    time.Time
	BackupID string
}

// Cooling returns the ports and VMs that are cooling down at the time now, ordered by port and by name.
func (s *Store) Cooling(now time.Time) (ports []CoolingPort, vms []CoolingVM, err error) {
	err = s.view(func(t *tx) error {
		ports, vms = nil, nil
		err := t.eachCooling(bucketCoolingPorts, func(key []byte, c stamp) error {
			if c.until.After(now) {
				ports = append(ports, CoolingPort{Port: decodePort(key), Until: c.until, BackupID: c.backupID})
			}
			return nil
		})
		if err != nil {
			return err
		}
		return t.eachCooling(bucketCoolingVMs, func(key []byte, c stamp) error {
			if c.until.After(now) {
				vms = append(vms, CoolingVM{Name: string(key), Until: c.until, BackupID: c.backupID})
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	return ports, vms, nil
}

func (t *tx) eachCooling(bucket []byte, f func(key []byte, c stamp) error) error {
	return t.Bucket(bucket).ForEach(func(k, v []byte) error {
		c, err := t.decodeStamp(bucket, k, v)
		if err != nil {
			return err
		}
		return f(k, c)
	})
}

// checkCool returns a *CoolingError when the VM is cooling down, under this name or, as the record of the backup that it cools
// from tells, under another.
func (t *tx) checkCool(vm record.VM, now time.Time) error {
	return t.eachCooling(bucketCoolingVMs, func(key []byte, c stamp) error {
		if !c.until.After(now) {
			return nil
		}
		if string(key) != vm.Name {
			b, err := t.backup(c.backupID)
			var gone *NotFoundError
			if errors.As(err, &gone) {
				return nil
			}
			if err != nil || !b.VM.Same(vm) {
				return err
			}
		}
		return &CoolingError{VM: string(key), BackupID: c.backupID, Until: c.until}
	})
}

// cool lets the VM and the ports of an ended backup cool down.
func (t *tx) cool(b record.Backup) error {
	value := stamp{until: b.CooldownUntil, backupID: b.ID}.encode()
	for _, r := range b.Runs {
		if err := t.Bucket(bucketCoolingPorts).Put(encodePort(r.Port), value); err != nil {
			return err
		}
	}
	return t.Bucket(bucketCoolingVMs).Put([]byte(b.VM.Name), value)
}

// cools says whether the VM of an ended backup cools down from it.
func (t *tx) cools(b record.Backup, now time.Time) (bool, error) {
	found := false
	err := t.eachCooling(bucketCoolingVMs, func(_ []byte, c stamp) error {
		found = found || c.backupID == b.ID && c.until.After(now)
		return nil
	})
	return found, err
}

// moveCooling brings the end of an ended backup's cooling forward, or puts it off.
func (t *tx) moveCooling(b record.Backup) error {
	for _, bucket := range [][]byte{bucketCoolingPorts, bucketCoolingVMs} {
		err := t.rewriteCooling(bucket, func(c stamp) (stamp, bool) {
			if c.backupID == b.ID {
				c.until = b.CooldownUntil
			}
			return c, !b.CooldownUntil.IsZero() || c.backupID != b.ID
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// BoundCooling lets nothing cool down for longer than most from now on, as it would after the clock was set back.
func (s *Store) BoundCooling(now time.Time, most time.Duration) error {
	latest := stored(now.Add(most))
	return s.update(func(t *tx) error {
		changed := false
		for _, bucket := range [][]byte{bucketCoolingPorts, bucketCoolingVMs} {
			err := t.rewriteCooling(bucket, func(c stamp) (stamp, bool) {
				if c.until.After(latest) {
					c.until, changed = latest, true
				}
				return c, true
			})
			if err != nil {
				return err
			}
		}
		if !changed {
			return errUnchanged
		}
		return nil
	})
}

// dropCooled deletes the entries whose time has passed.
func (t *tx) dropCooled(now time.Time) error {
	for _, bucket := range [][]byte{bucketCoolingPorts, bucketCoolingVMs} {
		err := t.rewriteCooling(bucket, func(c stamp) (stamp, bool) { return c, c.until.After(now) })
		if err != nil {
			return err
		}
	}
	return nil
}

// rewriteCooling gives each entry its new value, or deletes it where f says false. A bucket must not be changed while
// it is walked, so the changes are collected first.
func (t *tx) rewriteCooling(bucket []byte, f func(stamp) (stamp, bool)) error {
	changed, deleted := map[string]stamp{}, []string{}
	err := t.eachCooling(bucket, func(key []byte, c stamp) error {
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
		if err := t.Bucket(bucket).Put([]byte(key), c.encode()); err != nil {
			return err
		}
	}
	return nil
}
