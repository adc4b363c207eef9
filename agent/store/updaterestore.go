package store

import (
	"fmt"
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// UpdateRestore changes the record of a restore in one transaction, as Update does that of a backup. When the restore ends,
// its leases are returned and its restore points are pinned by it no more.
func (s *Store) UpdateRestore(
	id string, now time.Time, f func(r *record.Restore) error,
) (before, after record.Restore, err error) {
	if err := checkTime("now", now); err != nil {
		return record.Restore{}, record.Restore{}, err
	}
	err = s.update(func(t *tx) error {
		var err error
		if before, err = t.restore(id); err != nil {
			return err
		}
		if after, err = t.changeRestore(before, f); err != nil {
			return err
		}
		if reflect.DeepEqual(before, after) {
			return errUnchanged
		}
		after.UpdatedAt = stored(now)
		if before.State.Active() && !after.State.Active() {
			after.EndedAt = stored(now)
			if err := t.releaseRestore(before); err != nil {
				return err
			}
		}
		return t.put(bucketRestores, []byte(id), after)
	})
	if err != nil {
		return record.Restore{}, record.Restore{}, err
	}
	return before, after, nil
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

// ReletRestore exchanges the lease of one disk for one on the next free port, as Relet does that of a backup. It is refused
// once the restore is past exporting, when a client may know the port.
func (s *Store) ReletRestore(
	id string, diskID int, ports PortChooser, now time.Time, complete func(r *record.Restore, lease record.Lease),
) (record.Restore, error) {
	if err := checkTime("now", now); err != nil {
		return record.Restore{}, err
	}
	var r record.Restore
	err := s.update(func(t *tx) (err error) {
		if r, err = t.restore(id); err != nil {
			return err
		}
		d := r.Disk(diskID)
		if d == nil || r.State != record.RestorePreparing && r.State != record.RestoreExporting {
			return fmt.Errorf("restore %s: disk %d: exchanging a port is not possible while it is %s", id, diskID, r.State)
		}
		if err := t.dropCooled(now); err != nil {
			return err
		}
		// The old port is given back last, so that it is not chosen again at once.
		port, err := t.choosePorts(ports, 1)
		if err != nil {
			return fmt.Errorf("restore %s: disk %d: %w", id, diskID, err)
		}
		lease, err := t.lease(record.Lease{Port: port[0], RestoreID: id, DiskID: diskID, LeasedAt: stored(now)})
		if err != nil {
			return err
		}
		if err := t.returnLease(d.Port, id); err != nil {
			return err
		}
		d.Port, r.UpdatedAt = lease.Port, stored(now)
		r, err = t.completeRestore(r, []record.Lease{lease}, func(r *record.Restore) { complete(r, lease) })
		if err != nil {
			return err
		}
		return t.put(bucketRestores, []byte(id), r)
	})
	if err != nil {
		return record.Restore{}, err
	}
	return r, nil
}
